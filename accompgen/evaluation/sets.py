"""The measures that take a whole row at once: which sounds are embedded, and what is compared with what.

FAD, FAD-infinity and KAD hear the accompaniments as they lie in their files; `fad_mix` and APA hear mixes at equal loudness.
"""

import numpy as np

from accompgen.evaluation import distances, folders, tracks
from accompgen.evaluation.cache import Embeddings
from accompgen.evaluation.folders import EvaluationError, plan_windows

SET_METRICS = ("fad", "fad_infinity", "kad", "fad_mix", "apa")


def add_distances(rows, songs, files, entries, background, settings, embedder, cache, report, progress):
    """FAD, FAD-infinity, KAD on accompaniments; FAD and APA on mixes; per-song FAD."""
    by_name = {entry.name: entry for entry in entries}

    def embed(found, what):
        paths = {}
        for name, track in folders.bar(found.items(), progress, what):
            paths[name] = tracks.embedded(track, by_name[name].plan, embedder, cache)
        return Embeddings(paths)

    references = {entry.name: entry.reference for entry in entries}
    goal = None
    if background:
        goal = _background(background, settings, embedder, cache, report, progress)
    elif None not in references.values():
        goal = embed(references, "reference")
    common = {
        "embedding": embedder.name, "reference_set": str(background) if background else "reference",
        "window_seconds": settings.window_seconds, "sample_rate": embedder.rate, "seed": settings.seed,
    }  # fmt: skip
    shuffled = shuffle(sorted(references), settings.seed)
    true, false = {}, {}
    if "apa" in settings.metrics:
        if not shuffled:
            report.problem("apa: songs of at least two recordings are needed to shuffle them; it is left out")
        for name, entry in folders.bar(by_name.items(), progress, "mixes"):
            true[name] = tracks.embedded_mix(entry.vocal, entry.reference, entry.plan, embedder, cache)
            if shuffled:
                other = references[shuffled[name]]
                false[name] = tracks.embedded_mix(entry.vocal, other, entry.plan, embedder, cache, again=True)
    work = []  # row, metric, function, its sets
    for row, found in files.items():
        if not found:
            continue
        own = embed(found, row)
        asked = {}
        if "fad" in settings.metrics:
            asked |= {"fad": (distances.fad, own, goal), "fad_infinity": (distances.fad_infinity, own, goal)}
            for name, value in distances.song_fad(own, goal).items():
                songs[row][name]["song_fad"] = value
        if "kad" in settings.metrics:
            asked["kad"] = (distances.kad, own, goal)
        if "apa" in settings.metrics:
            mixes = Embeddings({
                name: tracks.embedded_mix(by_name[name].vocal, track, by_name[name].plan, embedder, cache)
                for name, track in folders.bar(found.items(), progress, f"{row} mixes")
            })  # fmt: skip
            asked["fad_mix"] = (distances.fad, mixes, Embeddings(true))
            if shuffled:
                asked["apa"] = (distances.apa, mixes, Embeddings(true), Embeddings(false))
        work += [(row, metric, *parts) for metric, parts in asked.items()]
    # every distance is worked out a hundred times over redrawn songs, which takes longer than all else once that is cached
    for row, metric, function, *sets in folders.bar(work, progress, "distances", "distance"):
        rows[row][metric] = common | _measured(function, sets, settings.seed, f"{row}: {metric}", report)


def _measured(function, sets, seed, where, report):
    try:
        result = function(*sets, seed=seed)
    except ValueError as error:
        report.problem(f"{where}: {error}")
        return {"value": None, "low": None, "high": None, "n": 0, "songs": len(sets[0])}
    if "warning" in result:
        report.note(f"{where.rsplit(' ', 1)[-1]}: {result['warning']}")
    return result


def _background(folder, settings, embedder, cache, report, progress):
    found = {}
    songs = folders.find_songs(folder, "accompaniment", report)
    for name, path in folders.bar(songs.items(), progress, "background"):
        track = tracks.open_track(path, cache, report)
        if track:
            plan = plan_windows(track.seconds, settings.window_seconds, settings.windows)
            found[name] = tracks.embedded(track, plan, embedder, cache)
    if not found:
        unread = f"{folder}: none of its {len(songs)} sound files can be read"
        why = unread if songs else folders.why_none(folder, "accompaniment")
        raise EvaluationError(f"{why}; a background set needs at least one song")
    return Embeddings(found)


def shuffle(names: list[str], seed: int) -> dict[str, str]:
    """Another recording's song for each song: recordings in a random order, each gets its neighbour's. {} for one recording."""
    recordings = sorted({name.split("@")[0] for name in names})
    if len(recordings) < 2:
        return {}
    order = [recordings[i] for i in np.random.default_rng([seed, len(recordings)]).permutation(len(recordings))]
    neighbour = {recording: order[(i + 1) % len(order)] for i, recording in enumerate(order)}
    clips = {recording: [name for name in names if name.split("@")[0] == recording] for recording in recordings}
    result = {}
    for recording in recordings:
        others = clips[neighbour[recording]]
        result |= {name: others[i % len(others)] for i, name in enumerate(clips[recording])}
    return result
