"""24 kHz sound <-> residual codes: EnCodec at 75 frames a second; that of MusicGen, 32 kHz and 50 frames, too.

Long sound goes through in chunks and leaves no seam. A chunk that starts a few frames early (as many as the convolutions
look back), and ends a few late where they are not causal, gives the very frames of a whole pass. The LSTM of the
published models looks back without limit; it runs over the sequence of frames as a whole, beside the chunked part, and
that sequence is short.
"""

from collections.abc import Iterator

import torch

from accompgen.component import CheckpointError
from accompgen.tokens.encodec import CodecConfig, OtherCodecConfig, lstm_index
from accompgen.tokens.encodec_weights import load_network, save_network

CHUNK_FRAMES = 150  # 2 s: the 4 frames computed twice cost little, and what a layer passes on stays in the cache


class AcousticTokenizer:
    """Wave [B, T] <-> codes [B, Q, F], F = ceil(T / hop_samples).

    Attributes:
        codebooks: Q, what `encode` gives when not asked for another number.
        bins: codes per codebook.
        sample_rate, hop_samples: of its sound; 24000 and 320, as all stages here take them, or those of another EnCodec.
        config, network: sizes and the transformers.EncodecModel (eval mode, plain weights).
    """

    def __init__(self, config: CodecConfig, network: torch.nn.Module, codebooks: int | None = None):
        self.config, self.network = config, network.eval()
        self.sample_rate, self.hop_samples = config.sample_rate, config.hop_samples
        self.codebooks = min(8, config.codebooks) if codebooks is None else codebooks
        self.bins = config.bins
        self._check_codebooks(self.codebooks)

    @classmethod
    def load(cls, path, device="cpu", codebooks: int | None = None, any_rate: bool = False) -> "AcousticTokenizer":
        """Read a published file, a transformers directory or a component directory; their content tells which.

        Args:
            path: a file or a directory.
            codebooks: Q.
            any_rate: take a mono EnCodec of another rate as well, such as MusicGen's, which stages trained here do not use.

        Raises:
            CheckpointError: anything missing, altered, or no such EnCodec; the message names the file.
        """
        config, network = load_network(path)
        if isinstance(config, OtherCodecConfig) and not any_rate:
            raise CheckpointError(
                f"{path} is {config.description}; stages here take the codes of {CodecConfig().description[3:]}, "
                "such as encodec-24khz"
            )
        if config.in_chunks:
            raise CheckpointError(f"{path} is {config.description}, whose codes come in chunks with a loudness each")
        return cls(config, network.to(device), codebooks)

    def save(self, directory, force: bool = False) -> None:
        """Write a component directory (config.json + model.safetensors). Raises CheckpointError as `save_component`."""
        save_network(directory, self.config, self.network, force)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @torch.no_grad()
    def encode(self, wav: torch.Tensor, codebooks: int | None = None) -> torch.Tensor:
        """Codes int64 [B, Q, F], F = ceil(T / hop_samples), of sound [B, T]; on the device of the network.

        Raises ValueError for another shape, no samples, or a number of codebooks that the model does not have.
        """
        if wav.ndim != 2 or not wav.shape[-1]:
            raise ValueError(f"sound has shape {tuple(wav.shape)}; expected [B, T] with T > 0")
        codebooks = self.codebooks if codebooks is None else codebooks
        self._check_codebooks(codebooks)
        latent = self.embed(wav)  # [B, D, F]
        codes = [self._quantize(row, codebooks) for row in latent.split(1)]
        return torch.cat(codes)

    @torch.no_grad()
    def embed(self, wav: torch.Tensor) -> torch.Tensor:
        """Latent [B, D, F] before quantisation, of sound [B, T]."""
        layers = self.network.encoder.layers
        middle = lstm_index(self.network.encoder)
        look_back = _look_back_frames(layers[:middle], self.hop_samples)
        ahead = 0 if self.config.causal else look_back
        frames = -(-wav.shape[-1] // self.hop_samples)
        parts = []
        for start in range(0, frames, CHUNK_FRAMES):
            first, stop = max(0, start - look_back), start + CHUNK_FRAMES
            piece = wav[:, first * self.hop_samples : (stop + ahead) * self.hop_samples]
            latent = _run(layers[:middle], piece[:, None].to(self.device, torch.float32))
            parts.append(latent[..., start - first : stop - first])
        return _run(layers[middle:], torch.cat(parts, dim=-1))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Sound [B, F * hop_samples] of codes [B, q, F]; with q below Q the first q codebooks alone are heard.

        Raises ValueError for another shape, another type or codes out of range.
        """
        return torch.cat(list(self.pieces(codes)), dim=-1)

    @torch.no_grad()
    def pieces(self, codes: torch.Tensor) -> Iterator[torch.Tensor]:
        """What `decode` gives, [B, t] at a time, so that the whole need not lie in memory; errors as there."""
        if codes.ndim != 3 or not codes.shape[-1] or codes.is_floating_point():
            shape = tuple(codes.shape)
            raise ValueError(f"codes have shape {shape}, {codes.dtype}; expected integers [B, q, F] with F > 0")
        self._check_codebooks(codes.shape[1])
        if codes.min() < 0 or codes.max() >= self.bins:
            raise ValueError(f"codes go from {codes.min()} to {codes.max()}; expected 0 to {self.bins - 1}")
        codes = codes.to(self.device, torch.int64).transpose(0, 1)  # [q, B, F]
        yield from self._synthesize(self.network.quantizer.decode(codes))

    def _synthesize(self, latent):
        """Pieces [B, t] of the sound of a latent [B, D, F]."""
        layers = self.network.decoder.layers
        middle = lstm_index(self.network.decoder) + 1
        look_back = _look_back_frames(layers[middle:], self.hop_samples)
        ahead = 0 if self.config.causal else look_back
        hidden = _run(layers[:middle], latent)
        for start in range(0, hidden.shape[-1], CHUNK_FRAMES):
            first, stop = max(0, start - look_back), start + CHUNK_FRAMES
            wav = _run(layers[middle:], hidden[..., first : stop + ahead])
            yield wav[:, 0, (start - first) * self.hop_samples : (stop - first) * self.hop_samples]

    def _quantize(self, latent, codebooks):
        """[1, D, F] -> [1, Q, F]; in spans, because the distances to all codes are the largest tensor here."""
        return torch.cat([quantize(self.network, span, codebooks) for span in latent.split(4096, dim=-1)], dim=-1)

    def _check_codebooks(self, codebooks):
        if not 1 <= codebooks <= self.config.codebooks:
            raise ValueError(f"{codebooks} codebooks asked for; this codec has 1 to {self.config.codebooks}")


def quantize(network: torch.nn.Module, latent: torch.Tensor, codebooks: int) -> torch.Tensor:
    """Codes [1, Q, F] of a latent [1, D, F]: the nearest code vector, then that of what is left, and so on."""
    codes, residual = [], latent[0].T  # [F, D]
    for layer in network.quantizer.layers[:codebooks]:
        embed = layer.codebook.embed  # [bins, D]
        codes.append((residual @ embed.T - 0.5 * embed.square().sum(1)).argmax(1))
        residual = residual - embed[codes[-1]]
    return torch.stack(codes)[None]


def _run(layers, hidden):
    for layer in layers:
        hidden = layer(hidden)
    return hidden


def _look_back_frames(layers, hop_samples: int) -> int:
    """How many frames before a frame the layers may look at, rounded up with one to spare; behind it, where they are not
    causal, they look no farther.

    Each convolution of dilated width w at a hop of h samples per step looks back (w - 1) * h samples, a transposed one
    of width 2 s and stride s one step of its input. Parallel paths are counted as if they followed each other: never too
    little.
    """
    down = any(isinstance(m, torch.nn.Conv1d) and m.stride[0] > 1 for layer in layers for m in layer.modules())
    step, samples = (1 if down else hop_samples), 0
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Conv1d):
                samples += (module.kernel_size[0] - 1) * module.dilation[0] * step
                step *= module.stride[0]
            elif isinstance(module, torch.nn.ConvTranspose1d):
                samples += step * (-(-module.kernel_size[0] // module.stride[0]) - 1)
                step //= module.stride[0]
    return -(-samples // hop_samples) + 1
