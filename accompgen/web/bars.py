"""The chart as the page shows it, a row of bars with their chords, and what people write there as a chart again."""

import re
from dataclasses import replace

from accompgen.analysis.labels import LabelError, chord_symbol, read_key
from accompgen.chart import FASTEST_BPM, SLOWEST_BPM, Chart, ChartError, chord_at
from accompgen.chart_input import ChartRequest
from accompgen.export.sheet_reader import parse_sheet

HELD, UNKNOWN, SILENT = ".", "?", "N"
SHEET = "the chords"  # what errors call it
SAME_BPM = 0.05  # a tempo as near as that to the one shown was not changed


def shown(chart: Chart) -> dict:
    """What the page shows of a chart: tempo, beats of a bar, key, and start, end and chords of each bar."""
    return {
        "bpm": round(chart.bpm, 1),
        "metre": chart.metre,
        "key": "" if chart.key is None else chord_symbol(chart.key) if chart.key[-4:] in (":maj", ":min") else chart.key,
        "bars": [
            {"number": bar.number, "start": bar.times[0], "end": bar.times[-1], "text": _text(chart, bar.times)}
            for bar in chart.bars()
        ],
    }


def _text(chart, times):
    """The chords of a bar, one sign for each of its equal parts: `Am`, `Am F` or `Am . . G`."""
    signs = []
    for start, end in zip(times, times[1:]):
        index = chord_at(chart.chords, (start + end) / 2)
        signs.append(UNKNOWN if index is None else chord_symbol(chart.chords[index][2]))
    half = len(signs) // 2
    if len(set(signs)) == 1:
        return signs[0]
    if len(signs) % 2 == 0 and len(set(signs[:half])) == len(set(signs[half:])) == 1:
        return f"{signs[0]} {signs[-1]}"
    return " ".join(HELD if index and sign == signs[index - 1] else sign for index, sign in enumerate(signs))


def edited(chart: Chart, texts: list[str] | None, bpm: float | None, key: str | None) -> Chart | ChartRequest:
    """A chart with what people wrote over it; None of a thing leaves it as it is.

    Args:
        texts: the chords of each bar that `shown` showed; an empty one goes on with the chord before it.
        bpm: one tempo for the whole song. Chords stay where they sound.
        key: such as `Am` or `C major`; none where it is empty.

    Raises ChartError, which names the bar, for what cannot be read.
    """
    chords = chart.chords if texts is None else _chords(chart, texts)
    key = chart.key if key is None else read_given_key(key)
    if bpm is None or abs(bpm - round(chart.bpm, 1)) < SAME_BPM:
        return replace(chart, chords=chords, key=key)
    check_bpm(bpm)
    return ChartRequest(bpm=bpm, timed=chords, name="your chords", key=key, metre=chart.metre)


def check_bpm(bpm: float) -> None:
    """Raise ChartError for a tempo out of range."""
    if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
        raise ChartError(f"A tempo of {bpm:g}? It can be {SLOWEST_BPM:g} to {FASTEST_BPM:g} beats a minute.")


def read_bpm(text) -> float | None:
    """A tempo as people write it, such as `96` or `92,5`; None where there is none. Raises ChartError."""
    text = str(text or "").strip()
    try:
        return float(text.replace(",", ".")) if text else None
    except ValueError as error:
        raise ChartError(f"The tempo {text!r} is no number. Write beats a minute, such as 96.") from error


def read_given_key(text: str) -> str | None:
    """A key as people write it. Raises ChartError."""
    try:
        return read_key(text) if text.strip() else None
    except LabelError as error:
        raise ChartError(f"The key {text!r} is unknown. Write it like C, F#m or A minor.") from error


def _chords(chart, texts):
    """Chords on the bars of a chart, equal neighbours joined."""
    bars = chart.bars()
    if len(texts) != len(bars):
        raise ChartError(f"{len(texts)} bars were given, and the song has {len(bars)}; load the page again")
    before = len(bars[0].times) - 1 if bars[0].number == 0 else 0
    for bar, text in zip(bars, texts):
        if "|" in text or ":" in text and not _is_label(text):
            raise ChartError(f"Bar {bar.number}: {text!r} is no chord. Write chords like Am or F C.")
    cells = [text.strip() or (HELD if index else SILENT) for index, text in enumerate(texts)]
    head = f"pickup: {before}\n" if before else ""
    try:
        sheet = parse_sheet(f"{head}| {' | '.join(cells)} |", SHEET)
    except ChartError as error:  # the page has bars, and no lines
        raise ChartError(re.sub(f"^{SHEET}, line [0-9]+, bar", "Bar", str(error))) from error
    joined = []
    for start, end, label in sheet.chords(chart):
        if joined and joined[-1][2] == label and abs(joined[-1][1] - start) < 1e-6:
            joined[-1] = (joined[-1][0], end, label)
        else:
            joined.append((start, end, label))
    return tuple(joined)


def _is_label(text):
    """Whether every sign with a colon is a chord as Harte et al. spell it."""
    return all(sign[:1].isalpha() for sign in text.split())
