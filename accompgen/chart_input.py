"""What a person says of a song's music -> a request, and a request laid over what was found in the
voice.

Given beats replace found ones; given chords replace found ones where they are given, and the found
ones stay elsewhere.
"""

import os
from dataclasses import dataclass, replace

from accompgen.analysis.labels import LabelError, read_chord, read_key
from accompgen.beat_fit import filled, placed, steady_near
from accompgen.chart import FASTEST_BPM, SLOWEST_BPM, Chart, ChartError
from accompgen.export.beats import LONGEST_BAR, GivenBeats, read_beats
from accompgen.export.grid import MOST_COUNT_IN
from accompgen.export.lab import is_lab, parse_lab
from accompgen.export.sheet import Sheet
from accompgen.export.sheet_reader import parse_sheet
from accompgen.export.text import read_chart_text

BEYOND_SECONDS = 2.0  # given beats may end so much later than the song


@dataclass(frozen=True)
class ChartRequest:
    """What is asked for; `read_request` makes it.

    Attributes:
        bpm: one tempo for the whole song.
        beats: beats or taps, instead of a tempo.
        sheet: chords by bars.
        timed: chords by seconds, (start, end, label) each, instead of a sheet; `name` is that of
            their file.
        key: such as `A:min`.
        metre: beats of a bar.
        count_in: bars of clicks before the song, in MIDI and click alone.
    """

    bpm: float | None = None
    beats: GivenBeats | None = None
    sheet: Sheet | None = None
    timed: tuple[tuple[float, float, str], ...] = ()
    name: str = ""
    key: str | None = None
    metre: int | None = None
    count_in: int = 0

    def with_beats(self, found: Chart) -> Chart:
        """A found chart with the beats that are given, and its own where none are.

        A tempo alone is laid where the found beats are, taps get the bars that were found. Raises
        ChartError for beats that lie outside the song.
        """
        begins = [time for time, place in found.beats if place == 1]
        metre = self.metre or found.metre
        if self.bpm is not None:
            return replace(found, beats=steady_near(found, self.bpm, metre).beats)
        if self.beats is not None:
            times, places, name = self.beats
            if times[-1] > found.seconds + BEYOND_SECONDS or times[1] >= found.seconds:
                raise ChartError(
                    f"{name}: beats from {times[0]:g} to {times[-1]:g} s, "
                    f"and the song ends at {found.seconds:.2f} s"
                )
            given = (
                tuple(zip(times, places))
                if places
                else placed(filled(times), metre, begins or self._changes())
            )
            found = replace(found, beats=tuple(beat for beat in given if beat[0] < found.seconds))
            begins = [time for time, place in found.beats if place == 1]
        if self.metre and found.beats and self.metre != found.metre:
            return replace(
                found, beats=placed([time for time, _ in found.beats], self.metre, begins)
            )
        return found

    def chords_on(self, chart: Chart) -> tuple[tuple[float, float, str], ...]:
        """(start, end, label) of the chords that are given, on the beats of a chart; none where
        none are.

        Raises ChartError for bars that do not fit the song's, for chords outside of it, and for a
        sheet without beats.
        """
        if self.sheet is not None:
            chords = self.sheet.chords(chart)
        else:
            late = next((start for start, _, _ in self.timed if start >= chart.seconds), None)
            if late is not None:
                raise ChartError(
                    f"{self.name}: a chord begins at {late:g} s, "
                    f"and the song ends at {chart.seconds:.2f} s"
                )
            chords = tuple(
                (start, min(end, chart.seconds), label) for start, end, label in self.timed
            )
        return tuple(chord for chord in chords if chord[2] != "X")

    def over(self, found: Chart) -> Chart:
        """A found chart with all that is given; errors as `with_beats` and `chords_on`."""
        chart = self.with_beats(found)
        chords = overlaid(chart.chords, self.chords_on(chart))
        return replace(chart, chords=chords, key=self.key or found.key)

    def _changes(self):
        """When the chords of a .lab file begin: most do so with a bar."""
        return [start for start, _, _ in self.timed]


def overlaid(below, above) -> tuple[tuple[float, float, str], ...]:
    """Chords `above`, and where there are none those `below`, cut off where the others begin and
    end."""
    pieces = list(above)
    for start, end, label in below:
        for cover_start, cover_end, _ in above:
            if cover_start < end and start < cover_end:
                if start < cover_start:
                    pieces.append((start, cover_start, label))
                start = cover_end
            if start >= end:
                break
        if start < end:
            pieces.append((start, end, label))
    return tuple(sorted(pieces))


def read_request(
    bpm=None, beats=None, chords=None, key=None, metre=None, count_in=0
) -> ChartRequest:
    """What is given, read and checked.

    Args:
        bpm: 30 to 300 beats a minute.
        beats: a file of beats or taps, as export/beats.py reads it.
        chords: a file, .lab or chord sheet, or the text of a sheet such as `| Am | F | C | G |`,
            which goes on from its beginning until the song ends.
        key: such as `C:maj` or `A minor`; over that of a sheet, as bpm, beats and metre are.
        metre: beats of a bar.
        count_in: bars, 0 to 16.

    Raises ChartError, which names option, or file and line, for anything out of range or that
    cannot be read.
    """
    if bpm is not None and not SLOWEST_BPM <= bpm <= FASTEST_BPM:
        raise ChartError(
            f"--bpm {bpm:g}: expected {SLOWEST_BPM:g} to {FASTEST_BPM:g} beats a minute"
        )
    if bpm is not None and beats is not None:
        raise ChartError("--bpm and --beats both say where the beats are; give one of the two")
    if metre is not None and not 1 <= metre <= LONGEST_BAR:
        raise ChartError(f"--metre {metre}: expected 1 to {LONGEST_BAR} beats a bar")
    if not 0 <= count_in <= MOST_COUNT_IN:
        raise ChartError(f"--count-in {count_in}: expected 0 to {MOST_COUNT_IN} bars")
    try:
        key = None if key is None else read_key(key)
    except LabelError as error:
        raise ChartError(f"--key: {error}") from error
    given = None if beats is None else read_beats(beats)
    sheet, timed = _read_chords(chords) if chords is not None else (None, ())
    if sheet is not None:
        key, metre = key or sheet.key, metre or sheet.metre
        bpm = sheet.bpm if bpm is None and given is None else bpm
    return ChartRequest(bpm, given, sheet, timed, str(chords or ""), key, metre, count_in)


def _read_chords(chords):
    """(sheet, timed chords) of a file or a text, one of them without anything."""
    if "|" not in str(chords) and os.path.exists(chords):
        text = read_chart_text(chords)
        return (
            (None, parse_lab(text, str(chords)))
            if is_lab(text)
            else (parse_sheet(text, str(chords)), ())
        )
    if "|" not in str(chords) and not _all_chords(str(chords)):
        raise ChartError(
            f"--chords {chords}: no such file; "
            "expected a file, or chords such as '| Am | F | C | G |'"
        )
    return parse_sheet(str(chords), "--chords", repeat=True), ()


def _all_chords(text):
    try:
        return bool([read_chord(chord) for chord in text.split()])
    except LabelError:
        return False
