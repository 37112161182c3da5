"""Semantic units: wav 16 kHz -> ids at 50 Hz, by HuBERT features and k-means. The only place that pads for HuBERT.

Without padding a HuBERT gives (T - 400) / 320 + 1 frames, 49 for a second. Here zeros are put on both sides so that there are
exactly ceil(T / 320) frames and frame s is centred on the samples 320 s to 320 s + 319 that it stands for.
"""

import torch
from torch.nn import functional as F

from accompgen import component, config
from accompgen.tokens import kmeans
from accompgen.tokens.hubert import SAMPLE_RATE, Hubert, HubertConfig

KIND = "semantic_tokenizer"


class SemanticTokenizer:
    """A HuBERT, the layer whose features are used, and the k-means centres [V, D] that turn them into units."""

    sample_rate = SAMPLE_RATE

    def __init__(self, hubert: Hubert, layer: int, centres: torch.Tensor):
        if centres.ndim != 2 or centres.shape[1] != hubert.config.width:
            shape = tuple(centres.shape)
            raise ValueError(f"k-means centres of shape {shape} do not fit features of width {hubert.config.width}")
        if not 0 <= layer <= hubert.config.layers:
            raise ValueError(f"layer {layer} does not exist; this HuBERT has layers 1 to {hubert.config.layers}")
        self.hubert = hubert.eval()
        self.layer = layer
        self.centres = centres.float().to(next(hubert.parameters()).device)

    @property
    def vocab(self) -> int:
        """V, the number of units."""
        return self.centres.shape[0]

    @property
    def hop_samples(self) -> int:
        """Samples of a frame: 320."""
        return self.hubert.config.hop_samples

    def features(self, wav: torch.Tensor) -> torch.Tensor:
        """wav [B, T] float32 at 16 kHz -> features [B, S, D], S = ceil(T / 320), on the tokenizer's device.

        Raises ValueError for an empty waveform or one that is not [B, T].
        """
        return self.hubert.features(pad(wav, self.hubert.config).to(self.centres.device, torch.float32), self.layer)

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """wav [B, T] float32 at 16 kHz -> ids [B, S] int64 in 0..V-1, S = ceil(T / 320), on the tokenizer's device."""
        return kmeans.assign(self.features(wav), self.centres)

    def save(self, directory, force: bool = False) -> None:
        """Write a component directory: config.json + model.safetensors."""
        settings = {"kind": KIND, "layer": self.layer, "vocab": self.vocab, "hubert": self.hubert.settings()}
        tensors = {f"hubert.{name}": tensor for name, tensor in self.hubert.network.state_dict().items()}
        component.save_component(directory, settings, {**tensors, "centres": self.centres}, force=force)

    @staticmethod
    def check_place(directory, force: bool = False) -> None:
        """Raise CheckpointError where `save` would refuse `directory`: to know it before the work."""
        component.check_component_place(directory, force)

    @classmethod
    def load(cls, directory, device="cpu") -> "SemanticTokenizer":
        """Read a component directory. Raises CheckpointError if it is incomplete or something else."""
        settings, tensors = component.load_component(directory)
        if settings.get("kind") != KIND:
            raise component.CheckpointError(f"{directory} holds {settings.get('kind')!r}; expected a {KIND}")
        hubert = Hubert(config.from_dict(HubertConfig, settings["hubert"], f"{directory}: hubert"))
        centres = tensors.pop("centres").float()
        weights = {name.removeprefix("hubert."): tensor.float() for name, tensor in tensors.items()}
        try:
            hubert.network.load_state_dict(weights)
        except RuntimeError as error:
            raise component.CheckpointError(f"the weights in {directory} do not fit its config.json: {error}") from error
        return cls(hubert.to(device), settings["layer"], centres)


def pad(wav: torch.Tensor, hubert: HubertConfig) -> torch.Tensor:
    """Zeros around wav [B, T] so that the convolutions give exactly ceil(T / hop) frames, each centred on its hop."""
    if wav.ndim != 2 or wav.shape[-1] == 0:
        raise ValueError(f"waveform of shape {tuple(wav.shape)}; expected [B, T] with T of at least 1")
    samples, hop, field = wav.shape[-1], hubert.hop_samples, hubert.field_samples
    frames = -(-samples // hop)
    left = (field - hop) // 2
    return F.pad(wav, (left, field + (frames - 1) * hop - left - samples))
