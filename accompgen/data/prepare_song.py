"""One song as found -> its pieces as files, and a record of what became of it."""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.data.grading import grade_musical, grade_technical
from accompgen.data.piece_meta import MetaError, describe_piece, hear_song, read_said
from accompgen.data.segments import PrepareConfig, choose, clipped_share
from accompgen.data.sources import Source
from accompgen.data.tracks import ACCOMPANIMENT, NO_STEMS
from accompgen.files import replacing
from accompgen.stages import VOICE
from accompgen.time import seconds_of

RECORD_FORMAT = 2  # records of another one are made anew: the first had no grades
PIECE_TRACKS = (VOICE, ACCOMPANIMENT)
UNREADABLE = "cannot be read as sound"


class Unusable(ValueError):
    """A song that is dropped as a whole: a reason of few words, and details."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Job:
    """What every song of a folder is made with."""

    directory: str
    config: PrepareConfig
    separator: str | None
    device: str

    def load(self):
        return _Separators(self)

    def work(self, separators, source: Source) -> dict:
        return prepare_song(source, self, separators)


class _Separators:
    """The separation model, loaded when the first mixture comes: pairs need none."""

    def __init__(self, job):
        self.job, self.model = job, None

    def split(self, wav, rate):
        if self.model is None:
            from accompgen.data.separate import load_separator

            self.model = load_separator(self.job.separator, self.job.device)
        return (*self.model.split(wav, rate), self.model.rate)


def prepare_song(source: Source, job: Job, separators) -> dict:
    """Write the pieces of one song and its record, and return the record; a song that cannot be used has a reason in it."""
    start, folder = time.process_time(), song_folder(job.directory, source.id)
    folder.mkdir(parents=True, exist_ok=True)
    record = {"id": source.id, "format": RECORD_FORMAT, "stamp": _stamp(source), "seconds": 0.0, "digest": None}
    record |= {"pieces": [], "dropped": []}
    try:
        said, parts = read_said(source), _parts(source, job.config, record)
        waves = _waves(source, parts, job.config, separators)
        pieces = choose(*waves, job.config)
        if any(piece.reason is None for piece in pieces):
            music = hear_song(said, *waves, job.config.sample_rate, _stems(source, parts))
        for piece in pieces:
            if piece.reason:
                place = round(seconds_of(piece.first), 2)
                record["dropped"].append({"start": place, "seconds": piece.seconds, "reason": piece.reason})
            else:
                _write_piece(piece, source, waves, parts, music, job, folder, record)
    except MetaError as error:
        record |= {"reason": "its meta file cannot be used", "detail": str(error), "pieces": [], "dropped": []}
    except Unusable as error:  # a place that cannot be written stops the run
        record |= {"reason": error.reason, "detail": error.detail, "pieces": [], "dropped": []}
    record["cpu_seconds"] = round(time.process_time() - start, 3)
    write_json(_record_path(job, source.id), record)
    return record


def _write_piece(piece, source, waves, parts, music, job, folder, record):
    """Cut, grade and write a piece that stays: vocal, accompaniment and meta."""
    start, rate = seconds_of(piece.first), job.config.sample_rate
    name = f"{source.id}-{len(record['pieces']):03d}"
    cuts = [_cut(wav, rate, start, piece.seconds) for wav in waves]
    for part, wav in zip(PIECE_TRACKS, cuts):
        audio.write(folder / f"{name}.{part}.flac", wav[None], rate, "PCM_16")
    originals = [_cut(wav, own, start, piece.seconds) for wav, own in parts]
    heard = (track.between(start, start + piece.seconds) for track in (music.voice, music.band))
    grades = grade_technical(*cuts, rate, originals) | grade_musical(*heard)
    about = {"song": source.id, "start": round(start, 2), "seconds": piece.seconds, "lufs": list(piece.lufs)}
    write_json(folder / f"{name}.json", describe_piece(start, piece.seconds, music, about | {"grades": grades}))
    record["pieces"].append({"id": name, "start": round(start, 2), "seconds": piece.seconds, "grades": grades})


def _cut(wav, rate, start, seconds):
    return wav[..., round(start * rate) : round((start + seconds) * rate)]


def _parts(source, config, record):
    """The files of a song, [C, T] each and its rate; its length and digest go into the record."""
    if len(source.files) == 1 and not source.tracks.mixture:
        raise Unusable("a vocal without accompaniment", str(source.tracks.vocal))
    parts = [_read(path) for path in source.files]
    record["seconds"] = round(min(wav.shape[1] / rate for wav, rate in parts), 3)
    _check_parts(source, parts, config)
    record["digest"] = _digest(parts)
    return parts


def _waves(source, parts, config, separators):
    """Voice and accompaniment [T] at the config's rate, mono, not clipping."""
    if source.tracks.mixture:
        voice, rest, rate = separators.split(*parts[0])
        waves = [_mono(voice, rate, config), _mono(rest, rate, config)]
    else:
        waves = [_mono(wav, rate, config) for wav, rate in parts]
    samples = min(map(len, waves))
    voice, band = waves[0][:samples], sum(wav[:samples] for wav in waves[1:])
    loudest = max(audio.peak(voice), audio.peak(band))
    scale = np.float32(min(1.0, audio.PEAK_LIMIT / max(loudest, 1e-9)))  # one for both: the balance stays
    return voice * scale, band * scale


def _stems(source, parts):
    """The stems that were summed: mono waves and their rates."""
    read = dict(zip(source.files, parts))
    found = {name: read[path] for name, path in source.tracks.stems.items() if path in read}
    return {name: (audio.downmix(wav), rate) for name, (wav, rate) in found.items()}


def _read(path):
    if not os.path.exists(path):  # unlike Path.exists, it raises for no name, be it as long as it may
        raise Unusable("a file is missing", str(path))
    try:
        return audio.read(path)
    except audio.AudioError as error:
        raise Unusable(UNREADABLE, str(error)) from error


def _digest(parts):
    """Of the decoded sound in 16 bits, so that the same in another container, number of channels or bit depth is found."""
    digest = hashlib.sha256()
    for wav, _ in parts:
        digest.update(np.clip(np.round(audio.to_mono(wav) * 32768), -32768, 32767).astype(np.int16).tobytes())
    return digest.hexdigest()


def _mono(wav, rate, config):
    return audio.resample(audio.downmix(wav), rate, config.sample_rate)


def _check_parts(source, parts, config):
    seconds = [wav.shape[1] / rate for wav, rate in parts]
    if max(seconds) - min(seconds) > config.length_tolerance_seconds:
        lengths = ", ".join(f"{path.name} {length:.2f} s" for path, length in zip(source.files, seconds))
        raise Unusable("the files of the pair differ in length", lengths)
    if min(seconds) < config.min_seconds:
        raise Unusable("song too short", f"{min(seconds):.2f} s")
    if max(seconds) > 60 * config.max_minutes:
        raise Unusable("song too long", f"{max(seconds) / 60:.1f} minutes")
    worst = max(_clipped(path, wav) for path, (wav, _) in zip(source.files, parts))
    if worst > config.max_clipped_share:
        raise Unusable("clipped", f"{100 * worst:.2f} % of the samples are at full scale")


def _clipped(path, wav):
    """Share of clipped samples. A float file that goes beyond full scale was not stopped there."""
    return 0.0 if audio.peak(wav) > 1 and audio.is_float(path) else clipped_share(wav)


def song_folder(directory, name: str) -> Path:
    """Where the pieces of a song lie: one of 256 folders, so that none holds a million files."""
    return Path(directory) / "songs" / hashlib.sha256(name.encode()).hexdigest()[:2]


def _record_path(job, name):
    return song_folder(job.directory, name) / f"{name}.record.json"


def _stamp(source):
    """Tells whether a song changed since its record was written: what was said about it, and its files' sizes and times."""
    values = asdict(replace(source, split=None, licence=None))  # these two are settled at the end
    del values["fault"], values["tracks"]  # no song with a fault comes here
    # as records have them from before tracks had names
    values |= {name: source.tracks.get(name) for name in NO_STEMS}
    values["stems"] = [] if ACCOMPANIMENT in source.tracks else [*source.tracks.stems.values()]
    files = [path for path in (*source.files, source.meta) if path is not None]
    stats = [(path.stat().st_size, path.stat().st_mtime_ns) if os.path.exists(path) else None for path in files]
    return hashlib.sha256(json.dumps([values, stats], default=str, sort_keys=True).encode()).hexdigest()


def finished(source, job):
    """The record of a song that an earlier run finished, if it is still about the same files and its pieces are there.

    What could not be read is tried again: another version may read it.
    """
    path = _record_path(job, source.id)
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("format") != RECORD_FORMAT or record.get("reason") == UNREADABLE:
        return None
    pieces = (path.with_name(f"{piece['id']}.json") for piece in record["pieces"])
    return record if record["stamp"] == _stamp(source) and all(piece.exists() for piece in pieces) else None


def write_json(path, values):
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    with replacing(path) as file:
        # a name that is no UTF-8 stands there as an escape of JSON, which reads as the same name
        file.write(text.encode(errors="backslashreplace"))
