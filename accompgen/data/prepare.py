"""Songs as found -> pairs: separated or summed, cut, filtered, graded, without duplicates, with a report of it all.

DIR/settings.json          what the folder was begun with
DIR/songs/<xx>/<id>-000.vocal.flac, .accompaniment.flac, .json    a piece, mono, and what is known about its music,
                           graded too low or not: which of them the manifest names is decided at the end of each call
DIR/songs/<xx>/<id>.record.json    what became of a song; written last, so that a stopped run goes on after it
DIR/manifest.jsonl, report.json, dropped.jsonl    written at the end, from the records
"""

import json
from collections import Counter
from pathlib import Path

from accompgen import audio
from accompgen.analysis.features import librosa
from accompgen.config import to_dict
from accompgen.data import grading
from accompgen.data.executors import check_executor, run_tasks
from accompgen.data.folder_songs import PassedOver
from accompgen.data.prepare_song import PIECE_TRACKS, Job, finished, song_folder, write_json
from accompgen.data.segments import PrepareConfig
from accompgen.data.songs import SPLITS, Song, write_manifest
from accompgen.data.sources import choose_split, choose_validation, read_sources
from accompgen.data.tracks import Tracks

EXAMPLES = 5  # ids that the report names for each reason


class PrepareError(ValueError):
    """A folder that cannot be prepared into; the message says what to do."""


def prepare(
    source,
    directory,
    config: PrepareConfig = PrepareConfig(),  # noqa: B008, frozen
    *,
    separator: str | None = None,
    device: str = "cpu",
    held_out: float = 0.05,
    validation: int | None = None,
    licence: str = "unknown",
    keep: float = 1.0,
    executor: str = "local",
    workers: int | None = None,
    force: bool = False,
    progress=None,
) -> dict:
    """Prepare the songs of a manifest or folder into `directory`; songs finished by an earlier run are kept.

    Args:
        source: a .jsonl or .csv manifest, or a folder; see data/sources.py.
        separator: the demucs model for mixtures (data/separate.py); needed only where there are some.
        held_out: share of the songs without a split that goes to validation, and the same to test.
        validation: instead of a share, so many songs to validate with and the rest to train on, for a few songs. One song
            without a split always stays to train on.
        licence: of the songs that say none.
        keep: share of the pieces that stay, the best by both grades (data/grading.py). Pieces of songs whose source says
            that they are validation or test are graded, and all of them stay: a chosen test set would flatter. The files
            of what falls stay, so that another share can be asked for by calling again.
        executor, workers: see data/executors.py.
        force: go on in a folder that was begun with other settings; its songs are made anew.
        progress: called as progress(done, total) after every song.

    Returns:
        The report (also DIR/report.json): {"songs", "pieces", "hours", "dropped", "grades", "licences", "speed",
        "passed_over", "settings"}.

    Raises:
        PrepareError: another run's settings, held_out or keep out of range, nothing kept.
        ManifestError, ExecutorError, SeparationError, ImportError: see there. A song that cannot be used, such as a mixture
            without a separator, is no error: it is dropped with its reason.
    """
    directory = Path(directory).absolute()  # workers may run in another folder
    if not 0 <= held_out <= 0.5:
        raise PrepareError(f"held_out is {held_out}; expected 0 to 0.5")
    if validation is not None and validation < 0:
        raise PrepareError(f"validation is {validation}; expected a number of songs, 0 or more")
    if not 0 < keep <= 1:
        raise PrepareError(f"keep is {keep}; expected a share over 0 and up to 1")
    librosa()  # or say what to install, before the work
    check_executor(executor, workers)
    source = Path(source).absolute()
    if directory.is_relative_to(source) or source == directory / "manifest.jsonl":
        raise PrepareError(f"{directory} would mix what is made with what is read; choose a folder outside of {source}")
    passed = PassedOver()
    sources = read_sources(source, passed)
    waiting = _cannot_be_made(sources, separator)
    if len(waiting) == len(sources):
        first = next(iter(waiting.values()))
        raise PrepareError(f"nothing of {source} can be used: {first['reason']}: {first['detail']}")
    if separator and Path(separator).exists():
        separator = str(Path(separator).absolute())
    job = Job(str(directory), config, separator, device)
    _claim_folder(directory, job, force)
    records = {song.id: record for song in sources if (record := waiting.get(song.id) or finished(song, job))}
    tasks = {song.id: (song,) for song in sources if song.id not in records}
    for done, (name, record) in enumerate(run_tasks(job, tasks, executor, workers), 1):
        records[name] = record
        if progress:
            progress(done, len(tasks))
    report = _conclude(directory, sources, records, (held_out, validation), licence, keep)
    report["passed_over"] = {reason: [str(path) for path in paths] for reason, paths in passed.paths.items()}
    report["settings"] = _settings(job) | {"keep": keep}
    write_json(directory / "report.json", report)
    if not report["pieces"]["kept"]:
        reasons = ", ".join(_reason_in_words(*item) for item in report["dropped"].items())
        raise PrepareError(f"nothing of {source} can be used: {reasons}; see {directory / 'dropped.jsonl'}")
    return report


# ---- records and the report --------------------------------------------------------------------------------------------------


def _cannot_be_made(sources, separator):
    """Id -> why, in the form of a record, of songs for which nothing can be done. Nothing is written about them, so that they
    are made when the folder or the separator says more."""
    found = {}
    for song in sources:
        reason, detail = None, ""
        if song.fault:
            reason, detail = "its files cannot be told apart", song.fault
        elif song.tracks.mixture and separator is None:
            reason = "a mixture, and no separator was chosen"
            detail = f"{song.tracks.mixture}; give --separator htdemucs, or a file with weights"
        if reason:
            found[song.id] = {"reason": reason, "detail": detail, "seconds": 0.0, "cpu_seconds": 0.0}
    return found


def _settings(job):
    from accompgen.data.separate import describe

    return {"config": to_dict(job.config), "separator": describe(job.separator) if job.separator else None}


def _claim_folder(directory, job, force):
    """Make the folder and write its settings, or compare them with those it was begun with."""
    path, settings = directory / "settings.json", _settings(job)
    begun = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if begun is not None and begun.get("separator") is None:  # so nothing was separated: the pairs are the same with any
        begun["separator"] = settings["separator"]
    if begun is None and (directory / "manifest.jsonl").exists() and not force:
        raise PrepareError(
            f"{directory} holds a manifest.jsonl of something else; choose another folder, "
            "or --force (force=True) to replace it"
        )
    if begun is not None and begun != settings:
        if not force:
            flat = {**begun.get("config", {}), "separator": begun.get("separator")}
            asked = {**settings["config"], "separator": settings["separator"]}
            other = ", ".join(f"{k} {flat.get(k)!r} (asked now: {v!r})" for k, v in asked.items() if flat.get(k) != v)
            raise PrepareError(
                f"{directory} was begun with {other}; choose another folder, "
                "or --force (force=True) to make its songs anew"
            )
        for record in (directory / "songs").glob("*/*.record.json"):
            record.unlink()
    for rest in (directory / "songs").glob("*/.*"):  # of a run that was killed while it wrote
        rest.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def _conclude(directory, sources, records, dividing, licence, keep):
    """Leave out duplicates and what is graded low, write the manifest and the list of what was dropped -> the report."""
    pieces, dropped = _found(sources, records)
    fallen = _fallen(pieces, keep)
    dropped += fallen.values()
    pieces = {name: found for name, found in pieces.items() if name not in fallen}
    splits = _splits([source for source, _ in pieces.values()], *dividing)
    songs, licences = [], Counter()
    for source, piece in pieces.values():
        songs.append(_song(directory, source, piece, splits[source.id], source.licence or licence))
        licences[source.licence or licence] += piece["seconds"]
    write_manifest(directory / "manifest.jsonl", songs)
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in dropped)
    audio.write_bytes(directory / "dropped.jsonl", lines.encode(errors="backslashreplace"))
    found, cpu = (sum(records[s.id][key] for s in sources) / 3600 for key in ("seconds", "cpu_seconds"))
    hours = {"found": found, "kept": sum(song.seconds for song in songs) / 3600}
    for split in sorted({song.split for song in songs}):
        hours[split] = sum(song.seconds for song in songs if song.split == split) / 3600
    grades = [piece["grades"] for _, piece in pieces.values()] + [item["grades"] for item in fallen.values()]
    return {
        "songs": {"found": len(sources), "kept": len({source.id for source, _ in pieces.values()})},
        "pieces": {"kept": len(songs), "dropped": sum("start" in item for item in dropped)},
        "hours": {name: round(value, 4) for name, value in hours.items()},
        "dropped": _by_reason(dropped),
        "grades": grading.summarise(grades),
        "licences": {name: round(seconds / 3600, 4) for name, seconds in sorted(licences.items())},
        "speed": {"core_hours": round(cpu, 5), "hours_per_core_hour": round(found / cpu, 1) if cpu else None},
    }


def _splits(sources, held_out, validation):
    """Song -> split, of the songs of which something is kept (one may come several times)."""
    kept = {source.id: source for source in sources}
    if validation is None:
        return {name: choose_split(source, held_out) for name, source in kept.items()}
    return choose_validation(list(kept.values()), validation)


def _found(sources, records):
    """({piece: (its source, its record)}, what was dropped by itself or is the same as an earlier song)."""
    pieces, dropped, first = {}, [], {}
    for source in sources:
        record = records[source.id]
        about = {"song": source.id}
        if "reason" in record:
            dropped.append(about | {key: record[key] for key in ("seconds", "reason", "detail")})
            continue
        if record["digest"] in first:
            detail = f"the same sound as {first[record['digest']]}"
            dropped.append(about | {"seconds": record["seconds"], "reason": "duplicate", "detail": detail})
            continue
        first[record["digest"]] = source.id
        dropped += [about | piece for piece in record["dropped"]]
        pieces |= {piece["id"]: (source, piece) for piece in record["pieces"]}
    return pieces, dropped


def _fallen(pieces, keep):
    """Piece -> why it is not among the best; pieces of a split that the source itself names are left alone."""
    graded = {name: piece["grades"] for name, (source, piece) in pieces.items() if source.split in (None, "train")}
    ranks = grading.rank(graded)
    best = grading.choose_best(ranks, keep)
    fallen = {}
    for name in graded:
        if name not in best:
            source, piece = pieces[name]
            worse = max(grading.MEASURES, key=lambda measure: ranks[name][measure])
            detail = ", ".join(f"{m} {graded[name][m]:.2f}, rank {ranks[name][m]} of {len(graded)}" for m in grading.MEASURES)
            fallen[name] = {"song": source.id, "piece": name, "start": piece["start"], "seconds": piece["seconds"]}
            fallen[name] |= {"reason": f"not among the best: {worse}", "detail": detail, "grades": piece["grades"]}
    return fallen


def _song(directory, source, piece, split, licence):
    folder = song_folder(directory, source.id)
    tracks = Tracks({name: folder / f"{piece['id']}.{name}.flac" for name in PIECE_TRACKS})
    meta, separated = folder / f"{piece['id']}.json", source.tracks.mixture is not None
    return Song(piece["id"], split, licence, piece["seconds"], tracks, meta, separated)


def _by_reason(dropped):
    """Reason -> {"count", "seconds", "examples", "details" of songs}, the costliest first."""
    reasons = {}
    for item in dropped:
        entry = reasons.setdefault(item["reason"], {"count": 0, "seconds": 0.0, "examples": [], "details": []})
        entry["count"] += 1
        entry["seconds"] = round(entry["seconds"] + item["seconds"], 2)
        if len(entry["examples"]) < EXAMPLES and item["song"] not in entry["examples"]:
            entry["examples"].append(item["song"])
            if item.get("detail") and "start" not in item:  # of a song, not of a piece
                entry["details"].append(f"{item['song']}: {item['detail']}")
    return dict(sorted(reasons.items(), key=lambda pair: -pair[1]["seconds"]))


def _missing_splits(hours, songs):
    """What to do where nothing is left to train on, or to validate with."""
    purposes = {"train": "train on", "validation": "validate with"}
    missing = {split: purpose for split, purpose in purposes.items() if split not in hours}
    if not missing:
        return []
    there = " and ".join(name for name in SPLITS if name in hours)
    return [
        f"there is nothing to {' or to '.join(missing.values())}: {'the song is' if songs == 1 else f'all {songs} songs are'} "
        f"of the split {there}. Songs that name no split are divided by their ids: give them one in the manifest "
        f'("split": "{next(iter(missing))}"), or put them into folders train and validation, or add songs'
        + (", or hold some out by their number: --validation 1" if songs > 1 else "")
    ]


def _reason_in_words(reason, entry):
    return f"{reason} ({entry['count']}" + (f", such as {entry['details'][0]})" if entry["details"] else ")")


def table(report: dict) -> str:
    """The report as lines for people."""
    songs, pieces, hours = report["songs"], report["pieces"], report["hours"]
    lines = [
        f"songs   {songs['kept']} of {songs['found']} kept",
        f"pieces  {pieces['kept']} kept, {pieces['dropped']} dropped",
        f"hours   {hours['kept']:.3f} of {hours['found']:.3f} kept: "
        + ", ".join(f"{name} {value:.3f}" for name, value in hours.items() if name not in ("kept", "found")),
        "licence " + "; ".join(f"{name}: {value:.3f} h" for name, value in report["licences"].items()),
    ]
    if report["speed"]["hours_per_core_hour"]:
        lines.append(f"speed   {report['speed']['hours_per_core_hour']:.1f} hours of sound per core-hour")
    if report["dropped"]:
        width = max(map(len, report["dropped"]))
        lines.append("dropped " + "why".ljust(width) + "  times  minutes  for example")
        for reason, entry in report["dropped"].items():
            examples = ", ".join(entry["examples"][:2])
            lines.append(f"        {reason.ljust(width)}  {entry['count']:5d}  {entry['seconds'] / 60:7.2f}  {examples}")
            lines += [f"            {detail}" for detail in entry["details"]]
    lines += PassedOver(report["passed_over"]).lines()
    lines += _missing_splits(hours, songs["kept"])
    lines += grading.table(report["grades"])
    if any(reason.startswith("not among the best") for reason in report["dropped"]):
        lines.append("their files stay; another --keep chooses anew, without making them again")
    return "\n".join(lines)
