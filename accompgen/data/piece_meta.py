"""What is known of a piece's music: what the song's own files say, what is heard in it, its grades and captions."""

import json
from dataclasses import asdict, dataclass

import numpy as np

from accompgen.analysis.features import Features, beats, hear, pitch_classes
from accompgen.analysis.keys import find_key
from accompgen.analysis.labels import LabelError, read_chord, read_key
from accompgen.analysis.sections import Section, describe_sections, find_sections
from accompgen.data.facts import sections_of
from accompgen.data.piece_captions import caption, section_captions
from accompgen.data.segments import block_levels
from accompgen.files import read_text
from accompgen.time import BLOCKS_PER_SECOND

SAID = ("bpm", "key", "metre", "style", "instruments")
MIN_SECTION_SECONDS = 0.5  # of a section within a piece: less is the slack of a boundary
SILENT_DBFS = -90.0  # of a stem's loud blocks: it never plays
PLAYING_DB = -30.0  # a stem below its loud blocks by more does not play
MIN_BEATS = 8  # to tell a tempo by


class MetaError(ValueError):
    """A meta file that cannot be used; the message says why."""


@dataclass(frozen=True)
class SongMusic:
    """What a whole song says and what is heard in it.

    said: its meta file, the manifest's own values over it. voice, band: their features. estimated: bpm and key as heard,
    where they are not said. sections: of the whole song. stem_levels: dBFS of each block of 40 ms, by the stem's name.
    """

    said: dict
    voice: Features
    band: Features
    estimated: dict
    sections: list[Section]
    stem_levels: dict[str, np.ndarray]


def read_said(source) -> dict:
    """What the manifest says of a song (bpm, key, tags), and its meta file over it; `sections` as dicts, keys and chords in
    the spelling of analysis/labels.py.

    Raises MetaError for a file that is no JSON object, whose beats, chords, notes or sections have no times, or whose key,
    chords or tempo cannot be read.
    """
    said = {name: getattr(source, name) for name in ("bpm", "key") if getattr(source, name) is not None}
    said |= {"tags": list(source.tags)} if source.tags else {}
    if source.meta is None:
        return _in_one_spelling(said)
    try:
        known = json.loads(read_text(source.meta))
        if not isinstance(known, dict):
            raise ValueError("expected an object in braces")
        return _in_one_spelling(said | known)
    except LabelError as error:
        raise MetaError(f"{source.meta}: {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise MetaError(f"{source.meta}: {type(error).__name__}: {error}") from error


def _in_one_spelling(said):
    """What is said, with numbers for times and tempo, and one spelling of keys and chords."""
    said = {name: value for name, value in said.items() if value is not None}
    for name, times in (("beats", 1), ("chords", 2), ("notes", 2)):
        said[name] = [[*map(float, event[:times]), *event[times:]] for event in said.get(name) or ()]
    for chord in said["chords"]:
        chord[2:3] = map(read_chord, chord[2:3])
    sections = sections_of(said)
    said["sections"] = [part | {"start": float(part["start"]), "end": float(part["end"])} for part in sections]
    if said.get("bpm"):
        said["bpm"] = float(said["bpm"])
        if not 0 < said["bpm"] < 1000:
            raise ValueError(f"bpm is {said['bpm']:g}; expected a number of beats a minute such as 120")
    if said.get("key"):
        said["key"] = read_key(said["key"])
    if not isinstance(said.get("tags", []), list):
        raise ValueError(f'tags is {said["tags"]!r}; expected a list of texts such as ["pop"]')
    caption(said)  # or what it is made of cannot be read
    return said


def hear_song(said: dict, voice: np.ndarray, band: np.ndarray, rate: int, stems: dict) -> SongMusic:
    """Listen to a whole song.

    Args:
        said: by `read_said`; its beats and sections are believed, the others are found.
        voice, band: [T] at `rate` Hz. stems: name -> (wave [T], rate).
    """
    heard = hear(voice, rate), hear(band, rate)
    known = said.get("beats") or ()
    times = np.array([beat[0] for beat in known]) if known else beats(heard[1])
    if said.get("sections"):
        spans = [(part["start"], part["end"], str(part.get("label") or "section")) for part in said["sections"]]
        sections = describe_sections(*heard, spans)
    else:
        bars = [beat[0] for beat in known if len(beat) > 1 and beat[1] == 1]
        sections = find_sections(*heard, times, bars)
    estimated = {}
    if not said.get("bpm") and len(times) >= MIN_BEATS:
        estimated["bpm"] = round(float(60 / np.median(np.diff(times))), 1)
    key = None if said.get("key") else find_key(pitch_classes(heard[1]))
    estimated |= {"key": key} if key else {}
    return SongMusic(said, *heard, estimated, sections, {name: block_levels(*stem) for name, stem in stems.items()})


def describe_piece(start: float, seconds: float, music: SongMusic, more: dict) -> dict:
    """The meta of a piece of a song, from `start` seconds on: `more`, events moved and cut, sections, captions."""
    end = start + seconds
    said, moved = music.said, {}
    moved["beats"] = [[round(time - start, 4), *rest] for time, *rest in said.get("beats") or () if start <= time < end]
    for kind in ("chords", "notes"):  # [from, to, ...]
        events = [event for event in said.get(kind) or () if event[1] > start and event[0] < end]
        moved[kind] = [[round(max(a, start) - start, 4), round(min(b, end) - start, 4), *rest] for a, b, *rest in events]
    values = more | {field: said[field] for field in (*SAID, "tags") if said.get(field)}
    playing = _playing(music.stem_levels, start, end)
    if playing and "instruments" not in values:
        values["instruments"] = playing
    if music.estimated:
        values["estimated"] = music.estimated
    values |= {kind: events for kind, events in moved.items() if events}
    values["sections"] = _sections(music, start, end)
    values["caption"] = caption(values)
    return values | {"section_captions": section_captions(values)}


def _sections(music, start, end):
    """The song's sections that fall into a span, in seconds from its start; `number` counts them in the song."""
    found = []
    for number, section in enumerate(music.sections, 1):
        first, last = max(section.start, start), min(section.end, end)
        if last - first < min(MIN_SECTION_SECONDS, end - start):
            continue
        values = asdict(section) | {"start": round(first - start, 3), "end": round(last - start, 3), "number": number}
        playing = _playing(music.stem_levels, first, last)
        values |= {"instruments": playing} if playing else {}
        found.append({field: value for field, value in values.items() if value is not None})
    return found


def _playing(stem_levels, start, end):
    """The stems that sound between two times in seconds."""
    names = []
    first, last = round(start * BLOCKS_PER_SECOND), round(end * BLOCKS_PER_SECOND)
    for name, levels in stem_levels.items():
        part, loud = levels[first:last], np.percentile(levels, 95)
        if len(part) and loud > SILENT_DBFS and np.percentile(part, 75) > loud + PLAYING_DB:
            names.append(name)
    return names
