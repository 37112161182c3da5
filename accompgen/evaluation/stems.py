"""Faults that an ear hears in each stem and each mix that lies beside an accompaniment."""

from accompgen import audio
from accompgen.analysis import artefacts
from accompgen.evaluation import cache as caches
from accompgen.evaluation import folders, tracks


def score(systems: dict, reference, entries, cache, report, progress: bool) -> dict:
    """Artefacts of the stems of all rows.

    Args:
        systems: row -> folder with NAME.drums.wav and the like.
        reference: folder whose stems' crest factors the others' are compared with, or None.

    Returns: row -> stem -> song -> figures, as `artefacts.measure` has them; `crest_excess_db` over the true stem's crest
    factor (of a mix: that of vocal and true accompaniment added up), None without one.
    """
    true = folders.find_stems(reference) if reference else {}
    by_name = {entry.name: entry for entry in entries}
    found = {row: folders.find_stems(folder) for row, folder in systems.items()}
    work = [
        (row, stem, name, path)
        for row, parts in found.items()
        for stem, paths in parts.items()
        for name, path in paths.items()
        if name in by_name
    ]
    scores: dict[str, dict[str, dict[str, dict]]] = {}
    for row, stem, name, path in folders.bar(work, progress, "stems"):
        track = tracks.open_track(path, cache, report)
        if track is None:
            continue
        measured = dict(tracks.artefacts_of(track, cache))
        crest = _true_crest(stem, by_name[name], true.get(stem, {}).get(name), cache, report)
        here = measured["crest_db"]
        measured["crest_excess_db"] = None if None in (crest, here) else here - crest
        measured["flagged"] = float(bool(artefacts.flags(measured)))
        scores.setdefault(row, {}).setdefault(stem, {})[name] = measured
    return scores


def _true_crest(stem, entry, path, cache, report):
    if path:
        track = tracks.open_track(path, cache, report)
        return track and tracks.artefacts_of(track, cache)["crest_db"]
    if stem != "mix" or entry.reference is None:
        return None
    return cache.values(caches.key("crest of a mix", entry.vocal.digest, entry.reference.digest), lambda: _mixed_crest(entry))


def _mixed_crest(entry):
    """The crest factor of vocal and true accompaniment as loud as their files are."""
    (vocal, rate), (band, other) = audio.read(entry.vocal.path), audio.read(entry.reference.path)
    band = audio.fit(audio.resample(band, other, rate), vocal.shape[1])
    channels = max(len(vocal), len(band))
    return artefacts.crest_factor(audio.spread(vocal, channels) + audio.spread(band, channels))
