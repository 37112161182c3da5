"""Does a long song hold? The measures of each of its minutes, so that decay and drift show."""

import numpy as np

from accompgen import audio
from accompgen.evaluation import band, listen, measures, sanity

LONG_SECONDS = 120.0  # shorter songs are not divided
SHORTEST_SECONDS = 30.0  # of a last minute
FROM_WINDOWS = ("beat_f1", "chord_tone_share", "chroma_vocal", "chroma_reference")


def count(seconds: float) -> int:
    """Minutes of a song, at least 1: a last one of 30 s or more counts, a shorter rest is left out."""
    return max(1, int((seconds + 60 - SHORTEST_SECONDS) // 60))


def of_sound(mono, seconds: float) -> list[dict]:
    """Loudness, silence, held notes, flatness and the band of each minute of the first `seconds` of sound [T] at 24 kHz."""
    rows = []
    for minute in range(count(seconds)):
        piece = mono[minute * 60 * listen.RATE : round(min((minute + 1) * 60, seconds) * listen.RATE)]
        loudness = audio.loudness(piece, listen.RATE)
        level = {"loudness_lufs": loudness if np.isfinite(loudness) else None}
        rows.append(level | sanity.texture(piece) | band.presence(piece))
    return rows


def of_windows(windows: list[dict], plan) -> list[dict]:
    """The means of FROM_WINDOWS over the windows that begin in each minute."""
    rows = []
    for minute in range(count(plan.seconds * plan.count)):
        here = [row for i, row in enumerate(windows) if int(i * plan.seconds // 60) == minute]
        rows.append({name: measures.mean([row[name] for row in here]) for name in FROM_WINDOWS})
    return rows


def means(songs: list[list[dict]]) -> list[dict]:
    """The mean of each measure over the songs that have that minute, and `songs`, their number."""
    rows = []
    for minute in range(max(map(len, songs), default=0)):
        there = [song[minute] for song in songs if len(song) > minute]
        rows.append({name: measures.mean([row[name] for row in there]) for name in there[0]} | {"songs": len(there)})
    return rows
