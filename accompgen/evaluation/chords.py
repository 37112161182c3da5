"""Does a band play its chart? Chords that are recognised in it against those that it was given."""

import json
from pathlib import Path

import numpy as np

from accompgen import files
from accompgen.analysis import labels
from accompgen.evaluation.folders import Report

UNKNOWN = "X"  # of Harte et al.: something that is not compared
# qualities that its table lacks
SIMPLER = {"aug7": "aug", "maj11": "maj7"}
SHORTEST_SECONDS = 1e-3  # what rounding leaves between two chords


def agreement(chart, recognised, seconds: float) -> dict[str, float | None]:
    """Share of the time in which recognised chords are those of a chart, by mir_eval.

    Args:
        chart, recognised: (start, end, label), ...; where the chart has no chord, nothing is compared.
        seconds: length of the sound; what lies behind it is left out.

    Returns:
        root: the same root. majmin: the same root and third, where the chart has a major or minor chord or none (`N`). None
        where nothing can be compared. 0 to 1.
    """
    reference, estimated = covered(chart, seconds), covered(recognised, seconds, labels.NO_CHORD[0])
    if all(label == UNKNOWN for _, _, label in reference):
        return {"root": None, "majmin": None}
    mir_eval = _mir_eval()
    sides = [(np.array([row[:2] for row in side]), [_compared(row[2]) for row in side]) for side in (reference, estimated)]
    spans, first, second = mir_eval.util.merge_labeled_intervals(*sides[0], *sides[1])
    weights = mir_eval.util.intervals_to_durations(spans)
    scores = {}
    for name in ("root", "majmin"):
        compared = getattr(mir_eval.chord, name)(first, second)
        counts = compared >= 0
        scores[name] = float(np.average(compared[counts], weights=weights[counts])) if counts.any() else None
    return scores


def _mir_eval():
    try:
        import mir_eval.chord
        import mir_eval.util
    except ImportError as error:
        raise ImportError(f"the agreement of chords needs mir_eval ({error}): pip install 'accompgen[chords]'") from error
    return mir_eval


def covered(chords, seconds: float, between: str = UNKNOWN) -> list[tuple[float, float, str]]:
    """Chords from 0 to `seconds` without a gap: `between` stands where there is none, and nothing overlaps."""
    rows, now = [], 0.0
    for start, end, label in sorted(chords):
        start, end = max(start, now), min(end, seconds)
        if end - start < SHORTEST_SECONDS:
            continue
        if start - now > SHORTEST_SECONDS:
            rows.append((now, start, between))
        else:
            start = now
        rows.append((start, end, label))
        now = end
    if seconds - now > SHORTEST_SECONDS or not rows:
        rows.append((now, seconds, between))
    else:
        rows[-1] = (rows[-1][0], seconds, rows[-1][2])
    return rows


def _compared(label):
    """A label as mir_eval reads it; roots and thirds, which alone are compared, stay the same."""
    root, colon, quality = label.partition(":")
    shorthand = quality.partition("/")[0].partition("(")[0]
    return f"{root}:{SIMPLER[shorthand]}" if shorthand in SIMPLER else label


def read_chart(folder, name: str, report: Report) -> list[tuple[float, float, str]] | None:
    """The chords that a system says it played: NAME.lab (start, end, label in each line), else `chart.chords` of NAME.json.

    None where neither is there. What cannot be read becomes a problem of the report, with its line.
    """
    lab, meta = (files.in_either_form(Path(folder) / f"{name}{ending}") for ending in (".lab", ".json"))
    try:
        if lab.is_file():
            return _read_lab(lab)
        if meta.is_file():
            chart = json.loads(files.read_text(meta)).get("chart") or {}
            found = [(float(start), float(end), labels.read_chord(label)) for start, end, label in chart.get("chords") or ()]
            return found or None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        report.problem(f"{folder}: the chart of {name} cannot be read ({error}); the song is scored without")
    return None


def _read_lab(path):
    rows = []
    for number, line in enumerate(files.text_lines(files.read_text(path)), 1):
        if not line.strip():
            continue
        try:
            start, end = (float(time) for time in line.split()[:2])
            rows.append((start, end, labels.read_chord(line.split(None, 2)[2])))
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{path.name}, line {number}: {line.strip()!r} is not start, end and chord, as in '0.0 2.1 A:min7'"
            ) from error
    return rows
