"""Does a stem hold another instrument? A small network, trained on true stems, says what each cell of a spectrum is of.

Cells are mel bands every 40 ms (`mels`, two frames together). In a mixture their powers add up, so that mixtures to learn
from cost nothing: true stems are added in random measures, one to three at a time, and the network learns each stem's share
of each cell from the cells around. What it says of an output is read beside what it says of true stems, alone and with
another mixed in.
"""

import json
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from accompgen import audio
from accompgen.evaluation import folders, mels
from accompgen.evaluation.folders import EvaluationError

CLASSES = ("drums", "bass", "harmony")
FORMAT = "accompgen-purity-probe"
RANGE_DB = 70.0  # below the loudest cell: what lies lower is silence
# a cell is given to another class as far as the odds against its own exceed this: low drums, basses and chords share bands,
# and without it a true bass would be .27 something else
ODDS = 16.0
MIXED_IN = 0.1  # of the energy: what the probe must notice
CHANNELS = 12
TOGETHER = 2  # frames of `mels` in a cell
BATCH, FRAMES = 6, 75  # excerpts of 3 s
GAIN_DB = (-15.0, 15.0)
HOW_MANY = (0.45, 0.3, 0.25)  # how often one, two and three stems are mixed
LEARNING_RATE = 3e-3


class Network(nn.Module):
    """Levels in dB [B, T, M] -> logits of the classes [B, 3, T, M]; each cell sees 0.4 s and 10 bands to each side."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, CHANNELS, 5, padding=2), nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 5, padding=4, dilation=2), nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 5, padding=4, dilation=2), nn.ReLU(),
            nn.Conv2d(CHANNELS, len(CLASSES), 1),
        )  # fmt: skip

    def forward(self, decibel: torch.Tensor) -> torch.Tensor:
        top = decibel.amax(dim=(1, 2), keepdim=True)
        level = ((decibel - top) / RANGE_DB).clamp(-1, 0) + 0.5
        band = torch.linspace(-1, 1, decibel.shape[2]).expand_as(level)
        return self.layers(torch.stack([level, band], dim=1))


class Probe:
    """A trained network, and what it says of true stems.

    Attributes:
        calibration: stem -> {"true": the share outside its class in stems that nothing was trained on, "mixed": the same with
            a tenth of the energy from another stem}, empty before `calibrate`.
    """

    def __init__(self, network: Network, calibration: dict | None = None):
        self.network, self.calibration = network.eval(), calibration or {}

    def outside(self, power: np.ndarray, stem: str) -> float | None:
        """Share of the energy of `cells` [T, M] that is given to other classes than `stem`: 0 to 1; None for silence."""
        if not sounds(power):
            return None
        with torch.inference_mode():
            shares = self.network(_decibel(torch.from_numpy(power))[None])[0].softmax(dim=0)
        own = shares[CLASSES.index(stem)].numpy()
        other = (1 - own) / (1 - own + ODDS * own)
        return float((power * other).sum() / power.sum())

    def calibrated(self, share: float | None, stem: str) -> float | None:
        """What `outside` gives, on a scale on which true stems are 0 and those with a tenth of another 0.1, in the mean.

        None where the probe knows of no true stem, or cannot tell the two apart.
        """
        known = self.calibration.get(stem)
        if share is None or not known or not known["mixed"] > known["true"]:
            return None
        return MIXED_IN * (share - known["true"]) / (known["mixed"] - known["true"])

    def save(self, path) -> None:
        """One file: weights, and the calibration in its head."""
        head = {"format": FORMAT, "calibration": json.dumps(self.calibration)}
        audio.write_bytes(Path(path), save(self.network.state_dict(), metadata=head))


def load(path) -> Probe:
    """Raises EvaluationError for a file that is no such probe."""
    network = Network()
    try:
        with safetensors.safe_open(path, "pt") as file:
            head = file.metadata() or {}
            if head.get("format") != FORMAT:
                raise ValueError(f"its format is {head.get('format')!r}")
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
        return Probe(network, json.loads(head["calibration"]))
    except (OSError, ValueError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
        raise EvaluationError(f"{path} is no probe of stems ({error}); train one on songs with stems") from error


def cells(decibel: np.ndarray) -> np.ndarray:
    """Levels of `mels.mel_decibel` [T, M] -> powers, float32 [T / 2, M]."""
    power = 10 ** (decibel[: len(decibel) // TOGETHER * TOGETHER].astype(np.float32) / 10)
    return power.reshape(-1, TOGETHER, power.shape[1]).mean(axis=1)


def sounds(power: np.ndarray) -> bool:
    """Whether any frame of cells [T, M] is louder than -60 dBFS."""
    return bool(power.sum(axis=1).max(initial=0.0) > audio.SILENCE**2)


def _decibel(power):
    return 10 * torch.log10(power + 1e-12)


def train(songs: list[dict[str, np.ndarray]], steps: int = 600, seed: int = 0, progress: bool = False) -> Probe:
    """Learn from true stems.

    Args:
        songs: of each song its stems, class -> `cells` [T, M]; silent ones are left out.

    Raises EvaluationError where a class has no stem.
    """
    pools = {stem: [song[stem] for song in songs if stem in song and sounds(song[stem])] for stem in CLASSES}
    if missing := [stem for stem, pool in pools.items() if not pool]:
        raise EvaluationError(f"no song has a stem {', '.join(missing)} that sounds; a probe of stems needs all three")
    rng, network = np.random.default_rng(seed), _seeded(seed)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in folders.bar(range(steps), progress, "probe of stems"):
        powers = torch.from_numpy(np.stack([_mixture(pools, rng) for _ in range(BATCH)]))  # [B, 3, T, M]
        whole = powers.sum(dim=1)
        each = -(powers / (whole[:, None] + 1e-12) * F.log_softmax(network(_decibel(whole)), dim=1)).sum(dim=1)
        # louder cells count more, as the shares are of energy; by the root, that soft ones are learnt too
        # an excerpt in which everybody rests counts nothing
        weight = whole.sqrt() / (whole.sqrt().sum(dim=(1, 2), keepdim=True) + 1e-6)
        loss = (each * weight).sum() / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Probe(network)


def _seeded(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def _mixture(pools, rng):
    """Powers [3, T, M] of an excerpt of one to three stems, each at a random level."""
    powers = np.zeros((len(CLASSES), FRAMES, mels.BANDS), np.float32)
    count = 1 + rng.choice(len(HOW_MANY), p=HOW_MANY)
    for index in rng.permutation(len(CLASSES))[:count]:
        pool = pools[CLASSES[index]]
        stem = pool[rng.integers(len(pool))]
        start = rng.integers(max(1, len(stem) - FRAMES + 1))
        piece = stem[start : start + FRAMES]
        if sounds(piece):  # a rest stays one
            powers[index, : len(piece)] = piece / piece.sum() * 10 ** (rng.uniform(*GAIN_DB) / 10)
    return powers


def calibrate(probe: Probe, songs: list[dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """What the probe says of true stems, alone and with a tenth of the energy from each other stem of the same song.

    Sets and returns `probe.calibration`: means over the songs, as `train` takes them.
    """
    found = {}
    for stem in CLASSES:
        alone, mixed = [], []
        for song in songs:
            if stem not in song or not sounds(song[stem]):
                continue
            own = song[stem]
            alone.append(probe.outside(own, stem))
            for other in CLASSES:
                if other != stem and other in song and sounds(song[other]):
                    more = song[other][: len(own)]
                    gain = MIXED_IN / (1 - MIXED_IN) * own.sum() / more.sum()
                    mixed.append(probe.outside(own[: len(more)] + more * gain, stem))
        if mixed:
            found[stem] = {"true": float(np.mean(alone)), "mixed": float(np.mean(mixed)), "songs": len(alone)}
    probe.calibration = found
    return found
