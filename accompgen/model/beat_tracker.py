"""Where the beat of a song lies, as its vocal's units tell it: a small network, and a model of steady beats that listens to it.

The network gives every frame the chance that a beat falls there. It is a stack of dilated convolutions that reach tens of
seconds to both sides, as beat trackers of recordings are built (Davies and Bock, "Temporal convolutional networks for musical
audio beat tracking", EUSIPCO 2019), and reads units, not spectra. A voice does not sound every beat: what tells most is that
beats are steady. That is the second part: a hidden Markov model whose states are a tempo and a place between two beats (Krebs,
Bock and Widmer, "An efficient state-space model for joint tempo and meter tracking", ISMIR 2015, with bars of one beat). It
gives, for every frame, how likely each phase of the beat is in view of all frames. Times of beats
and their places in bars are found by bar_pointer.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from accompgen.config import ConfigError
from accompgen.model.bar_pointer import find_beats
from accompgen.time import SEMANTIC_HZ

PHASES = 16  # K, equal parts of the time from one beat to the next; the first begins with a beat
DILATIONS = 9  # of the layers: 1, 2, 4, ... 256 steps of two frames, then from 1 again
SLOWEST_BPM, FASTEST_BPM = 50.0, 187.5
STEADINESS = 100.0  # a beat longer or shorter than the one before by a share of x is exp(-100 x) times as likely
EVIDENCE = 0.25  # power of the odds that the network gives: what it hears of one beat and of the next is often the same
SUREST = 0.001  # chances of the network stay so far from 0 and 1


@dataclass(frozen=True)
class BeatTrackerConfig:
    """Sizes of the network."""

    semantic_vocab: int = 500  # V
    width: int = 48  # D
    layers: int = 18
    dropout: float = 0.1
    step_frames: int = 2  # frames that become one step of the network: 25 steps a second
    downbeats: bool = False  # weights of before downbeats were learned have none

    def __post_init__(self):
        sizes = min(self.width, self.layers, self.step_frames)
        if sizes < 1 or self.semantic_vocab < 2 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"{self}; expected semantic_vocab of 2 or more, width, layers and step_frames of 1 "
                "or more, dropout in [0, 1)"
            )


class BeatTracker(nn.Module):
    """Vocal units -> where beats and bars fall, and which units of a band belong where.

    Id V stands for a frame that is not heard.
    """

    def __init__(self, config: BeatTrackerConfig):
        super().__init__()
        self.config, width = config, config.width
        self.embedding = nn.Embedding(config.semantic_vocab + 1, width)
        self.enter = nn.Linear(config.step_frames * width, width)
        self.layers = nn.ModuleList(_Layer(width, 2 ** (i % DILATIONS), config.dropout) for i in range(config.layers))
        self.leave = nn.Linear(width, config.step_frames * (1 + config.downbeats))
        self.register_buffer("unit_phases", torch.ones(config.semantic_vocab, PHASES))

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        """units [B, S] -> logits [B, S, O]: of a beat in each frame and, with `downbeats`, of a beat
        there being a downbeat."""
        frames, step = units.shape[1], self.config.step_frames
        units = nn.functional.pad(units, (0, -frames % step), value=self.config.semantic_vocab)
        x = self.enter(self.embedding(units).unflatten(1, (-1, step)).flatten(2))  # [B, steps, D]
        for layer in self.layers:
            x = layer(x)
        x = self.leave(nn.functional.elu(x))  # [B, steps, frames of a step * O]
        return x.unflatten(2, (step, -1)).flatten(1, 2)[:, :frames]

    @torch.inference_mode()
    def beats(
        self, units: torch.Tensor, bpm: float | None = None, settled=(), start: float = 0.0
    ) -> list[tuple[float, int]]:
        """The beats of a song, in view of all units.

        They cover the whole span, pauses of the voice included: the first falls within a beat of
        its begin, the last within a beat of its end. All bars have 3 beats, or all have 4.

        Args:
            units: [S], of the vocal, at 50 Hz; V for a frame that is not heard. Memory grows by
                60 kB a second.
            bpm: the tempo, if it is known; the beats keep to it within 1 %.
            settled: (seconds, place) of earlier beats, which stay as they are; the others follow
                the last of them in its tempo and its bar. A stream gives those that it has used.
            start: when the first unit begins, seconds.

        Returns:
            (seconds, place in the bar from 1) of each beat, rising; `settled` first.

        Raises:
            ConfigError: weights that know no downbeats, or a tempo outside of 30 to 300.
        """
        if not self.config.downbeats:
            raise ConfigError(
                "this beat tracker tells no downbeats (its config.json has no downbeats = true), so "
                "it finds no bars; train one with downbeats = true under [model]"
            )
        logits = self(units[None])[0].double().cpu().numpy()  # [S, 2]
        return find_beats(logits, bpm, settled, start)

    @torch.inference_mode()
    def phases(self, units: torch.Tensor) -> torch.Tensor:
        """How likely each phase is in each frame, by the whole of each row: [B, S] -> [B, S, K]."""
        chances = self(units)[..., 0].double().sigmoid().cpu().numpy()
        return torch.from_numpy(np.stack([phase_chances(row) for row in chances])).to(units.device, torch.float32)

    def unit_log_odds(self, units: torch.Tensor) -> torch.Tensor:
        """How the band's units go with the beat: units of the vocal [B, S] -> [B, S, V] in nats.

        log sum_k p(phase k | vocal) p(unit | phase k) / p(unit): what the beat makes of the chance of a unit, if nothing else
        is known. Near 0 where the voice leaves the beat open.
        """
        return (self.phases(units) @ self.unit_phases.T).log()


class _Layer(nn.Module):
    """x + a gated convolution over three steps, `dilation` apart."""

    def __init__(self, width, dilation, dropout):
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.taps = nn.Linear(3 * width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        steps, d = x.shape[1], self.dilation
        around = nn.functional.pad(self.norm(x), (0, 0, d, d))
        taps = torch.cat([around[:, shift : shift + steps] for shift in (0, d, 2 * d)], dim=-1)
        value, gate = self.taps(taps).chunk(2, dim=-1)
        return x + self.dropout(self.out(value.tanh() * gate.sigmoid()))


def phase_chances(beat_chances: np.ndarray) -> np.ndarray:
    """The chance of each phase in each frame, in view of all frames: beats [S] from 0 to 1 -> [S, K], rows of sum 1.

    Forward-backward over the states (frames from one beat to the next, frames since the last beat). A beat's length changes
    from one beat to the next as STEADINESS allows; all states are as likely at the start.
    """
    space = _SPACE
    chances = beat_chances.clip(SUREST, 1 - SUREST)
    evidence = (chances / (1 - chances)) ** EVIDENCE  # [S] for the states in the first frame of a beat, against all others
    forward = np.empty((len(evidence), space.states))
    now = np.full(space.states, 1.0)
    for n, odds in enumerate(evidence):
        if n:
            arriving = now[space.last] @ space.change
            now = np.concatenate([[0.0], now[:-1]])
            now[space.first] = arriving
        now[space.first] *= odds
        now /= now.sum()
        forward[n] = now
    behind = np.ones(space.states)
    for n in range(len(evidence) - 2, -1, -1):
        behind[space.first] *= evidence[n + 1]
        starting = space.change @ behind[space.first]
        behind = np.concatenate([behind[1:], [0.0]])
        behind[space.last] = starting
        behind /= behind.sum()
        forward[n] *= behind
    phases = np.stack([forward[:, space.phase == k].sum(1) for k in range(PHASES)], axis=1)
    return phases / phases.sum(1, keepdims=True)


class _Space:
    """States of the model of steady beats: for each length of a beat in frames, one for each frame of it."""

    def __init__(self):
        lengths = np.arange(round(60 * SEMANTIC_HZ / FASTEST_BPM), round(60 * SEMANTIC_HZ / SLOWEST_BPM) + 1)
        self.states = int(lengths.sum())
        self.last = lengths.cumsum() - 1  # [tempi], of each the state in the last frame of a beat
        self.first = self.last - lengths + 1
        place = np.arange(self.states) - np.repeat(self.first, lengths)
        self.phase = (place * PHASES) // np.repeat(lengths, lengths)  # [states]
        change = np.exp(-STEADINESS * np.abs(lengths[None] / lengths[:, None] - 1))
        self.change = change / change.sum(1, keepdims=True)  # [tempi, tempi]: from a row to a column


_SPACE = _Space()
