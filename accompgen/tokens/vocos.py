"""The network of Vocos (Siuzdak 2023) for the codes of EnCodec at 24 kHz: codes -> spectra -> sound.

    sum of the code vectors [D', F] -> convolution over 7 frames -> norm -> blocks of ConvNeXt -> norm
    -> linear -> log magnitude and phase of each bin -> inverse STFT, hop 320

Every norm but the last has a scale and a shift for each number of codebooks that the network was
trained with. Modules have the names of the published weights.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from accompgen.config import ConfigError
from accompgen.tokens.decoder_network import overlap_add

KERNEL = 7  # frames that a convolution looks at
EPSILON = 1e-6  # of the norms
LOUDEST = 100.0  # no bin's magnitude passes it


@dataclass(frozen=True)
class VocosConfig:
    """Sizes. The defaults are those of `charactr/vocos-encodec-24khz`."""

    codebooks: int = 16
    bins: int = 1024
    latent: int = 128  # D', width of the code vectors
    width: int = 384  # D
    hidden: int = 1152
    blocks: int = 8
    window: int = 1280  # samples of the inverse STFT, a multiple of the hop
    trained_with: tuple[int, ...] = (
        2,
        4,
        8,
        16,
    )  # numbers of codebooks, each with norms of its own

    sample_rate = 24000
    hop_samples = 320

    def __post_init__(self):
        for name in ("codebooks", "latent", "width", "hidden", "blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.bins < 2:
            raise ConfigError(f"bins is {self.bins}; expected 2 or more")
        hop = self.hop_samples
        if self.window < 2 * hop or self.window % hop:
            raise ConfigError(
                f"window is {self.window}; expected a multiple of {hop} that is {2 * hop} or more"
            )
        counts = self.trained_with
        rising = bool(counts) and counts[0] > 0 and list(counts) == sorted(set(counts))
        if not rising or counts[-1] != self.codebooks:
            raise ConfigError(
                f"trained_with is {counts}; expected rising numbers that end with {self.codebooks}"
            )

    @property
    def edge(self) -> int:
        """Frames before and after a span that its windows overlap with."""
        return self.window // self.hop_samples // 2

    @property
    def reach(self) -> int:
        """Frames before and after a frame that its sound depends on."""
        return (KERNEL // 2) * (self.blocks + 1) + self.edge

    def norms_for(self, codebooks: int) -> int:
        """Which norms belong to so many codebooks: of the training with as many, else with the next more."""
        return next(index for index, count in enumerate(self.trained_with) if count >= codebooks)


class ChosenNorm(nn.Module):
    """Layer norm over the last axis with one of several scales and shifts."""

    def __init__(self, choices: int, width: int):
        super().__init__()
        self.scale, self.shift = nn.Embedding(choices, width), nn.Embedding(choices, width)

    def forward(self, x, choice: int):
        return F.layer_norm(
            x, x.shape[-1:], self.scale.weight[choice], self.shift.weight[choice], EPSILON
        )


class VocosBlock(nn.Module):
    """A residual block, [B, D, F] to the same: each channel over 7 frames, then each frame by itself."""

    def __init__(self, config: VocosConfig):
        super().__init__()
        width = config.width
        self.dwconv = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = ChosenNorm(len(config.trained_with), width)
        self.pwconv1, self.pwconv2 = (
            nn.Linear(width, config.hidden),
            nn.Linear(config.hidden, width),
        )
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x, choice: int):
        y = self.norm(self.dwconv(x).transpose(1, 2), choice)  # [B, F, D]
        return x + (self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))).transpose(1, 2)


class VocosNetwork(nn.Module):
    """Codes -> complex spectra -> sound."""

    def __init__(self, config: VocosConfig):
        super().__init__()
        self.config, width = config, config.width
        self.register_buffer(
            "code_vectors", torch.zeros(config.codebooks, config.bins, config.latent)
        )
        self.embed = nn.Conv1d(config.latent, width, KERNEL, padding=KERNEL // 2)
        self.norm = ChosenNorm(len(config.trained_with), width)
        self.convnext = nn.ModuleList(VocosBlock(config) for _ in range(config.blocks))
        self.final_layer_norm = nn.LayerNorm(width, eps=EPSILON)
        self.out = nn.Linear(width, config.window + 2)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Complex spectra [B, F, window / 2 + 1] of codes [B, q, F]."""
        choice = self.config.norms_for(codes.shape[1])
        x = sum(
            F.embedding(book, vectors) for book, vectors in zip(codes.unbind(1), self.code_vectors)
        )  # [B, F, D']
        x = self.norm(self.embed(x.transpose(1, 2)).transpose(1, 2), choice).transpose(1, 2)
        for block in self.convnext:
            x = block(x, choice)
        magnitude, phase = self.out(self.final_layer_norm(x.transpose(1, 2))).chunk(2, dim=2)
        return torch.polar(magnitude.exp().clamp(max=LOUDEST), phase)

    def sound(self, spectra: torch.Tensor) -> torch.Tensor:
        """Sound [B, F * 320] of spectra [B, F, window / 2 + 1]."""
        return overlap_add(spectra, self.config.window, self.config.hop_samples)
