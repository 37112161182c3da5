"""Who sings: a voice's bank with formants, age, manners, tuning and a recording, drawn per song."""

from dataclasses import dataclass, replace

import numpy as np

from accompgen.data.synthetic import voices
from accompgen.data.synthetic.microphone import Recording, draw_recording

UNSEEN_SHARE = 0.5  # of the validation songs, sung by the voice that training never hears
# How often a singer is ...
_UNSURE = 0.12  # off by some cents on every note and drifting
_MISTUNED = 0.06  # 20 to 50 cents off in the whole song
_LATE = 0.10  # slow to reach the pitch of a note
_DOUBLED = 0.12  # singing twice
_OCTAVES = 0.02  # singing twice, the second take an octave away


@dataclass(frozen=True)
class Singer:
    """A voice and its manners; what has a default is drawn anew for every song by `vary`.

    voice: bank; age: child, adult or old; centre: MIDI pitch the voice is at ease with; warp:
    formants times this (over 1: a shorter vocal tract); breath 0 to 1: share of noise; ring_db:
    singer's formant around 2.9 kHz; tilt_db: per octave around 1 kHz; tremor_cents: of an old voice,
    always there.
    """

    name: str
    voice: str
    age: str
    centre: int
    warp: float
    breath: float
    vibrato_cents: float
    vibrato_hz: float
    ring_db: float
    tilt_db: float
    tremor_cents: float = 0.0
    tremor_hz: float = 5.0
    shimmer_db: float = 0.2  # deviation of the level from frame to frame
    # on the spectrum: cosines of 1, 1.5, 2, ... periods over the mel axis
    colour_db: tuple[float, ...] = ()
    glide: float = 48.0  # rad/s: how fast the pitch reaches a new note
    damping: float = 0.72
    scoop: float = 0.3  # share of the notes begun from below
    scoop_seconds: float = 0.12
    detune_cents: float = 0.0  # of the whole song
    note_cents: float = 6.0  # deviation from note to note
    drift_cents: float = 4.0  # deviation of a slow wandering
    takes: int = 1  # 2: sung twice, mixed to one
    second_cents: float = 0.0  # the second take: detuned by this,
    second_seconds: float = 0.0  # later by this,
    second_db: float = -6.0  # louder by this,
    second_octaves: int = 0  # higher by this
    recording: Recording = Recording()

    @property
    def in_tune(self):
        """Whether the pitch is meant to be the score's, within what good singers do."""
        steady = abs(self.detune_cents) <= 15 and self.note_cents <= 15 and self.drift_cents <= 8
        return steady and self.scoop_seconds <= 0.15 and not self.second_octaves


# Kinds of singer by the timbre of the speaking voice. In a row: name, voice (still open), age,
# centre, warp, breath, vibrato in cents and in Hz, ring, tilt, and the tremor of old voices.
KINDS = {
    "woman": (
        Singer("alto", "", "adult", 64, 1.00, 0.10, 45, 5.6, 2, 0.0),
        Singer("soprano", "", "adult", 68, 1.08, 0.05, 55, 6.0, 5, 1.0),
        Singer("breathy alto", "", "adult", 64, 1.03, 0.40, 30, 5.4, 0, -1.0),
        Singer("low alto", "", "adult", 60, 0.93, 0.12, 40, 5.3, 3, -0.5),
        Singer("countertenor", "", "adult", 58, 0.88, 0.12, 35, 5.4, 3, 0.0),
        Singer("girl", "", "child", 69, 1.20, 0.18, 20, 5.2, 0, 0.0),
        Singer("old woman", "", "old", 60, 0.97, 0.30, 60, 4.7, 1, -1.0, 25),
    ),
    "man": (
        Singer("baritone", "", "adult", 54, 1.00, 0.08, 40, 5.2, 4, 0.0),
        Singer("bass", "", "adult", 50, 0.92, 0.10, 35, 5.0, 3, -1.0),
        Singer("tenor", "", "adult", 57, 1.02, 0.10, 40, 5.4, 3, 0.0),
        Singer("light tenor", "", "adult", 59, 1.08, 0.22, 30, 5.6, 1, 0.5),
        Singer("mezzo", "", "adult", 65, 1.17, 0.20, 40, 5.5, 2, -0.5),
        Singer("contralto", "", "adult", 62, 1.14, 0.12, 38, 5.5, 3, 0.0),
        Singer("old man", "", "old", 53, 0.97, 0.28, 55, 4.6, 2, -1.0, 28),
    ),
    "boy": (
        Singer("treble", "", "child", 69, 1.00, 0.12, 20, 5.4, 1, 0.0),
        Singer("small child", "", "child", 70, 1.10, 0.22, 12, 5.2, 0, 0.0),
        Singer("youth", "", "adult", 60, 0.90, 0.12, 25, 5.4, 2, 0.0),
    ),
}
# Synthetic excitation has no noise of its own above its pulses, which would be heard as a buzz.
_LEAST_BREATH = {"flite": 0.0, "festival": 0.04, "hts": 0.22}


def choose(split, names, rng):
    """Draw a singer for a song.

    Args:
        split: train, validation or test.
        names: of the voices that take part (`voices.settle`).
        rng: numpy generator.

    Returns: a Singer; its voice is `voices.UNSEEN` in half of the validation songs, in no other.
    Raises: ValueError where no voice is left for that split.
    """
    speakers = {}
    for name in names:
        if name != voices.UNSEEN:
            speakers.setdefault(voices.find(name).speaker, []).append(name)
    unseen = split == "validation" and voices.UNSEEN in names and rng.random() < UNSEEN_SHARE
    if not speakers and not unseen:
        raise ValueError(f"no voice for {split} songs among {', '.join(names) or 'none'}")
    own = [voices.UNSEEN] if unseen else list(speakers.values())[rng.integers(len(speakers))]
    voice = voices.find(own[rng.integers(len(own))])
    kinds = KINDS[voice.timbre]
    return vary(singer_of(voice, kinds[rng.integers(len(kinds))]), rng)


def singer_of(voice, kind):
    """The plain singer of a kind (of KINDS) with a `voices.Voice`."""
    least = _LEAST_BREATH["hts" if "hts" in voice.model else voice.engine]
    return replace(kind, voice=voice.name, breath=max(kind.breath, least))


def vary(singer, rng):
    """The same kind of singer: another person on another day, before another microphone."""
    old, child = singer.age == "old", singer.age == "child"
    varied = replace(
        singer,
        warp=singer.warp * float(np.exp(rng.normal(0, 0.03))),
        breath=float(np.clip(singer.breath + rng.normal(0, 0.07), singer.breath / 2, 0.6)),
        vibrato_cents=singer.vibrato_cents * float(rng.uniform(0.2, 1.2)),
        vibrato_hz=singer.vibrato_hz + float(rng.normal(0, 0.25)),
        ring_db=singer.ring_db + float(rng.normal(0, 1.5)),
        tilt_db=singer.tilt_db + float(rng.normal(0, 0.8)),
        tremor_cents=singer.tremor_cents * float(rng.uniform(0.4, 1.3)),
        tremor_hz=float(rng.uniform(4.0, 6.5)),
        shimmer_db=float(rng.uniform(0.4, 1.0) if old else rng.uniform(0.1, 0.3)),
        colour_db=tuple(float(x) for x in rng.normal(0, 1.5, 5)),
        glide=float(rng.uniform(42, 66)),
        damping=float(rng.uniform(0.6, 0.85)),
        scoop=float(rng.uniform(0.05, 0.35)),
        detune_cents=float(np.clip(rng.normal(0, 6), -15, 15)),
        note_cents=float(rng.uniform(8, 15) if child else rng.uniform(4, 8)),
        drift_cents=float(rng.uniform(2, 7)),
        recording=draw_recording(rng),
    )
    return _doubled(_off_pitch(varied, rng), rng)


def _off_pitch(singer, rng):
    """Some singers miss the pitch: from note to note, in the whole song, or in time."""
    if rng.random() < _UNSURE:
        unsure = {
            "note_cents": float(rng.uniform(15, 40)),
            "drift_cents": float(rng.uniform(8, 30)),
        }
        singer = replace(singer, **unsure)
    if rng.random() < _MISTUNED:
        singer = replace(singer, detune_cents=float(rng.uniform(20, 50) * rng.choice([-1, 1])))
    if rng.random() < _LATE:
        late = {
            "scoop": float(rng.uniform(0.4, 0.8)),
            "scoop_seconds": float(rng.uniform(0.16, 0.35)),
        }
        singer = replace(singer, **late)
    return singer


def _doubled(singer, rng):
    """Some songs have two takes of the same singer."""
    draw = rng.random()
    if draw >= _DOUBLED + _OCTAVES:
        return singer
    return replace(
        singer,
        takes=2,
        second_cents=float(rng.normal(0, 8)),
        second_seconds=float(rng.uniform(0.008, 0.035)),
        second_db=float(rng.uniform(-9, -2)),
        second_octaves=int(rng.choice([-1, 1])) if draw < _OCTAVES else 0,
    )
