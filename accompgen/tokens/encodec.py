"""The network of EnCodec: a transformers.EncodecModel with plain weights.

Stages here take the codes of one kind alone, 24 kHz, mono and causal: `CodecConfig`. The others that are published,
MusicGen's of 32 kHz and the stereo one of 48 kHz, are `OtherCodecConfig`, and built by the same function.
"""

import math
from dataclasses import dataclass

import torch

from accompgen.config import ConfigError


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of an EnCodec of 24 kHz. The defaults are those of the published model."""

    filters: int = 32  # channels at 24 kHz; doubled at each of the four strides
    latent: int = 128  # width of the latent and of the codes
    codebooks: int = 32  # Q; each adds 75 * log2(bins) bit/s: 0.75 kbps with 1024 bins
    bins: int = 1024  # codes per codebook, a power of 2
    lstm_layers: int = 2  # 0: no LSTM
    shortcut: bool = True  # residual blocks have a 1x1 convolution beside them, not the identity
    pad_mode: str = "reflect"  # what stands before the first sample: reflect | constant (zeros)
    codes_of: str = ""  # hash of the codec whose encoder and codebooks these are, where the decoder alone was trained further

    sample_rate = 24000
    channels = 1
    ratios = (8, 5, 4, 2)  # strides of the decoder
    causal = True
    in_chunks = False

    def __post_init__(self):
        for name in ("filters", "latent", "codebooks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.bins < 2 or self.bins & (self.bins - 1):
            raise ConfigError(f"bins is {self.bins}; expected a power of 2")
        if self.filters % 2:
            raise ConfigError(f"filters is {self.filters}; expected an even number, residual blocks halve it")
        if self.lstm_layers < 0:
            raise ConfigError(f"lstm_layers is {self.lstm_layers}; expected 0 or more")
        if self.pad_mode not in ("reflect", "constant"):
            raise ConfigError(f"pad_mode is {self.pad_mode!r}; expected 'reflect' or 'constant'")

    @property
    def hop_samples(self) -> int:
        """Samples in a frame of codes."""
        return math.prod(self.ratios)

    @property
    def frame_hz(self) -> int:
        """Frames of codes in a second."""
        return self.sample_rate // self.hop_samples

    @property
    def kbps(self) -> float:
        """Bit rate of one codebook in kbit/s."""
        return self.frame_hz * (self.bins.bit_length() - 1) / 1000

    @property
    def description(self) -> str:
        """What a message calls it."""
        sound = "stereo" if self.channels == 2 else "mono"
        how = "causal" if self.causal else "not causal"
        return f"an EnCodec of {self.sample_rate / 1000:g} kHz, {sound}, {how}, {self.frame_hz} frames a second"


@dataclass(frozen=True)
class OtherCodecConfig(CodecConfig):
    """Sizes of an EnCodec whose codes no stage that is trained here takes. The defaults are those of MusicGen's, of 32 kHz."""

    filters: int = 64
    codebooks: int = 4
    bins: int = 2048
    shortcut: bool = False
    sample_rate: int = 32000
    channels: int = 1
    ratios: tuple[int, ...] = (8, 5, 4, 4)
    causal: bool = False
    in_chunks: bool = False  # the one of 48 kHz: group norms, and each chunk of sound brought to one loudness
    chunk_samples: int = 48000
    stride_samples: int = 47520  # from the beginning of a chunk to that of the next

    def __post_init__(self):
        super().__post_init__()
        if not self.ratios or min(self.ratios) < 1 or self.sample_rate % self.hop_samples:
            raise ConfigError(
                f"ratios are {self.ratios}; expected strides whose product divides {self.sample_rate}"
            )
        if self.channels not in (1, 2) or self.channels == 2 and not self.in_chunks:
            raise ConfigError(f"channels is {self.channels}; expected 1, or 2 with in_chunks")
        if not 0 < self.stride_samples <= self.chunk_samples:
            raise ConfigError(
                f"stride_samples is {self.stride_samples}; expected 1 to {self.chunk_samples}, a chunk"
            )


def build_network(config: CodecConfig) -> torch.nn.Module:
    """A transformers.EncodecModel of these sizes, freshly initialised, with plain (not weight-normed) convolutions.

    With `lstm_layers = 0` the two LSTM modules, which transformers always builds, are replaced by the identity.
    """
    try:
        from transformers import EncodecConfig, EncodecModel
    except ImportError as error:
        raise ImportError(f"EnCodec needs transformers ({error}); pip install transformers") from error
    from torch.nn.utils import parametrize

    network = EncodecModel(
        EncodecConfig(
            target_bandwidths=[(config.codebooks + 1e-3) * config.kbps],  # makes it build that many codebooks
            sampling_rate=config.sample_rate,
            num_filters=config.filters,
            hidden_size=config.latent,
            upsampling_ratios=list(config.ratios),
            num_lstm_layers=max(1, config.lstm_layers),
            codebook_size=config.bins,
            use_conv_shortcut=config.shortcut,
            pad_mode=config.pad_mode,
            audio_channels=config.channels,
            use_causal_conv=config.causal,
            norm_type="time_group_norm" if config.in_chunks else "weight_norm",
        )
    )
    for module in network.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    if not config.lstm_layers:
        for half in (network.encoder, network.decoder):
            half.layers[lstm_index(half)] = torch.nn.Identity()
    return network


def lstm_index(half: torch.nn.Module) -> int:
    """Where the LSTM (or the identity in its place) stands among the layers of an encoder or a decoder."""
    is_lstm = (hasattr(layer, "lstm") or isinstance(layer, torch.nn.Identity) for layer in half.layers)
    return next(index for index, found in enumerate(is_lstm) if found)
