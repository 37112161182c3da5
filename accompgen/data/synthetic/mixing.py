"""A song's mix is drawn, and its parts become stems: places in the stereo field, levels, tone, a room, and a bus."""

from dataclasses import dataclass

import numpy as np

from accompgen.data.synthetic.band import STEMS
from accompgen.data.synthetic.effects import (
    LONGEST_PREDELAY,
    LONGEST_ROOM,
    Bus,
    Filter,
    Room,
    bus_gain,
    finish,
    gain,
)

STEM_LUFS = {"harmony": -23.0, "bass": -26.0, "drums": -25.0}
PART_DB = {"keys": 0.0, "pad": -6.0, "lead": -3.0, "bass": 0.0, "drums": 0.0}  # within their stem
_WIDTHS = {"keys": (0.6, 1.2), "pad": (0.9, 1.4), "lead": (0.2, 0.7), "bass": (0.0, 0.2), "drums": (0.6, 1.0)}
_PANS = {"keys": 0.45, "pad": 0.15, "lead": 0.4, "bass": 0.0, "drums": 0.0}  # at most so far from the centre
_SENDS = {"harmony": (-18.0, -9.0), "bass": (-32.0, -22.0), "drums": (-24.0, -14.0)}  # dB below the direct sound
SHORTEST_ROOM = 0.3  # seconds
_HIGHPASSES = {"harmony": (50, 120), "bass": (25, 40), "drums": (25, 35)}  # Hz
_BELLS = {"harmony": (400, 4000), "bass": (80, 900), "drums": (300, 6000)}


@dataclass(frozen=True)
class Mix:
    """How a song is mixed: everything that is drawn for it."""

    room: Room
    bus: Bus
    drum_bus: Bus  # the drums' own, before it
    pans: dict[str, float]  # part -> -1 left to 1 right
    widths: dict[str, float]  # part -> side over middle; 1 leaves the instrument as it was recorded
    levels: dict[str, float]  # part -> dB within its stem
    loudness: dict[str, float]  # stem -> LUFS before the bus
    sends: dict[str, float]  # stem -> dB of reverberation against the direct sound
    filters: dict[str, tuple[Filter, ...]]  # stem -> its filters and the bus's

    def as_dict(self):
        """Everything by name, for JSON."""
        values = {**vars(self), "room": self.room._asdict(), "bus": self.bus._asdict()}
        values["drum_bus"] = self.drum_bus._asdict()
        return values | {"filters": {stem: [f._asdict() for f in chain] for stem, chain in self.filters.items()}}


def draw_mix(parts, rng):
    """Places, levels, tone, a room and a bus for the parts that play."""

    def uniform(low, high, digits=2):
        return round(float(rng.uniform(low, high)), digits)

    side = int(rng.choice([-1, 1]))  # keys to one side, the lead to the other
    sides = {"keys": side, "lead": -side}
    seconds = round(float(np.exp(rng.uniform(np.log(SHORTEST_ROOM), np.log(LONGEST_ROOM)))), 3)
    room = Room(seconds, round(seconds * rng.uniform(0.3, 0.7), 3), uniform(0, LONGEST_PREDELAY, 4), int(rng.integers(2**31)))
    drum_bus = Bus(uniform(5, 14), uniform(1.3, 2.5), uniform(0.002, 0.02, 4), uniform(40, 160), uniform(16, 22))
    bus = Bus(uniform(0, 6), uniform(1.2, 2.5), uniform(0.005, 0.03, 4), uniform(15, 80), uniform(13, 17.5))
    shared = (
        Filter("low shelf", uniform(80, 250, 0), uniform(-2, 2.5), 0.0),
        Filter("bell", uniform(250, 3000, 0), uniform(-2.5, 2), uniform(0.5, 1.2)),
        Filter("high shelf", uniform(3000, 9000, 0), uniform(-2, 4), 0.0),
    )
    own = {
        stem: (
            Filter("highpass", uniform(*_HIGHPASSES[stem], 0), 0.0, 0.707),
            Filter("bell", uniform(*_BELLS[stem], 0), uniform(-4, 3), uniform(0.5, 1.5)),
        )
        for stem in STEMS
    }
    return Mix(
        room,
        bus,
        drum_bus,
        pans={p: round(sides.get(p, int(rng.choice([-1, 1]))) * uniform(0, _PANS[p], 3), 3) for p in parts},
        widths={p: uniform(*_WIDTHS[p], 3) for p in parts},
        levels={p: round(PART_DB[p] + uniform(-2, 2), 2) for p in parts},
        loudness={s: round(STEM_LUFS[s] + uniform(-2, 2), 2) for s in STEMS},
        sends={s: uniform(*_SENDS[s]) for s in STEMS},
        filters={stem: own[stem] + shared for stem in STEMS},
    )


def mix_stems(waves, mix, rate):
    """Parts {part: wave [2, T]} -> stems {stem: wave [2, T]} float32 for all of STEMS, zeros for one that does not play."""
    stems = {}
    for stem, parts in STEMS.items():
        placed = [_placed(waves[part], mix, part) for part in parts if part in waves]
        dry = sum(placed) if placed else np.zeros_like(next(iter(waves.values())))
        if dry.any():
            if stem == "drums":
                dry = dry * bus_gain(dry, mix.drum_bus, rate)
            dry = finish(dry, mix.room, mix.sends[stem], mix.filters[stem], mix.loudness[stem], rate)
        stems[stem] = dry
    factor = bus_gain(sum(stems.values()), mix.bus, rate)
    return {stem: wave * factor for stem, wave in stems.items()}


def _placed(wave, mix, part):
    """A part at its level and place: width by middle and side, then an equal-power balance."""
    loud = float(np.sqrt(np.mean(np.square(wave[:, ::4]))))
    factor = 0.05 * gain(mix.levels[part]) / loud if loud > 0 else 0.0
    angle = (mix.pans[part] + 1) * np.pi / 4
    left, right = np.sqrt(2) * factor * np.array([np.cos(angle), np.sin(angle)])
    same, other = 0.5 * (1 + mix.widths[part]), 0.5 * (1 - mix.widths[part])
    matrix = np.array([[left * same, left * other], [right * other, right * same]], np.float32)
    return matrix @ wave
