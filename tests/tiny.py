"""A whole checkpoint of minute networks with random weights, written by the real functions: what a test of the system needs."""

import numpy as np
import torch

from accompgen.checkpoint import write_checkpoint
from accompgen.component import component_hash, save_component
from accompgen.config import StageConfig, to_dict
from accompgen.generation.schedule import LoadedStage, System
from accompgen.model.beat_tracker import PHASES, BeatTracker, BeatTrackerConfig
from accompgen.model.stage_lm import StageLM
from accompgen.stages import GRAPHS, PUBLISHED
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.decoder import StereoDecoder
from accompgen.tokens.decoder_network import DecoderConfig, DecoderNetwork
from accompgen.tokens.encodec import CodecConfig, build_network
from accompgen.tokens.hubert import Hubert, HubertConfig
from accompgen.tokens.semantic import SemanticTokenizer

WINDOW_SECONDS = {"chart": 0.8, "semantic": 0.8, "coarse": 0.36, "fine": 0.24}
VOCAB, BINS, COARSE, FINE = 20, 16, 2, 2  # fewer codebooks than the real system's 4 + 4: tests decode id by id


def make_checkpoint(directory, seed: int = 0, graph: str = PUBLISHED):
    """Write a checkpoint of a graph with random weights into `directory` and return its path. Takes about a second."""
    parts = directory.parent / f"{directory.name}-components"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _semantic_tokenizer().save(parts / "semantic_tokenizer")
        make_acoustic_tokenizer().save(parts / "acoustic_tokenizer")
        tokenizers = {kind: component_hash(parts / f"{kind}_tokenizer") for kind in ("semantic", "acoustic")}
        for stage in GRAPHS[graph]().stage_names:
            model = make_stage(stage, graph)
            about = {"stage": to_dict(model.config), "window_seconds": WINDOW_SECONDS[stage], "tokenizers": tokenizers}
            save_component(parts / stage, about, model.state_dict())
        about = {"tokenizers": {"acoustic": tokenizers["acoustic"]}}
        make_decoder().save(parts / "decoder", about, torch.float32)
        tracker = make_beat_tracker(downbeats=graph != PUBLISHED)  # a chart needs bars
        about = {"beat_tracker": to_dict(tracker.config), "tokenizers": {"semantic": tokenizers["semantic"]}}
        save_component(parts / "beat_tracker", about, tracker.state_dict())
    write_checkpoint(directory, {part.name: part for part in parts.iterdir()}, {"seed": seed, "data": "none: random weights"})
    return directory


def _semantic_tokenizer():
    sizes = HubertConfig(
        conv_channels=(8,) * 7, width=16, layers=2, heads=2, feed_forward=32, position_taps=16, position_groups=2,
        attention_frames=32,
    )  # fmt: skip
    return SemanticTokenizer(Hubert(sizes), 1, torch.randn(VOCAB, 16))


def make_acoustic_tokenizer():
    """A codec with random weights, drawn from torch's own generator."""
    sizes = CodecConfig(filters=4, latent=8, codebooks=COARSE + FINE, bins=BINS, lstm_layers=0)
    network = build_network(sizes)
    for layer in network.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)  # zeros as transformers makes them
    return AcousticTokenizer(sizes, network)


def make_decoder(timbre_seconds: float = 1.0):
    """A decoder of such a codec's codes with random weights, drawn from torch's own generator."""
    sizes = DecoderConfig(
        codebooks=COARSE + FINE, bins=BINS, latent=8, width=8, hidden=16, blocks=1, noise_bands=8, pan_bands=4,
        timbre_seconds=timbre_seconds,
    )  # fmt: skip
    network = DecoderNetwork(sizes)
    torch.nn.init.normal_(network.code_vectors)
    if network.timbre:
        torch.nn.init.normal_(network.timbre.out.weight, std=0.2)  # zeros as it is made
    return StereoDecoder(sizes, network)


def make_decoder_network(sizes: DecoderConfig) -> DecoderNetwork:
    """The network of a decoder with random weights, always the same: tone and noise of about the
    same power from 2 kHz on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DecoderNetwork(sizes).eval().requires_grad_(False)
        network.code_vectors.normal_()
    return network


def make_system(graph: str = PUBLISHED, seed: int = 0) -> System:
    """All stages of a graph with random weights, as they are loaded from a checkpoint but for what makes decoding quick."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        names = GRAPHS[graph]().stage_names
        stages = {name: LoadedStage(make_stage(name, graph), WINDOW_SECONDS[name]) for name in names}
    return System(stages[names[0]].model.config.rows, stages)


def make_stage(stage, graph: str = PUBLISHED):
    """A stage of width 16 with random weights, drawn from torch's own generator."""
    sizes = StageConfig(
        stage, graph=graph, width=16, layers=1, heads=2, context_layers=1, relative_buckets=8, relative_max_distance=32,
        semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=COARSE, fine_codebooks=FINE,
    )  # fmt: skip
    model = StageLM(sizes)
    torch.nn.init.normal_(model.heads, std=0.5)  # so that the logits depend on what was heard, and codes differ
    return model.eval()


def make_beat_tracker(downbeats: bool = False):
    """A beat tracker with random weights, drawn from torch's own generator, to which units mean much."""
    tracker = BeatTracker(BeatTrackerConfig(VOCAB, width=8, layers=4, downbeats=downbeats))
    tracker.unit_phases[:] = (2 * torch.randn(VOCAB, PHASES)).exp()
    return tracker.eval()


def sing(seconds, rate=44_100, channels=1, level=0.2):
    """A wave [C, T] with a gliding pitch, harmonics and pauses: enough of a voice for tests."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(220 + 60 * np.sin(2 * np.pi * 0.7 * time)) / rate
    wave = sum(np.sin(k * phase) / k for k in range(1, 6)) * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * time))
    wave = level * wave / max(1e-9, np.abs(wave).max())
    return np.stack([wave * 0.8**channel for channel in range(channels)]).astype(np.float32)
