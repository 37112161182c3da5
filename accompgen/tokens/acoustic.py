"""24 kHz sound <-> residual codes: EnCodec at 75 frames a second, and the only reader of its weight files.

The network is transformers.EncodecModel with its weight norm folded into plain weights, so that every source of weights
(the published `.th` file, a transformers directory, our own component directory) ends in the same 24 kHz, causal, mono model.

Long sound goes through in chunks and leaves no seam. All convolutions are causal, so a chunk that starts a few frames
early (as many as the convolutions look back) gives the very frames of a whole pass. The LSTM of the published model looks
back without limit; it runs over the 75 Hz sequence as a whole, beside the chunked part, and that sequence is short.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from accompgen.checkpoint import CheckpointError, load_component, save_component
from accompgen.config import ConfigError, from_dict, to_dict

FORMAT = "encodec"
TRAINING_ONLY = ("cluster_size", "embed_avg", "inited")  # buffers of a codebook that encoding does not need
READABLE = {  # what a transformers directory must say, where it says anything
    "sampling_rate": 24000,
    "audio_channels": 1,
    "normalize": False,
    "norm_type": "weight_norm",
    "use_causal_conv": True,
    "trim_right_ratio": 1.0,
    "upsampling_ratios": [8, 5, 4, 2],
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "num_residual_layers": 1,
    "compress": 2,
}
CHUNK_FRAMES = 150  # 2 s: the 4 frames computed twice cost little, and what a layer passes on stays in the cache


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of an EnCodec. The defaults are those of the published 24 kHz model."""

    filters: int = 32  # channels at 24 kHz; doubled at each of the four strides
    latent: int = 128  # width of the latent and of the codes
    codebooks: int = 32  # Q; each adds 75 * log2(bins) bit/s: 0.75 kbps with 1024 bins
    bins: int = 1024  # codes per codebook, a power of 2
    lstm_layers: int = 2  # 0: no LSTM
    shortcut: bool = True  # residual blocks have a 1x1 convolution beside them, not the identity
    pad_mode: str = "reflect"  # what stands before the first sample: reflect | constant (zeros)

    sample_rate = 24000
    ratios = (8, 5, 4, 2)
    hop_samples = 320

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
    def kbps(self) -> float:
        """Bit rate of one codebook in kbit/s."""
        return 0.075 * (self.bins.bit_length() - 1)


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


class AcousticTokenizer:
    """Wave 24 kHz [B, T] <-> codes [B, Q, F], F = ceil(T / 320).

    Attributes:
        codebooks: Q, what `encode` gives when not asked for another number.
        bins: codes per codebook.
        config, network: sizes and the transformers.EncodecModel (eval mode, plain weights).
    """

    sample_rate = CodecConfig.sample_rate
    hop_samples = CodecConfig.hop_samples

    def __init__(self, config: CodecConfig, network: torch.nn.Module, codebooks: int | None = None):
        self.config, self.network = config, network.eval()
        self.codebooks = min(8, config.codebooks) if codebooks is None else codebooks
        self.bins = config.bins
        self._check_codebooks(self.codebooks)

    @classmethod
    def load(cls, path, device="cpu", codebooks: int | None = None) -> "AcousticTokenizer":
        """Read the published `.th` file, a transformers directory or a component directory; their content tells which.

        Raises CheckpointError naming the file for anything missing, altered or not a 24 kHz causal mono EnCodec.
        """
        config, state = read_weights(path)
        with torch.random.fork_rng(devices=[]):  # building draws random weights, which nobody shall notice
            network = build_network(config)
        lost = network.load_state_dict(state, strict=False)
        missing = [name for name in lost.missing_keys if not name.endswith(TRAINING_ONLY)]
        if missing or lost.unexpected_keys:
            what = "missing" if missing else "unknown"
            names = ", ".join((missing or lost.unexpected_keys)[:3])
            raise CheckpointError(f"{path}: weights {what}: {names}; this is no EnCodec of {config}")
        return cls(config, network.to(device), codebooks)

    def save(self, directory, force: bool = False) -> None:
        """Write a component directory (config.json + model.safetensors). Raises CheckpointError as `save_component`."""
        state = self.network.state_dict()
        keep = {name: value for name, value in state.items() if not name.endswith(TRAINING_ONLY)}
        save_component(directory, {"format": FORMAT, **to_dict(self.config)}, keep, force=force)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def codebooks_at(self, kbps: float) -> int:
        """Number of codebooks at a bit rate: 1.5, 3, 6, 12 and 24 kbps are 2, 4, 8, 16 and 32 with 1024 bins.

        Raises ValueError if the rate buys no codebook, or more than this model has.
        """
        count = int(kbps / self.config.kbps + 1e-6)
        if not 1 <= count <= self.config.codebooks:
            top = self.config.codebooks * self.config.kbps
            raise ValueError(f"{kbps} kbps is out of range; this codec goes from {self.config.kbps:g} to {top:g} kbps")
        return count

    @torch.no_grad()
    def encode(self, wav: torch.Tensor, codebooks: int | None = None) -> torch.Tensor:
        """Codes int64 [B, Q, F], F = ceil(T / 320), of sound [B, T] at 24 kHz; on the device of the network.

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
        frames = -(-wav.shape[-1] // self.hop_samples)
        parts = []
        for start in range(0, frames, CHUNK_FRAMES):
            first = max(0, start - look_back)
            piece = wav[:, first * self.hop_samples : (start + CHUNK_FRAMES) * self.hop_samples]
            parts.append(_run(layers[:middle], piece[:, None].to(self.device, torch.float32))[..., start - first :])
        return _run(layers[middle:], torch.cat(parts, dim=-1))

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Sound [B, F * 320] at 24 kHz of codes [B, q, F]; with q below Q the first q codebooks alone are heard.

        Raises ValueError for another shape, another type or codes out of range.
        """
        if codes.ndim != 3 or not codes.shape[-1] or codes.is_floating_point():
            shape = tuple(codes.shape)
            raise ValueError(f"codes have shape {shape}, {codes.dtype}; expected integers [B, q, F] with F > 0")
        self._check_codebooks(codes.shape[1])
        if codes.min() < 0 or codes.max() >= self.bins:
            raise ValueError(f"codes go from {codes.min()} to {codes.max()}; expected 0 to {self.bins - 1}")
        codes = codes.to(self.device, torch.int64).transpose(0, 1)  # [q, B, F]
        return self.synthesize(self.network.quantizer.decode(codes))

    @torch.no_grad()
    def synthesize(self, latent: torch.Tensor) -> torch.Tensor:
        """Sound [B, F * 320] of a latent [B, D, F]."""
        layers = self.network.decoder.layers
        middle = lstm_index(self.network.decoder) + 1
        look_back = _look_back_frames(layers[middle:], self.hop_samples)
        hidden = _run(layers[:middle], latent)
        parts = []
        for start in range(0, hidden.shape[-1], CHUNK_FRAMES):
            first = max(0, start - look_back)
            wav = _run(layers[middle:], hidden[..., first : start + CHUNK_FRAMES])
            parts.append(wav[:, 0, (start - first) * self.hop_samples :])
        return torch.cat(parts, dim=-1)

    def _quantize(self, latent, codebooks):
        """[1, D, F] -> [1, Q, F]; in spans, because the distances to all codes are the largest tensor here."""
        spans = latent.split(4096, dim=-1)
        layers = self.network.quantizer.layers[:codebooks]
        parts = []
        for residual in spans:
            codes = []
            residual = residual[0].T  # [F, D]
            for layer in layers:
                embed = layer.codebook.embed  # [bins, D]
                codes.append((residual @ embed.T - 0.5 * embed.square().sum(1)).argmax(1))  # the nearest
                residual = residual - embed[codes[-1]]
            parts.append(torch.stack(codes)[None])  # [1, Q, F]
        return torch.cat(parts, dim=-1)

    def _check_codebooks(self, codebooks):
        if not 1 <= codebooks <= self.config.codebooks:
            raise ValueError(f"{codebooks} codebooks asked for; this codec has 1 to {self.config.codebooks}")


def _run(layers, hidden):
    for layer in layers:
        hidden = layer(hidden)
    return hidden


def _look_back_frames(layers, hop_samples: int) -> int:
    """How many frames of 320 samples before a frame the (causal) layers may look at, rounded up with one to spare.

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


# ---- weight files ------------------------------------------------------------------------------------------------


def read_weights(path) -> tuple[CodecConfig, dict]:
    """Sizes and plain weights (names of transformers, weight norm folded) of any of the three formats."""
    path = Path(path)
    if path.is_dir():
        return _read_directory(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; expected a .th file, or a directory with config.json and weights")
    return _read_published(path)


def _read_directory(path):
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / 'config.json'} cannot be read: {error}") from error
    if values.get("format") == FORMAT:
        sizes = {name: value for name, value in values.items() if name != "format"}
        return from_dict(CodecConfig, sizes, f"{path}/config.json"), load_component(path)[1]
    if values.get("model_type") != "encodec":
        raise CheckpointError(f"{path}/config.json names no EnCodec; expected format = {FORMAT!r} or model_type = 'encodec'")
    for key, expected in READABLE.items():
        if values.get(key, expected) != expected:
            raise CheckpointError(
                f"{path}: {key} is {values[key]!r}; only the 24 kHz causal mono EnCodec is read, where it is {expected!r}"
            )
    if (path / "model.safetensors").is_file():
        state = load_component(path)[1]
    elif (path / "pytorch_model.bin").is_file():
        state = _load_pickled_tensors(path / "pytorch_model.bin")
    else:
        raise CheckpointError(f"{path} holds neither model.safetensors nor pytorch_model.bin")
    state = _fold_weight_norm(state)
    return _sizes_of(state, values.get("pad_mode", "reflect"), path), state


def _read_published(path):
    """The package `encodec` names a file after the first 8 hex digits of its sha256: encodec_24khz-d7cc33bc.th."""
    named = re.search(r"-([0-9a-f]{8})\.th$", path.name)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if named is None:
        raise CheckpointError(f"{path} does not carry its hash; expected the name encodec_24khz-{found[:8]}.th")
    if named[1] != found[:8]:
        raise CheckpointError(
            f"{path} was altered or cut: its sha256 begins with {found[:8]}, its name says {named[1]}; fetch it again"
        )
    state = {}
    for name, value in _load_pickled_tensors(path).items():
        name = name.replace("quantizer.vq.layers", "quantizer.layers").replace("._codebook.", ".codebook.")
        name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
        state[re.sub(r"\.conv(tr)?\.conv(tr)?\.", ".conv.", name)] = value
    state = _fold_weight_norm(state)
    return _sizes_of(state, "reflect", path), state


def _load_pickled_tensors(path):
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types here; all mean the same to the user
        raise CheckpointError(f"{path} is not a plain file of tensors: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{path} holds something else than names and tensors; expected a state_dict")
    return state


def _fold_weight_norm(state):
    """weight = g * v / |v|, the norm over all axes but the first (Salimans and Kingma 2016); other tensors as they are."""
    plain = {}
    for name, value in state.items():
        if name.endswith((".weight_g", ".parametrizations.weight.original0")):
            continue
        stem = re.sub(r"\.(weight_v|parametrizations\.weight\.original1)$", "", name)
        if stem == name:
            plain[name] = value
            continue
        scale = state.get(f"{stem}.weight_g", state.get(f"{stem}.parametrizations.weight.original0"))
        if scale is None:
            raise CheckpointError(f"the weights hold {name} but not the scale beside it; the file is not complete")
        plain[f"{stem}.weight"] = torch._weight_norm(value, scale, 0)
    return plain


def _sizes_of(state, pad_mode, path):
    """Read the sizes off the tensors themselves."""
    try:
        embed = state["quantizer.layers.0.codebook.embed"]
        return CodecConfig(
            filters=state["encoder.layers.0.conv.weight"].shape[0],
            latent=embed.shape[1],
            codebooks=sum(name.endswith("codebook.embed") for name in state),
            bins=embed.shape[0],
            lstm_layers=sum(re.search(r"^encoder\..*lstm\.weight_ih_l\d+$", name) is not None for name in state),
            shortcut=any(".shortcut." in name for name in state),
            pad_mode=pad_mode,
        )
    except KeyError as error:
        raise CheckpointError(f"{path} holds no EnCodec: {error.args[0]} is missing") from error
