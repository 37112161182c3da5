"""HuBERT: features of a waveform at any layer, for audio of any length.

The network's layers are those of hubert_network.py; this file owns how they are run: which layer's output is taken (without
the norm that a pre-norm encoder puts after its last layer), the normalisation of the waveform, and the chunks of long audio.
Three choices:
- The convolutions run in chunks that overlap by their receptive field, which changes nothing: a group norm over time (Base)
  takes its mean and variance from the whole recording first.
- Attention reaches over everything, as in fairseq, or over `attention_frames` to either side, a value of our own networks. With
  such a limit the transformer runs in chunks too that overlap by what the layers together can see: linear time, same numbers.
- Without a limit, everything up to `WHOLE_SECONDS` is one pass; beyond it, chunks of that length overlap by `OVERLAP_SECONDS`.
"""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F

from accompgen.config import ConfigError
from accompgen.tokens.hubert_network import HubertNetwork

SAMPLE_RATE = 16000
CONV_SECONDS = 30  # audio per chunk of the convolutions
BLOCK_FRAMES = 768  # frames per chunk of a transformer with limited attention, overlap not counted
WHOLE_SECONDS, OVERLAP_SECONDS = 600, 30


@dataclass(frozen=True)
class HubertConfig:
    """Sizes of a HuBERT; the defaults are the published Base."""

    conv_channels: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    conv_norm: str = "group"  # group: per channel over time, after the first convolution | layer: over channels, after each
    width: int = 768  # D
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    position_taps: int = 128  # kernel of the convolution that encodes positions
    position_groups: int = 16
    norm_first: bool = False  # pre-norm blocks with a norm after the last one (Large)
    normalise_waveform: bool = False  # zero mean and unit variance over the recording (Large)
    attention_frames: int = 0  # how far attention reaches to either side; 0: everywhere

    def __post_init__(self):
        sizes = {len(self.conv_channels), len(self.conv_kernels), len(self.conv_strides)}
        if len(sizes) != 1 or not self.conv_channels:
            raise ConfigError("conv_channels, conv_kernels and conv_strides must have one value per convolution each")
        if self.conv_norm not in ("group", "layer"):
            raise ConfigError(f"conv_norm is {self.conv_norm!r}; expected 'group' or 'layer'")
        if self.width % self.heads or self.width % self.position_groups:
            groups = f"heads {self.heads} and position_groups {self.position_groups}"
            raise ConfigError(f"width {self.width} must be a multiple of {groups}")

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next: the product of the strides, 320 in every published HuBERT."""
        hop = 1
        for stride in self.conv_strides:
            hop *= stride
        return hop

    @property
    def field_samples(self) -> int:
        """Samples that one frame of the convolutions sees, 400 in every published HuBERT."""
        field, jump = 1, 1
        for kernel, stride in zip(self.conv_kernels, self.conv_strides):
            field, jump = field + (kernel - 1) * jump, jump * stride
        return field

    def frames(self, samples: int) -> int:
        """Frames of `samples` samples, without padding."""
        return max(0, (samples - self.field_samples) // self.hop_samples + 1)


class Hubert(nn.Module):
    """A HuBERT network, randomly initialised. `network` holds the weights, by the names of transformers."""

    def __init__(self, config: HubertConfig):
        super().__init__()
        self.config, self.network = config, HubertNetwork(config)

    def settings(self) -> dict:
        """The config as plain values, for config.json."""
        return asdict(self.config)

    @torch.inference_mode()
    def features(self, wav: torch.Tensor, layer: int) -> torch.Tensor:
        """Output of block `layer`, before the norm that follows the last block of a pre-norm encoder.

        Args:
            wav: [B, T] float32 at 16 kHz, at least `config.field_samples` long.
            layer: 1 to `config.layers`; 0 is what enters the first block.

        Returns:
            [B, S, D], S = `config.frames(T)`.

        Raises:
            ValueError: the layer does not exist or the audio is shorter than one frame.
        """
        if not 0 <= layer <= self.config.layers:
            raise ValueError(f"layer {layer} does not exist; this HuBERT has layers 1 to {self.config.layers}")
        if wav.shape[-1] < self.config.field_samples:
            raise ValueError(f"{wav.shape[-1]} samples are less than one frame of {self.config.field_samples} samples")
        chunks = [self.project(conv) for conv in self.convolve(wav)]
        return self._encode_long(torch.cat(chunks, dim=1), layer)

    def convolve(self, wav: torch.Tensor):
        """Yield the output of the convolutions [B, S', C], chunk after chunk of at most CONV_SECONDS; together S frames."""
        if self.config.normalise_waveform:
            wav = F.layer_norm(wav, wav.shape[-1:])
        layers = self.network.feature_extractor.conv_layers
        frames, hop = self.config.frames(wav.shape[-1]), self.config.hop_samples
        step = CONV_SECONDS * SAMPLE_RATE // hop
        scale_shift = self._group_norm_of_whole(wav) if self.config.conv_norm == "group" and frames > step else None
        for start in range(0, frames, step):
            count = min(step, frames - start)
            end = (start + count - 1) * hop + self.config.field_samples
            x = wav[:, None, start * hop : end] if frames > step else wav[:, None]  # [B, 1, T']
            for index, layer in enumerate(layers):
                if index == 0 and scale_shift is not None:
                    scale, shift = scale_shift
                    x = layer.activation(layer.conv(x) * scale + shift)
                else:
                    x = layer(x)  # [B, C, T'']
            yield x.transpose(1, 2)

    def _group_norm_of_whole(self, wav):
        """Scale and shift [B, C, 1] that the first layer's group norm amounts to, from statistics over the whole recording."""
        layer = self.network.feature_extractor.conv_layers[0]
        kernel, stride = self.config.conv_kernels[0], self.config.conv_strides[0]
        total, step = (wav.shape[-1] - kernel) // stride + 1, CONV_SECONDS * SAMPLE_RATE // stride
        sums = squares = 0.0
        for start in range(0, total, step):
            count = min(step, total - start)
            y = layer.conv(wav[:, None, start * stride : (start + count - 1) * stride + kernel]).double()
            sums, squares = sums + y.sum(-1, keepdim=True), squares + y.square().sum(-1, keepdim=True)
        mean = sums / total
        scale = layer.layer_norm.weight[:, None] / (squares / total - mean.square() + layer.layer_norm.eps).sqrt()
        return scale.to(wav.dtype), (layer.layer_norm.bias[:, None] - mean * scale).to(wav.dtype)

    def project(self, conv: torch.Tensor) -> torch.Tensor:
        """Convolution outputs [B, S, C] -> what the transformer reads [B, S, D]."""
        return self.network.feature_projection(conv)

    def encode(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        """Position convolution and the first `layer` blocks on projected frames: [B, S, D] -> [B, S, D], in one pass."""
        encoder, reach = self.network.encoder, self.config.attention_frames
        x = x + encoder.pos_conv_embed(x)
        if not self.config.norm_first:
            x = encoder.layer_norm(x)
        mask = None
        if reach and x.shape[1] > reach + 1:
            at = torch.arange(x.shape[1], device=x.device)
            mask = ((at[:, None] - at[None, :]).abs() <= reach)[None, None]  # [1, 1, S, S]
        for block in encoder.layers[:layer]:
            x = block(x, attention_mask=mask)
        return x

    def _encode_long(self, x, layer):
        if self.config.attention_frames:
            size, overlap = BLOCK_FRAMES, layer * self.config.attention_frames + self.config.position_taps
        else:
            rate = SAMPLE_RATE // self.config.hop_samples
            size, overlap = (WHOLE_SECONDS - 2 * OVERLAP_SECONDS) * rate, OVERLAP_SECONDS * rate
        frames = x.shape[1]
        if frames <= size + 2 * overlap:
            return self.encode(x, layer)
        blocks = []
        for start in range(0, frames, size):
            before = min(start, overlap)
            block = self.encode(x[:, start - before : start + size + overlap], layer)
            blocks.append(block[:, before : before + size])
        return torch.cat(blocks, dim=1)
