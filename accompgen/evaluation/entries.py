"""Which songs and files are scored, and what is odd about them: folders -> entries with their windows, files of each row."""

from dataclasses import dataclass

from accompgen.evaluation import folders, tracks
from accompgen.evaluation.folders import EvaluationError, plan_windows

ROLES = {"vocal": "vocal", "reference": "accompaniment"}  # what the files of a folder are called by


@dataclass(frozen=True)
class Entry:
    """A song that can be scored."""

    name: str
    vocal: tracks.Track
    reference: tracks.Track | None
    plan: folders.Plan
    annotation: dict


def find_entries(vocals, reference, annotations, settings, cache, report):
    """The songs that have a usable vocal, and a reference where there is a folder of them, with their windows.

    Args:
        settings: with window_seconds and windows. Other arguments: see `runner.evaluate`.

    Raises EvaluationError where there are none; what is odd is added to the report.
    """
    places = {"vocal": vocals} | ({"reference": reference} if reference else {})
    found = {what: folders.find_songs(folder, ROLES[what], report) for what, folder in places.items()}
    for what, folder in places.items():
        if not found[what]:
            raise EvaluationError(f"{folders.why_none(folder, ROLES[what])}; nothing can be scored")
    entries = []
    there = found.get("reference", found["vocal"])
    for name in folders.match(found["vocal"], there, reference, "reference", report):
        opened = {what: tracks.open_track(files[name], cache, report) for what, files in found.items()}
        if None in opened.values():
            continue
        for what, track in opened.items():
            if track.silent:
                report.problem_of(name, f"the {what} is silent")
        vocal, true = opened["vocal"], opened.get("reference")
        if true and abs(vocal.seconds - true.seconds) > folders.LENGTH_TOLERANCE_SECONDS:
            lengths = f"{vocal.seconds:.2f} and {true.seconds:.2f} s"
            report.problem_of(name, "vocal and reference differ in length; the shorter is scored", lengths)
        plan = plan_windows(min(t.seconds for t in opened.values()), settings.window_seconds, settings.windows)
        if plan.seconds < settings.window_seconds:
            text = f"shorter than a window of {settings.window_seconds:g} s"
            report.problem_of(name, text, f"{plan.seconds:.2f} s")
        elif settings.windows and plan.count < settings.windows:
            report.problem_of(name, f"fewer windows fit than the {settings.windows} asked for", str(plan.count))
        annotation = folders.read_annotation(annotations, name, report) if annotations else {}
        entries.append(Entry(name, vocal, true, plan, annotation))
    if not entries:
        raise EvaluationError(
            f"no song has {' and '.join(f'a {what} in {folder}' for what, folder in places.items())}: "
            + "; ".join(report.problems[:3])
        )
    if annotations:
        folders.without_annotation(annotations, [entry.name for entry in entries], report)
    _check_rates("vocals", [entry.vocal for entry in entries], report)
    if reference:
        _check_rates("reference", [entry.reference for entry in entries], report)
    return entries


def _check_rates(what, found, report):
    rates = sorted({track.rate for track in found})
    if len(rates) > 1:
        report.problem(f"{what}: sample rates {', '.join(map(str, rates))} Hz in one folder; bandwidth alone moves FAD and KAD")


def row_files(row, folder, entries, cache, report):
    """Song name -> track of a row's folder; what is odd about them is added to the report."""
    found = folders.find_songs(folder, "accompaniment", report)
    if not found:
        why = folders.why_none(folder, "accompaniment")
        report.problem(f"{row}: {why}; the row stays empty")
        return {}
    names = folders.match([entry.name for entry in entries], found, folder, f"file of {row}", report)
    files = {name: track for name in names if (track := tracks.open_track(found[name], cache, report))}
    _check_rates(row, files.values(), report)
    if files and all(track.silent for track in files.values()):
        report.note(f"{row}: every file of this row is silent")
    lengths = {entry.name: entry.plan.seconds * entry.plan.count for entry in entries}
    for entry in entries:
        track = files.get(entry.name)
        if track is None:
            continue
        if track.silent and not all(other.silent for other in files.values()):
            report.problem_of(entry.name, f"the file of {row} is silent")
        if track.seconds < lengths[entry.name] - folders.LENGTH_TOLERANCE_SECONDS:
            report.problem_of(
                entry.name,
                f"the file of {row} is too short; the rest is silence",
                f"{track.seconds:.2f} of {lengths[entry.name]:.2f} s",
            )
        elif abs(track.seconds - entry.vocal.seconds) > folders.LENGTH_TOLERANCE_SECONDS:
            seconds = f"{track.seconds:.2f} and {entry.vocal.seconds:.2f} s"
            report.problem_of(entry.name, f"the file of {row} is not as long as the vocal", seconds)
        if entry.reference and track.rate != entry.reference.rate:
            report.note(f"{row}: {track.rate} Hz, reference {entry.reference.rate} Hz; bandwidth alone moves FAD and KAD")
    return files
