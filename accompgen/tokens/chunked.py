"""48 kHz stereo <-> residual codes, in chunks: the EnCodec of 48 kHz (Defossez et al. 2022).

Sound is cut into chunks of 1 s, of which each shares 1 % with the next. Each chunk is divided by its
own loudness and encoded by itself, its norms over the whole chunk. Decoded chunks are multiplied by
that loudness again and crossfaded where they overlap. A chunk's codes are therefore nothing without
its loudness, and no stage here takes them.
"""

from dataclasses import dataclass

import torch

from accompgen.tokens.acoustic import AcousticTokenizer, quantize
from accompgen.tokens.encodec import OtherCodecConfig
from accompgen.tokens.encodec_weights import load_network, save_network


@dataclass(frozen=True)
class Chunk:
    """Codes int64 [B, q, F] of a span of sound, and its loudness [B]: RMS of the mean of its channels."""

    codes: torch.Tensor
    loudness: torch.Tensor


class ChunkedCodec:
    """Sound [B, C, T] <-> chunks of codes.

    Attributes:
        codebooks, bins: Q, and codes per codebook.
        sample_rate, hop_samples, channels: of its sound.
        config, network: sizes and the transformers.EncodecModel (eval mode, plain weights).
    """

    def __init__(self, config: OtherCodecConfig, network: torch.nn.Module):
        self.config, self.network = config, network.eval()
        self.sample_rate, self.hop_samples = config.sample_rate, config.hop_samples
        self.channels, self.codebooks, self.bins = config.channels, config.codebooks, config.bins

    def save(self, directory, force: bool = False) -> None:
        """Write a component directory. Raises CheckpointError as `save_component`."""
        save_network(directory, self.config, self.network, force)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @torch.no_grad()
    def encode(self, wav: torch.Tensor, codebooks: int | None = None) -> list[Chunk]:
        """The chunks of sound [B, C, T], one for each `stride_samples` of it.

        Raises ValueError for another shape, no samples, or a number of codebooks that the model does
        not have.
        """
        codebooks = self.codebooks if codebooks is None else codebooks
        if wav.ndim != 3 or wav.shape[1] != self.channels or not wav.shape[-1]:
            expected = f"[B, {self.channels}, T] with T > 0"
            raise ValueError(f"sound has shape {tuple(wav.shape)}; expected {expected}")
        if not 1 <= codebooks <= self.codebooks:
            raise ValueError(
                f"{codebooks} codebooks asked for; this codec has 1 to {self.codebooks}"
            )
        starts = range(0, wav.shape[-1], self.config.stride_samples)
        pieces = (wav[..., start : start + self.config.chunk_samples] for start in starts)
        return [
            self._encode_chunk(piece.to(self.device, torch.float32), codebooks) for piece in pieces
        ]

    @torch.no_grad()
    def decode(self, chunks: list[Chunk], samples: int | None = None) -> torch.Tensor:
        """Sound [B, C, T] of chunks as `encode` gives them; with `samples` the first of it, since the last
        chunk is a whole number of frames.

        Raises ValueError for no chunks, or codes out of range.
        """
        if not chunks:
            raise ValueError("there are no chunks to decode")
        low = min(chunk.codes.min().item() for chunk in chunks)
        high = max(chunk.codes.max().item() for chunk in chunks)
        if low < 0 or high >= self.bins:
            raise ValueError(f"codes go from {low} to {high}; expected 0 to {self.bins - 1}")
        stride = self.config.stride_samples
        sounds = [self._decode_chunk(chunk) for chunk in chunks]
        length = stride * (len(sounds) - 1) + sounds[-1].shape[-1]
        total, weight = (
            sounds[0].new_zeros(*sounds[0].shape[:-1], length),
            sounds[0].new_zeros(length),
        )
        # a triangle over a chunk: where two overlap, one fades linearly into the other
        triangle = 0.5 - (torch.linspace(0, 1, sounds[0].shape[-1] + 2)[1:-1] - 0.5).abs()
        for index, sound in enumerate(sounds):
            span = slice(index * stride, index * stride + sound.shape[-1])
            share = triangle[: sound.shape[-1]].to(sound.device)
            total[..., span] += share * sound
            weight[span] += share
        return (total / weight)[..., :samples]

    def _encode_chunk(self, piece, codebooks):
        loudness = piece.mean(dim=1).square().mean(dim=1).sqrt() + 1e-8  # [B]
        latent = self.network.encoder(piece / loudness[:, None, None])  # [B, D, F]
        return Chunk(
            torch.cat([quantize(self.network, row, codebooks) for row in latent.split(1)]), loudness
        )

    def _decode_chunk(self, chunk):
        codes = chunk.codes.to(self.device, torch.int64).transpose(0, 1)  # [q, B, F]
        return (
            self.network.decoder(self.network.quantizer.decode(codes))
            * chunk.loudness.to(self.device)[:, None, None]
        )


def load_encodec(path, device="cpu") -> AcousticTokenizer | ChunkedCodec:
    """Any published EnCodec, by its files or as a component. Raises CheckpointError with its path."""
    config, network = load_network(path)
    return (ChunkedCodec if config.in_chunks else AcousticTokenizer)(config, network.to(device))
