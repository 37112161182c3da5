"""The sections of a song: where they begin, which are the same, what they are called, how loud and full they are.

What is heard decides the names. Nobody sings: intro before the first voice, outro after the last, instrumental between.
Sung sections with the same harmony are one letter. The letter that comes back and is the loudest by 1 dB at least is the
chorus; the other letters are verses if they come back or come first, else bridges. Without a louder letter there is no
chorus.
"""

from dataclasses import dataclass

import numpy as np

from accompgen.analysis.boundaries import Grid, embedded, find_boundaries, on_grid
from accompgen.analysis.features import RHYTHM_SECONDS, SUNG_DB, Features

LABELS = ("intro", "verse", "chorus", "bridge", "instrumental", "outro")
MIN_SUNG_SHARE = 0.2  # of a section, for it to be sung
UNSURE_CORNER = 0.25  # of a boundary: below, only a repetition begins there (boundaries.py)
LOUDER_DB = 1.0  # the chorus stands out by this much
# two sections are the same below this distance
SAME = 0.3
TIMBRE_WEIGHT, LEVEL_DB = 0.25, 12.0
FARTHEST_SHIFT = 8  # steps by which two boundaries may be off
MIN_OVERLAP = 0.7  # of the shorter section
ACTIVE = 0.3  # of a mel band's loud magnitude: -10 dB
SILENT_DB = -30.0  # below the song's band: it does not play


@dataclass(frozen=True)
class Section:
    """A section of a song, in seconds from its start.

    label: one of LABELS, or what the song's own annotation says. letter: sections with the same letter repeat each other,
    None where that is not known. loudness: dB of voice and band beside the mean of the song. fullness: share of the
    band's frequency bands, 0 to 1, in which it is as loud as anywhere in the song, within 10 dB; 0: it does not play.
    sung: share of the time with voice.
    """

    start: float
    end: float
    label: str
    letter: str | None
    loudness: float
    fullness: float
    sung: float


def find_sections(voice: Features, band: Features, beats=(), downbeats=()) -> list[Section]:
    """The sections of a whole song, in order, without gaps; a short or even song is one section.

    Args:
        voice, band: its two tracks of the same length. beats, downbeats: their times in seconds; the grid on which the
            song is compared with itself, and where sections may begin. Without beats, steps of half a second.
    """
    grid = on_grid(voice, band, beats)
    corners = find_boundaries(grid, downbeats)
    edges = [0, *corners, len(grid.chroma)]
    spans, measured, with_voice = _measure_all(voice, band, grid, edges)
    letters = _letters(_repetitions(grid, edges), with_voice)
    # A form of a few bars that goes round begins again all the time: no section begins there.
    same = [k for k, edge in enumerate(corners, 1) if letters[k - 1] == letters[k] and corners[edge] < UNSURE_CORNER]
    if same:
        edges = [edge for k, edge in enumerate(edges) if k not in same]
        letters = [letter for k, letter in enumerate(letters) if k not in same]
        spans, measured, with_voice = _measure_all(voice, band, grid, edges)
    labels = _name(letters, with_voice, [part[0] for part in measured])
    return [Section(*span, label, letter, *part) for span, label, letter, part in zip(spans, labels, letters, measured)]


def describe_sections(voice: Features, band: Features, known) -> list[Section]:
    """Sections that are known, (start, end, label) each, with what is heard in them."""
    return [Section(start, end, label, None, *_measure(voice, band, start, end)) for start, end, label in known]


def _measure_all(voice, band, grid, edges):
    """The spans in seconds between steps of the grid, the figures of each, and whether it has a voice."""
    spans = [(float(grid.times[first]), float(grid.times[last])) for first, last in zip(edges, edges[1:])]
    measured = [_measure(voice, band, start, end) for start, end in spans]
    return spans, measured, [part[2] >= MIN_SUNG_SHARE for part in measured]


def _measure(voice, band, start, end):
    """(loudness, fullness, sung) of a span of seconds."""
    part = slice(round(start / RHYTHM_SECONDS), max(round(end / RHYTHM_SECONDS), round(start / RHYTHM_SECONDS) + 1))
    power = sum(track.rms**2 * 10 ** (track.level / 10) for track in (voice, band))
    whole, here = float(power.mean()), float(power[part].mean()) if len(power[part]) else 0.0
    loudness = 10 * float(np.log10(max(here, 1e-9 * whole, 1e-12) / max(whole, 1e-12)))
    # the inverse of the logarithm that the features take
    magnitude = np.expm1(band.mel)
    loud = np.percentile(magnitude, 90, axis=0)
    plays = 10 * np.log10(np.mean(10 ** (band.level[part] / 10))) > SILENT_DB if len(band.level[part]) else False
    fullness = float((magnitude[part].mean(axis=0) > ACTIVE * loud).mean()) if plays else 0.0
    sung = float((voice.level[part] > SUNG_DB).mean()) if len(voice.level[part]) else 0.0
    return round(loudness, 2), round(fullness, 3), round(sung, 3)


def _repetitions(grid: Grid, edges) -> np.ndarray:
    """Distances [S, S] of any two sections: of their harmony in order, of their mean timbre and their level."""
    chords, count = embedded(grid.chroma), len(edges) - 1
    same = chords @ chords.T
    spread = np.maximum(grid.timbre[:, 1:].std(axis=0), 1e-3)  # without the level, which is the first coefficient
    spans = [slice(first, last) for first, last in zip(edges, edges[1:])]
    timbres = np.array([grid.timbre[span, 1:].mean(axis=0) / spread for span in spans])
    levels = np.array([grid.level[span].mean() for span in spans])
    distance = np.zeros((count, count))
    for one in range(count):
        for other in range(one + 1, count):
            harmony = 1 - _aligned(same[spans[one], spans[other]])
            timbre = np.sqrt(np.square(timbres[one] - timbres[other]).mean())
            level = abs(levels[one] - levels[other]) / LEVEL_DB
            distance[one, other] = distance[other, one] = harmony + TIMBRE_WEIGHT * timbre + level
    return distance


def _aligned(same):
    """The mean similarity of two sections [a, b] at the shift where it is largest."""
    shorter, longer = min(same.shape), max(same.shape)
    same = same if same.shape[1] == longer else same.T
    best = -1.0
    for shift in range(-FARTHEST_SHIFT, longer - shorter + FARTHEST_SHIFT + 1):
        together = np.diagonal(same, shift)
        if len(together) >= MIN_OVERLAP * shorter:
            best = max(best, float(together.mean()))
    return best


def _letters(distance, sung):
    """A letter for each section, in order of appearance; sung and unsung ones never share one."""
    letters: dict[int, str] = {}
    groups = np.arange(len(sung))
    for kind in (True, False):
        members = np.flatnonzero(np.array(sung) == kind)
        if len(members) > 1:
            from scipy.cluster.hierarchy import fcluster, linkage

            close = distance[np.ix_(members, members)]
            tree = linkage(close[np.triu_indices(len(members), 1)], "average")
            groups[members] = fcluster(tree, SAME, "distance") + (1 + kind) * len(sung)
    for group in groups:
        letters.setdefault(int(group), chr(ord("A") + min(len(letters), 25)))
    return [letters[int(group)] for group in groups]


def _name(letters, sung, loudness):
    """A label for each section, from its letter, whether it is sung, and how loud it is in dB."""
    places = np.flatnonzero(sung)
    if not len(places):
        return ["instrumental"] * len(letters)
    first, last = places[0], places[-1]
    level = {}
    for letter in dict.fromkeys(letters[place] for place in places):
        level[letter] = float(np.mean([loudness[place] for place in places if letters[place] == letter]))
    returning = {letter for letter in level if letters.count(letter) > 1}
    chorus = max(sorted(returning), key=level.get, default=None)
    others = [value for letter, value in level.items() if letter != chorus]
    if not others or chorus is None or level[chorus] < max(others) + LOUDER_DB:
        chorus = None
    labels = []
    for place, letter in enumerate(letters):
        if not sung[place]:
            labels.append("intro" if place < first else "outro" if place > last else "instrumental")
        elif letter == chorus:
            labels.append("chorus")
        else:
            labels.append("verse" if letter in returning or place == first else "bridge")
    return labels
