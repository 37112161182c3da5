"""What a song knows of itself: the music's part of its JSON, from which captions can be made. Pure."""

import numpy as np

from accompgen.data.synthetic.band import INSTRUMENTS, STEMS


def describe(score, arrangement, waves, rate):
    """The music of a song as values for JSON.

    Args:
        score: as it is sung, in the key it is sung in.
        arrangement: what the band plays.
        waves: {"accompaniment" and each of STEMS: [C, T]}, to hear which stems sound and how loud each passage is.
        rate: of the waves, Hz.
    Returns: key, bpm, metre; beats [[seconds, place in the bar (1: downbeat)]]; chords [[start, end, label]]; notes
        [[start, end, MIDI pitch, velocity]]; sections [[start, end, label]], empty where the source knows none; style,
        bass_line, comping; programs and instruments by part; stems, those that sound; passages, what the band makes of
        sections or phrases: start, end, label, parts that play, level and swell as intended and loudness as heard, in dB
        against the whole song's.
    """
    return {
        "key": score.key, "bpm": round(score.bpm, 3), "metre": score.metre,
        "style": arrangement.style, "bass_line": arrangement.bass_line, "comping": arrangement.comping,
        "programs": arrangement.programs,
        "instruments": {part: INSTRUMENTS[part][program] for part, program in arrangement.programs.items()},
        "stems": [stem for stem in STEMS if waves[stem].any()],
        "sections": [[round(s.start, 4), round(s.end, 4), s.label] for s in score.sections],
        "passages": [_passage(p, arrangement, waves["accompaniment"], rate) for p in arrangement.passages],
        "beats": [[round(b.time, 4), b.position] for b in score.beats],
        "chords": [[round(c.start, 4), round(c.end, 4), c.label] for c in score.chords],
        "notes": [[round(n.start, 4), round(n.end, 4), n.pitch, n.velocity] for n in score.melody],
    }  # fmt: skip


def _passage(passage, arrangement, wave, rate):
    heard = wave[:, round(passage.start * rate) : round(passage.end * rate)]
    power, whole = np.mean(np.square(heard)), np.mean(np.square(wave))
    loudness = round(float(10 * np.log10(power / whole)), 2) if power > 0 else None
    playing = [
        part for part, notes in arrangement.events.items()
        if any(note.start < passage.end and note.end > passage.start for note in notes)
    ]  # fmt: skip
    return {
        "start": round(passage.start, 4), "end": round(passage.end, 4), "label": passage.label, "parts": playing,
        "level": passage.level, "swell": passage.swell, "loudness": loudness,
    }  # fmt: skip
