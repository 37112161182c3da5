"""Parts become stems in a room: places in the stereo field, levels, reverberation. Numpy and scipy; no files.

Everything up to the stems is linear and happens in one spectrum per stem.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.signal

from accompgen.data.synthetic.band import STEMS

STEM_LUFS = {"harmony": -23.0, "bass": -26.0, "drums": -27.0}
PART_DB = {"keys": 0.0, "pad": -6.0, "lead": -3.0, "bass": 0.0, "drums": 0.0}  # within their stem
_WIDTHS = {"keys": (0.5, 1.0), "pad": (0.8, 1.2), "lead": (0.2, 0.7), "bass": (0.0, 0.2), "drums": (0.6, 1.0)}
_PANS = {"keys": 0.45, "pad": 0.15, "lead": 0.4, "bass": 0.0, "drums": 0.0}  # at most so far from the centre
SHORTEST_ROOM, LONGEST_ROOM, LONGEST_PREDELAY = 0.3, 2.2, 0.03  # seconds
_SENDS = {"harmony": (-17.0, -8.0), "bass": (-30.0, -20.0), "drums": (-22.0, -12.0)}  # dB below the direct sound


@dataclass(frozen=True)
class Room:
    """Reverberation: seconds until it has fallen by 60 dB, low and high, and the wait before it begins."""

    seconds: float
    bright_seconds: float
    predelay: float


@dataclass(frozen=True)
class Mix:
    """How a song is mixed: everything that is drawn for it."""

    pans: dict[str, float]  # part -> -1 left to 1 right
    widths: dict[str, float]  # part -> side over middle; 1 leaves the instrument as it was recorded
    levels: dict[str, float]  # part -> dB within its stem
    loudness: dict[str, float]  # stem -> LUFS before the mix is brought to its loudness
    sends: dict[str, float]  # stem -> dB of reverberation against the direct sound
    room: Room
    room_seed: int


def draw_mix(parts, rng):
    """Places, levels and a room for the parts that play."""
    side = rng.choice([-1, 1])  # keys to one side, the lead to the other
    sides = {"keys": side, "lead": -side}
    seconds = float(np.exp(rng.uniform(np.log(SHORTEST_ROOM), np.log(LONGEST_ROOM))))
    return Mix(
        pans={p: round(float(sides.get(p, rng.choice([-1, 1])) * rng.uniform(0, _PANS[p])), 3) for p in parts},
        widths={p: round(float(rng.uniform(*_WIDTHS[p])), 3) for p in parts},
        levels={p: round(PART_DB[p] + float(rng.uniform(-2, 2)), 2) for p in parts},
        loudness={s: round(STEM_LUFS[s] + float(rng.uniform(-2, 2)), 2) for s in STEMS},
        sends={s: round(float(rng.uniform(*_SENDS[s])), 2) for s in STEMS},
        room=Room(round(seconds, 3), round(seconds * float(rng.uniform(0.3, 0.7)), 3), round(float(rng.uniform(0.0, LONGEST_PREDELAY)), 4)),
        room_seed=int(rng.integers(2**31)),
    )


def mix_stems(waves, mix, rate):
    """Parts {part: wave [2, T]} -> stems {stem: wave [2, T]} float32 for all of STEMS, zeros for one that does not play."""
    samples = next(iter(waves.values())).shape[1]
    response = impulse_response(mix.room, rate, np.random.default_rng(mix.room_seed))
    # one size for all songs of a length, so that what depends on it is computed once
    size = scipy.fft.next_fast_len(samples + round((LONGEST_ROOM + LONGEST_PREDELAY) * rate), real=True)
    room = scipy.fft.rfft(response, size)
    stems = {}
    for stem, parts in STEMS.items():
        placed = [_placed(waves[p], mix, p) for p in parts if p in waves]
        dry = sum(placed) if placed else np.zeros((2, samples), np.float32)
        if not dry.any():
            stems[stem] = dry
            continue
        spectrum = scipy.fft.rfft(dry, size)
        spectrum += _gain(mix.sends[stem]) * spectrum.mean(axis=0) * room
        level = 10 * np.log10(_weighted_power(spectrum, size, rate) / (size * samples)) - 0.691
        stems[stem] = scipy.fft.irfft(spectrum * _gain(mix.loudness[stem] - level), size)[:, :samples]
    return stems


def _placed(wave, mix, part):
    """A part at its level and place: width by middle and side, then an equal-power balance."""
    loud = np.sqrt(np.mean(np.square(wave)))
    gain = _gain(mix.levels[part]) * 0.05 / loud if loud > 0 else 0.0
    angle = (mix.pans[part] + 1) * np.pi / 4
    left, right = np.sqrt(2) * gain * np.array([np.cos(angle), np.sin(angle)])
    same, other = 0.5 * (1 + mix.widths[part]), 0.5 * (1 - mix.widths[part])
    matrix = np.array([[left * same, left * other], [right * other, right * same]], np.float32)
    return matrix @ wave


def impulse_response(room, rate, rng):
    """Reverberation of a room [2, T] float32 of unit energy a channel, different left and right.

    Gaussian noise under an exponential decay (Moorer, About This Reverberation Business, 1979): a low band and a high
    band, each with its time, after a few early reflections. Nothing lies below 150 Hz, so that the bass stays clear.
    """
    samples = int((room.predelay + room.seconds) * rate)
    start = int(room.predelay * rate)
    time = np.arange(samples - start) / rate
    noise = rng.normal(size=(2, samples - start))
    low = scipy.signal.sosfilt(scipy.signal.butter(2, 2500, fs=rate, output="sos"), noise)
    tail = low * 10 ** (-3 * time / room.seconds) + (noise - low) * 10 ** (-3 * time / room.bright_seconds)
    response = np.zeros((2, samples))
    response[:, start:] = tail
    response = scipy.signal.sosfilt(scipy.signal.butter(2, 150, "highpass", fs=rate, output="sos"), response)
    scale = np.sqrt(np.square(response).sum(axis=1, keepdims=True))
    return (response / scale).astype(np.float32)


def _weighted_power(spectrum, size, rate):
    """Energy of both channels under the K-weighting of BS.1770, times `size`, of a spectrum of `size` points."""
    parts = spectrum.view(np.float32).reshape(2, -1, 2)  # real and imaginary
    return 2 * float(np.dot(np.square(parts).sum(axis=(0, 2)), _k_weighting(size, rate)))


@lru_cache(maxsize=2)
def _k_weighting(size, rate):
    """|H|^2 of ITU-R BS.1770-4's two filters at the bins of a real spectrum of `size` points."""
    hz = np.maximum(scipy.fft.rfftfreq(size, 1 / rate), 1e-3)
    shelf = ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585])
    highpass = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])
    points = np.minimum(2 * np.pi * hz / 48_000, np.pi)  # the recommendation gives the filters at 48 kHz
    weights = np.ones(len(hz))
    for b, a in (shelf, highpass):
        weights *= np.abs(scipy.signal.freqz(b, a, worN=points)[1]) ** 2
    return weights.astype(np.float32)


def _gain(decibel):
    return np.float32(10 ** (decibel / 20))
