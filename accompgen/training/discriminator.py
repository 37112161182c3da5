"""The multi-scale STFT discriminator of EnCodec, and the losses between it and a decoder.

Source: Défossez et al. 2022, arXiv 2210.13438, section 3.4. Paper and released code differ:
kernels of 3 x 8 or 3 x 9, one 3 x 3 convolution at the end or two. This is the paper's.

The discriminator hears phases, so that a click and noise of the same magnitudes differ to it.
Published with it: Adam of betas 0.5 and 0.9 at 3e-4. It learns in two steps of three at 24 kHz, in
every other one at 48 kHz, since it overpowers the decoder easily. The balancer (balancer.py) weighs
waveform, mels, adversary and features by 0.1, 1, 3 and 3 (at 48 kHz the last two by 4).
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from accompgen.config import ConfigError

KERNEL = (3, 8)  # frames x bins
DILATIONS = (1, 2, 4)  # in time
SLOPE = 0.2  # of LeakyReLU
LEAST_WINDOW = 16  # its 9 bins are halved three times


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of the discriminator. The defaults are those of 24 kHz."""

    filters: int = 32
    # in samples, a network each; twice as long at 48 kHz
    windows: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    # how many channels one pass hears: 1 judges left and right each by itself, as the paper has it;
    # 2 stacks them, as the released code does, so that the width of the sound is judged too
    channels: int = 1

    def __post_init__(self):
        if self.filters < 1:
            raise ConfigError(f"filters is {self.filters}; expected 1 or more")
        if self.channels not in (1, 2):
            raise ConfigError(f"channels is {self.channels}; expected 1 or 2")
        if not self.windows or any(w < LEAST_WINDOW or w % 4 for w in self.windows):
            raise ConfigError(
                f"windows is {list(self.windows)}; expected one or more multiples of 4, "
                f"each {LEAST_WINDOW} or more"
            )


class Discriminator(nn.Module):
    """One network for each window, of equal structure."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(_Scale(window, config) for window in config.windows)

    def forward(self, wav: torch.Tensor) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Judge sound.

        Args:
            wav: [B, C, T], C a multiple of `config.channels`, T no less than the longest window.

        Returns:
            For each window (logits [N, 1, frames, bins], features), N = B * C / config.channels;
            logits are above 0 for what is taken for real. The features are the outputs of the four
            layers before, each [N, filters, frames, bins].

        Raises:
            ValueError: another shape, or sound shorter than a window.
        """
        channels = self.config.channels
        if wav.ndim != 3 or not wav.shape[1] or wav.shape[1] % channels:
            raise ValueError(
                f"sound has shape {tuple(wav.shape)}; "
                f"expected [B, C, T], C a multiple of {channels}"
            )
        longest = max(self.config.windows)
        if wav.shape[2] < longest:
            raise ValueError(f"sound has {wav.shape[2]} samples; expected {longest}, a window")
        wav = wav.reshape(-1, channels, wav.shape[2])
        return [scale(wav) for scale in self.scales]


class _Scale(nn.Module):
    """One window: a convolution, three of growing dilation that halve the bins, one to logits."""

    def __init__(self, window: int, config: DiscriminatorConfig):
        super().__init__()
        self.window = window
        hann = torch.hann_window(window)
        # white noise has the same level in every window
        self.register_buffer("hann", hann / hann.norm(), persistent=False)
        self.layers = nn.ModuleList([_convolution(2 * config.channels, config.filters)])
        for dilation in DILATIONS:
            self.layers.append(_convolution(config.filters, config.filters, dilation, stride=2))
        self.judge = weight_norm(nn.Conv2d(config.filters, 1, 3, padding=1))

    def forward(self, wav):  # [N, C, T]
        spectrum = torch.stft(
            wav.flatten(0, 1).float(), self.window, self.window // 4,
            window=self.hann, center=False, return_complex=True,
        )  # fmt: skip
        parts = torch.view_as_real(spectrum).unflatten(0, wav.shape[:2])  # [N, C, bins, frames, 2]
        x = parts.permute(0, 1, 4, 3, 2).flatten(1, 2)  # [N, 2 C, frames, bins]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.judge(x), features


def _convolution(inputs, outputs, dilation=1, stride=1):
    """Frames stay as many as they are; n / 2 + 1 bins become n / 2, or 2 k become k at stride 2."""
    padding = (dilation * (KERNEL[0] - 1) // 2, KERNEL[1] // 2 - 1)
    return weight_norm(nn.Conv2d(inputs, outputs, KERNEL, (1, stride), padding, (dilation, 1)))


# ---- losses of what `Discriminator` returns, each a scalar ---------------------------------------


def discriminator_loss(real: list, fake: list) -> torch.Tensor:
    """Hinge loss of the discriminator, mean over the windows.

    It is 0 once real sound has logits over 1 and made sound logits under -1.

    Args:
        real, fake: what it said of real and of made sound; the latter detached, so that its maker
            learns nothing here.
    """
    parts = []
    for (true, _), (made, _) in zip(real, fake, strict=True):
        parts.append(F.relu(1 - true).mean() + F.relu(1 + made).mean())
    return torch.stack(parts).mean()


def generator_loss(fake: list) -> torch.Tensor:
    """Hinge loss of who made the sound, mean over the windows: 0 once its logits are over 1."""
    return torch.stack([F.relu(1 - logits).mean() for logits, _ in fake]).mean()


def feature_loss(real: list, fake: list) -> torch.Tensor:
    """Mean absolute difference of the features relative to the real ones' mean size.

    Mean over layers and windows; 0 for equal sounds. The real sound's features are a target: they
    get no gradient.
    """
    parts = []
    for (_, targets), (_, features) in zip(real, fake, strict=True):
        for target, feature in zip(targets, features, strict=True):
            target = target.detach()
            parts.append((target - feature).abs().mean() / target.abs().mean().clamp_min(1e-8))
    return torch.stack(parts).mean()
