"""A song as a DAWproject, the open format that Bitwig Studio, Studio One and Cubase open: a zip with project.xml,
metadata.xml and sounds. No package writes it, so this does, by its published schema (version 1.0).

Places of the arrangement are beats, quarter notes here, by the same tempo map as the MIDI file has; sounds are laid there
in seconds, and never stretched.
"""

import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from xml.etree import ElementTree

import numpy as np

from accompgen.export.grid import TICKS, Grid, grid_of
from accompgen.export.midi import CHORD_VELOCITY, marks, tempo_changes, voicing

COLOURS = ("#e0679a", "#7c5fd3", "#2f9e8f", "#d58a2b", "#4a82d4")  # of tracks, as on the page
SLOWEST, FASTEST = 1, 1000  # beats a minute that the file may ask for
PLAIN_BPM = 120  # of a song without a chart


@dataclass(frozen=True)
class SoundTrack:
    """A track of the project: its name, the file of its sound as `path` in or beside the project, channels, rate in Hz."""

    name: str
    path: str
    channels: int
    rate: int


def write_dawproject(
    file, name: str, seconds: float, tracks: list[SoundTrack], chart=None, count_in: int = 0, sections=(), sounds=None,
    version="",
) -> None:  # fmt: skip
    """Write a .dawproject into an open file.

    Args:
        seconds: of the song, and of each sound.
        chart: its tempo map, signatures, markers and a track of chords; None: 120 beats a minute, no markers of bars.
        count_in: bars before the song, as `grid_of` has them.
        sections: (seconds, name) of each, as markers.
        sounds: path -> function that writes a track's file into an open one; they come into the project. None: they lie
            beside it.
        version: of this program.

    Raises ChartError with fewer than two beats or a count-in out of range.
    """
    project = _Project(seconds, None if chart is None else grid_of(chart, count_in))
    root = ElementTree.Element("Project", version="1.0")
    _add(root, "Application", name="accompgen", version=version or "unknown")
    project.add_transport(root)
    notes = [] if chart is None else list(_chords(chart))
    lanes = project.add_tracks(root, tracks, notes, sounds is None)
    project.add_arrangement(root, lanes, sections)
    about = ElementTree.Element("MetaData")
    _add(about, "Title").text = _xml_text(name)
    with zipfile.ZipFile(file, "w") as archive:
        for path, element in (("project.xml", root), ("metadata.xml", about)):
            archive.writestr(path, _document(element), zipfile.ZIP_DEFLATED)
        for path, write in (sounds or {}).items():
            # a sound's head is written last, which a zip cannot go back for
            with tempfile.TemporaryFile() as sound:
                write(sound)
                info = zipfile.ZipInfo(path, time.localtime()[:6])
                # known before, so that a zip below 2 GiB stays of the old kind, which every program reads
                info.file_size = sound.seek(0, os.SEEK_END)
                sound.seek(0)
                with archive.open(info, "w") as entry:
                    shutil.copyfileobj(sound, entry)


class _Project:
    """The parts of project.xml, with one count of ids; grid: of the chart, or None."""

    def __init__(self, seconds: float, grid: Grid | None):
        self.seconds, self.grid = seconds, grid
        self._ids = count()

    def _id(self):
        return f"id{next(self._ids)}"

    def beats(self, seconds: float) -> float:
        """Where a time of the song lies, in beats from the beginning of the arrangement."""
        if self.grid is None:
            return seconds * PLAIN_BPM / 60
        times, ticks = self.grid.edges
        if seconds > times[-1]:  # as fast as the last beat
            return float((ticks[-1] + (seconds - times[-1]) * (ticks[-1] - ticks[-2]) / (times[-1] - times[-2])) / TICKS)
        return float(np.interp(seconds, times, ticks) / TICKS)

    def tempi(self) -> list[tuple[float, float]]:
        """(beat, beats a minute) of each change of tempo."""
        if self.grid is None:
            return [(0.0, PLAIN_BPM)]
        times, ticks = self.grid.edges
        changes = tempo_changes((times + self.grid.offset) * 1e6, np.diff(ticks) / TICKS)
        return [(ticks[index] / TICKS, 6e7 / micros) for index, micros in changes]

    def signatures(self) -> list[tuple[float, int, int]]:
        """(beat, numerator, denominator) of each change of signature."""
        bars = [] if self.grid is None else self.grid.bars
        found = [(bar.tick / TICKS, bar.numerator, bar.denominator) for bar in bars] or [(0.0, 4, 4)]
        return [one for one, before in zip(found, [None, *found]) if before is None or one[1:] != before[1:]]

    def add_transport(self, root) -> None:
        """Tempo and signature at the beginning; their changes refer to these."""
        self.tempo, self.signature = self._id(), self._id()
        transport = _add(root, "Transport")
        limits = {"min": _number(SLOWEST), "max": _number(FASTEST)}
        _add(transport, "Tempo", **limits, unit="bpm", value=_number(self.tempi()[0][1]), id=self.tempo, name="Tempo")
        _, numerator, denominator = self.signatures()[0]
        _add(transport, "TimeSignature", denominator=denominator, numerator=numerator, id=self.signature)

    def add_tracks(self, root, tracks, notes, external: bool) -> list:
        """The structure: a track for each sound, one of chords, the master. Returns what the arrangement has on them."""
        structure, master, lanes = _add(root, "Structure"), self._id(), []
        for number, track in enumerate(tracks):
            own = self._track(structure, track.name, "audio", COLOURS[number % len(COLOURS)], track.channels, master)
            lanes.append((own, self._sound(track, external)))
        if notes:
            own = self._track(structure, "chords", "notes", COLOURS[-1], 2, master)
            lanes.append((own, self._notes(notes)))
        self._track(structure, "Master", "audio notes", None, 2, None, master)
        return lanes

    def _track(self, structure, name, content, colour, channels, destination, channel_id=None):
        found = self._id()
        about = {"color": colour} if colour else {}
        track = _add(structure, "Track", contentType=content, loaded="true", id=found, name=name, **about)
        role = {"role": "regular", "destination": destination} if destination else {"role": "master"}
        channel = _add(track, "Channel", audioChannels=channels, solo="false", id=channel_id or self._id(), **role)
        _add(channel, "Mute", value="false", id=self._id(), name="Mute")
        _add(channel, "Pan", min="0", max="1", unit="normalized", value="0.5", id=self._id(), name="Pan")
        _add(channel, "Volume", min="0", max="2", unit="linear", value="1", id=self._id(), name="Volume")
        return found

    def _clips(self, name, start, end, **more):
        clips = ElementTree.Element("Clips", id=self._id())
        return clips, _add(clips, "Clip", time=_number(start), duration=_number(end - start), name=name, **more)

    def _sound(self, track, external):
        start, end = self.beats(0.0), self.beats(self.seconds)
        clips, clip = self._clips(track.name, start, end, contentTimeUnit="seconds", playStart="0")
        sound = _add(clip, "Audio", timeUnit="seconds", duration=_number(self.seconds), algorithm="raw",
                     channels=track.channels, sampleRate=track.rate, id=self._id())  # fmt: skip
        _add(sound, "File", path=track.path, **({"external": "true"} if external else {}))
        return clips

    def _notes(self, notes):
        start = self.beats(0.0)
        clips, clip = self._clips("chords", start, self.beats(self.seconds), playStart="0")
        element = _add(clip, "Notes", id=self._id())
        for begin, end, keys in notes:
            place, length = self.beats(begin) - start, self.beats(end) - self.beats(begin)
            for key in keys:
                _add(element, "Note", time=_number(place), duration=_number(length), channel=0, key=key,
                     vel=_number(CHORD_VELOCITY / 127))  # fmt: skip
        return clips

    def add_arrangement(self, root, lanes, sections) -> None:
        """The clips of each track, markers, tempo map, signatures: in the order of the schema."""
        arrangement = _add(root, "Arrangement", id=self._id())
        whole = _add(arrangement, "Lanes", timeUnit="beats", id=self._id())
        for track, clips in lanes:
            _add(whole, "Lanes", track=track, id=self._id()).append(clips)
        found = [(self.beats(start), text) for start, text in sections]
        if self.grid is not None:
            found += [(tick / TICKS, text) for tick, text in marks(self.grid)]
        if found:
            markers = _add(arrangement, "Markers", timeUnit="beats", id=self._id())
            for beat, text in sorted(found, key=lambda mark: mark[0]):
                _add(markers, "Marker", time=_number(beat), name=text)
        tempo = _add(arrangement, "TempoAutomation", timeUnit="beats", unit="bpm", id=self._id())
        _add(tempo, "Target", parameter=self.tempo)
        for beat, bpm in self.tempi():
            _add(tempo, "RealPoint", time=_number(beat), value=_number(bpm), interpolation="hold")
        signature = _add(arrangement, "TimeSignatureAutomation", timeUnit="beats", id=self._id())
        _add(signature, "Target", parameter=self.signature)
        for beat, numerator, denominator in self.signatures():
            _add(signature, "TimeSignaturePoint", time=_number(beat), numerator=numerator, denominator=denominator)


def _chords(chart) -> Iterator[tuple[float, float, list[int]]]:
    for start, end, label in chart.chords:
        if end > start and (keys := voicing(label)):
            yield start, end, keys


def _add(parent, kind, **attributes):
    return ElementTree.SubElement(parent, kind, {key: _xml_text(str(value)) for key, value in attributes.items()})


def _number(value) -> str:
    return f"{float(value):.9f}".rstrip("0").rstrip(".")


def _xml_text(text: str) -> str:
    """The text without what XML cannot hold."""
    kept = (letter for letter in text if letter >= " " or letter in "\t\n")
    return "".join(kept).encode("utf-8", "replace").decode("utf-8")


def _document(element) -> bytes:
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="utf-8", xml_declaration=True)
