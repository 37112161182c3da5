"""Sound -> rows that distances are taken between: VGGish, CLAP-music, MusiCNN, or a semantic tokenizer's features.

CLAP's network and its mel front end are transformers', which is imported in this file, `musicnn` and `tokens` alone.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from accompgen import checkpoint, component
from accompgen.evaluation import musicnn, vggish
from accompgen.time import SEMANTIC_HZ

VGGISH_FILE, CLAP_FILE = "vggish-10086976.pth", "larger_clap_music-5c289311.bin"  # as `accompgen fetch` names them
POOL_FRAMES = SEMANTIC_HZ  # semantic features are averaged over 1 s
CLAP_SECONDS = 10.0
# config.json and preprocessor_config.json of laion/larger_clap_music, where they differ from transformers' defaults
CLAP_MUSIC = {"depths": [2, 2, 12, 2], "hidden_size": 1024, "patch_embeds_hidden_size": 128, "projection_dim": 512}
CLAP_FRONT = {"frequency_min": 50, "frequency_max": 14000, "truncation": "rand_trunc", "padding": "repeatpad"}
NOT_COMPARABLE = "a development embedding of this project: compare rows of one table with it, never with published values"


@dataclass(frozen=True)
class Embedding:
    """`embed(mono float32 [T] at `rate` Hz) -> float32 [n, D]`; `identity` changes whenever the numbers could."""

    name: str
    rate: int
    identity: str
    note: str
    embed: Callable[[np.ndarray], np.ndarray]


def find_embedding(name, device: str = "cpu", batch_size: int = 32, cache=None) -> Embedding:
    """An embedding by name or path.

    Args:
        name: vggish | clap | musicnn | pocket; or a path: VGGish's weight file, a transformers
            directory of a CLAP, a checkpoint or a semantic tokenizer's directory.
        batch_size: examples in one pass of VGGish.
        cache: folder of fetched weights; the default is weights/ in `checkpoint.cache_directory()`.

    Raises:
        component.CheckpointError: what the name stands for is missing, altered or something else.
    """
    cache = Path(cache) if cache else checkpoint.cache_directory() / "weights"
    if name == "vggish":
        return _vggish(cache / VGGISH_FILE, device, batch_size)
    if name == "clap":
        return _clap(cache / CLAP_FILE, device)
    if name == "musicnn":
        return _musicnn(device)
    if name == "pocket":
        return _semantic(checkpoint.find_checkpoint("pocket") / "semantic_tokenizer", "pocket", device)
    path = Path(name)
    if path.is_file():
        return _vggish(path, device, batch_size)
    if (path / "semantic_tokenizer").is_dir():
        path = path / "semantic_tokenizer"
    try:
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise component.CheckpointError(
            f"embedding {str(name)!r} is none of vggish, clap, musicnn, pocket, "
            "nor the path of VGGish, of a CLAP or of a checkpoint"
        ) from error
    if settings.get("model_type") == "clap":
        return _clap(path, device)
    return _semantic(path, f"semantic tokenizer {path.parent.name}/{path.name}", device)


def _vggish(path, device, batch_size):
    network = vggish.load(path, device)

    def embed(mono):
        examples = torch.from_numpy(vggish.examples(mono))
        return _in_batches(network, examples, vggish.DIMENSION, device, batch_size)

    return Embedding("vggish", vggish.RATE, component.file_hash(path), "128-d, 0.96 s examples, no PCA, no activation", embed)


def _musicnn(device):
    weights = musicnn.find_weights()
    network = musicnn.load(weights, device)

    def embed(mono):
        patches = musicnn.patches(mono)
        return _in_batches(network, patches, musicnn.DIMENSION, device, musicnn.BATCH)

    return Embedding("musicnn", musicnn.RATE, weights.identity, musicnn.NOTE, embed)


def _in_batches(network, examples, dimension, device, batch_size):
    """Rows float32 [N, D] of examples [N, ...]; N may be 0."""
    rows = [network(part.to(device)).cpu() for part in examples.split(batch_size) if len(part)]
    return torch.cat(rows).numpy() if rows else np.zeros((0, dimension), np.float32)


def _clap(path, device):
    front, network, identity = _clap_directory(path) if path.is_dir() else _clap_file(path)
    network = network.eval().to(device)
    piece = round(CLAP_SECONDS * front.sampling_rate)

    @torch.inference_mode()
    def embed(mono):
        rows = []
        for start in range(0, len(mono), piece):
            part = mono[start : start + piece]
            if len(part) < front.sampling_rate // 2 and rows:
                break  # a rest below half a second
            inputs = front(part, sampling_rate=front.sampling_rate, return_tensors="pt").to(device)
            rows.append(network(**inputs).audio_embeds.float().cpu().numpy()[0])
        return np.stack(rows)

    return Embedding("clap", front.sampling_rate, identity, f"{network.config.projection_dim}-d, pieces of up to 10 s", embed)


def _clap_directory(path):
    """Front end, network and weights' hash of a directory as transformers writes it."""
    from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor

    weights = [file for name in ("model.safetensors", "pytorch_model.bin") if (file := path / name).is_file()]
    if not weights:
        raise component.CheckpointError(f"{path} holds neither model.safetensors nor pytorch_model.bin; expected a CLAP")
    front = ClapFeatureExtractor.from_pretrained(path, local_files_only=True)
    network = ClapAudioModelWithProjection.from_pretrained(path, local_files_only=True)
    return front, network, component.file_hash(weights[0])


def _clap_file(path):
    """The same of the one weight file of laion/larger_clap_music; its text half is left aside."""
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

    if not path.is_file():
        raise component.CheckpointError(f"{path} is missing; `accompgen fetch clap-music` gets it, or name a CLAP's directory")
    found = component.file_hash(path)
    if not path.stem.endswith(f"-{found[:8]}"):
        raise component.CheckpointError(f"{path} was altered: its sha256 begins with {found[:8]}, its name says otherwise")
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = ClapAudioModelWithProjection(ClapAudioConfig(**CLAP_MUSIC))
    missing = set(network.load_state_dict(state, strict=False).missing_keys) & {name for name, _ in network.named_parameters()}
    if missing:
        raise component.CheckpointError(f"{path} does not hold larger_clap_music: {min(missing)} is missing")
    return ClapFeatureExtractor(**CLAP_FRONT), network, found


def _semantic(path, name, device):
    from accompgen.tokens.semantic import SemanticTokenizer

    tokenizer = SemanticTokenizer.load(path, device)

    def embed(mono):
        features = tokenizer.features(torch.from_numpy(np.ascontiguousarray(mono))[None])[0].float().cpu().numpy()  # [S, D]
        whole = len(features) // POOL_FRAMES * POOL_FRAMES
        if not whole:
            return features.mean(axis=0, keepdims=True)
        return features[:whole].reshape(-1, POOL_FRAMES, features.shape[1]).mean(axis=1)

    note = f"layer {tokenizer.layer} features averaged over 1 s; {NOT_COMPARABLE}"
    return Embedding(name, tokenizer.sample_rate, component.component_hash(path), note, embed)
