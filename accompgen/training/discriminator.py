"""The multi-scale STFT discriminator of EnCodec, and the losses between it and a decoder.

Source: Défossez et al. 2022, arXiv 2210.13438, section 3.4. Where paper and released code differ (kernels of 3 x 8 or 3 x 9,
one 3 x 3 convolution at the end or two), this is the paper's.

The discriminator hears phases, so that a click and noise of the same magnitudes differ to it. Published with it: Adam of
betas 0.5 and 0.9 at 3e-4; it is updated in two steps of three at 24 kHz, in every other one at 48 kHz, since it overpowers
the decoder easily; weights of the balancer (balancer.py) for waveform, mels, adversary and features .1, 1, 3, 3 (48 kHz: 4, 4).
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
    windows: tuple[int, ...] = (2048, 1024, 512, 256, 128)  # in samples, a network each; twice as long at 48 kHz
    # how many channels one pass hears: 1 judges left and right each by itself, as the paper has it; 2 stacks them, as the
    # released code does, so that the width of the sound is judged too
    channels: int = 1

    def __post_init__(self):
        if self.filters < 1:
            raise ConfigError(f"filters is {self.filters}; expected 1 or more")
        if self.channels not in (1, 2):
            raise ConfigError(f"channels is {self.channels}; expected 1 or 2")
        if not self.windows or any(w < LEAST_WINDOW or w % 4 for w in self.windows):
            raise ConfigError(
                f"windows is {list(self.windows)}; expected one or more multiples of 4, each {LEAST_WINDOW} or more"
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
            For each window (logits [N, 1, frames, bins], features), N = B * C / config.channels; logits are above 0 for
            what is taken for real. The features are the outputs of the four layers before, [N, filters, frames, bins].

        Raises:
            ValueError: another shape, or sound shorter than a window.
        """
        channels = self.config.channels
        if wav.ndim != 3 or not wav.shape[1] or wav.shape[1] % channels:
            raise ValueError(f"sound has shape {tuple(wav.shape)}; expected [B, C, T], C a multiple of {channels}")
        if wav.shape[2] < max(self.config.windows):
            raise ValueError(f"sound has {wav.shape[2]} samples; expected {max(self.config.windows)} (a window) or more")
        wav = wav.reshape(-1, channels, wav.shape[2])
        return [scale(wav) for scale in self.scales]


class _Scale(nn.Module):
    """The network of one window: a convolution, three of growing dilation that halve the bins, and one to the logits."""

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
            wav.flatten(0, 1).float(), self.window, self.window // 4, window=self.hann, center=False, return_complex=True
        )
        parts = torch.view_as_real(spectrum).unflatten(0, wav.shape[:2])  # [N, C, bins, frames, 2]
        x = parts.permute(0, 1, 4, 3, 2).flatten(1, 2)  # [N, 2 C, frames, bins]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.judge(x), features


def _convolution(inputs, outputs, dilation=1, stride=1):
    """Frames stay as many as they are; n / 2 + 1 bins become n / 2 at stride 1, and 2 k bins become k at stride 2."""
    padding = (dilation * (KERNEL[0] - 1) // 2, KERNEL[1] // 2 - 1)
    return weight_norm(nn.Conv2d(inputs, outputs, KERNEL, (1, stride), padding, (dilation, 1)))


# ---- losses of what `Discriminator` returns, each a scalar --------------------------------------------------------


def discriminator_loss(real: list, fake: list) -> torch.Tensor:
    """Hinge loss of the discriminator, mean over the windows: 0 once real sound has logits over 1, made sound under -1.

    Args:
        real, fake: what it said of real and of made sound; the made sound detached, so that its maker learns nothing here.
    """
    parts = [F.relu(1 - a).mean() + F.relu(1 + b).mean() for (a, _), (b, _) in zip(real, fake, strict=True)]
    return torch.stack(parts).mean()


def generator_loss(fake: list) -> torch.Tensor:
    """Hinge loss of whoever made the sound, mean over the windows: 0 once all of it is taken for real, with logits over 1."""
    return torch.stack([F.relu(1 - logits).mean() for logits, _ in fake]).mean()


def feature_loss(real: list, fake: list) -> torch.Tensor:
    """Mean absolute difference of the features relative to the real ones' mean size, mean over layers and windows.

    0 for equal sounds. The real sound's features are a target: they get no gradient.
    """
    parts = []
    for (_, targets), (_, features) in zip(real, fake, strict=True):
        for target, feature in zip(targets, features, strict=True):
            target = target.detach()
            parts.append((target - feature).abs().mean() / target.abs().mean().clamp_min(1e-8))
    return torch.stack(parts).mean()
