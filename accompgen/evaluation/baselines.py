"""The rows that keep a table honest, as folders that `evaluate` scores like any system's.

truth: the references themselves. codec: their round trip through the acoustic tokenizer, the ceiling of what codes can
say. shuffled: another song's reference. retrieval: of a pool, the accompaniment nearest in key and tempo to the vocal.
random: any of the pool. silence. click: a click on each beat, which a beat score alone would love. noise: white, as
loud as the reference.
"""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.analysis import beats
from accompgen.analysis.keys import find_key
from accompgen.evaluation import folders, harmony, listen, sets
from accompgen.evaluation.folders import EvaluationError, Report

ROWS = ("truth", "codec", "shuffled", "retrieval", "random", "silence", "click", "noise")
DRAWN = ("shuffled", "random", "noise")  # by the seed
CLICK_SECONDS, CLICK_HZ = 0.02, 1000.0


def write_baselines(
    vocals, reference, out, *, rows=ROWS, checkpoint="pocket", annotations=None, pool=None, pool_annotations=None,
    seed: int = 0, device: str = "cpu", force: bool = False, progress: bool = True,
) -> tuple[dict[str, Path], list[str]]:  # fmt: skip
    """Write out/<row>/<name>.wav for every row and every song that has a vocal and a reference.

    Files that are there are kept, so that an interrupted call goes on. out/baselines.json says what each shuffled and
    retrieved file was made of, and by which seed or checkpoint a row was.

    Args:
        rows: some of ROWS. checkpoint: name or directory whose codec makes the codec row; an EnCodec file
        or directory serves, too. annotations: folder of NAME.json; its beats, key and tempo serve the click and
        retrieval rows, else they are heard. pool: folder of accompaniments to retrieve from; the default is
        `reference`, its own recording left out. pool_annotations: the same for the pool. force: make all files anew.

    Returns:
        row -> folder, and the problems met, a line each.

    Raises:
        EvaluationError: no song, an unknown row, or a row whose files were made by another seed or checkpoint, or of other
            songs. CheckpointError: no such checkpoint.
    """
    unknown = sorted(set(rows) - set(ROWS))
    if unknown:
        raise EvaluationError(f"there is no baseline {unknown[0]!r}; expected some of {', '.join(ROWS)}")
    report, out = Report(), Path(out)
    sung = folders.find_songs(vocals, "vocal", report)
    true = {name: path.absolute() for name, path in folders.find_songs(reference, "accompaniment", report).items()}
    for folder, role, found in ((vocals, "vocal", sung), (reference, "accompaniment", true)):
        if not found:
            raise EvaluationError(f"{folders.why_none(folder, role)}; nothing can be made")
    names = folders.match(sung, true, reference, "reference", report)
    if not names:
        raise EvaluationError(f"no song has both a vocal in {vocals} and a reference in {reference}")
    sources = _sources(names, rows, sung, true, annotations, pool, pool_annotations, seed, report, progress)
    codec = _load_codec(checkpoint, device) if "codec" in rows else None
    about = _about(out, rows, seed, checkpoint, sources, force)
    for row in rows:
        (out / row).mkdir(parents=True, exist_ok=True)
    audio.write_bytes(out / "baselines.json", (json.dumps(about, indent=1) + "\n").encode())
    for name in folders.bar(names, progress, "baselines"):
        sounds = folders.read(sung[name], report), folders.read(true[name], report)
        if None in sounds:
            continue
        for row in rows:
            path = out / row / (f"{name}{true[name].suffix}" if row == "truth" else f"{name}.wav")
            if path.exists() and not force:
                continue
            if row == "truth":
                shutil.copyfile(true[name], path)
                continue
            source = sources.get(row, {}).get(name)
            wav, rate = _sound(row, name, *sounds, source, annotations, codec, seed, report)
            if wav is not None:
                audio.write(path, wav / max(1.0, audio.peak(wav) / audio.PEAK_LIMIT), rate, "PCM_16")
    return {row: out / row for row in rows}, report.problems


def _about(out, rows, seed, checkpoint, sources, force) -> dict:
    """What baselines.json says: `sources` and `settings` by row, those of earlier calls' rows among them.

    Raises EvaluationError where a row has files that were made otherwise, unless they are all made anew.
    """
    try:
        before = json.loads((out / "baselines.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    settings = {row: {"seed": seed} for row in DRAWN if row in rows}
    settings |= {"codec": {"checkpoint": str(checkpoint)}} if "codec" in rows else {}
    about = {"settings": settings, "sources": sources}
    for what, asked in about.items():
        known = before.get(what, {})
        for row in asked.keys() & known.keys():
            if known[row] != asked[row] and not force and (out / row).is_dir() and any((out / row).iterdir()):
                difference = "of other songs"
                if what == "settings":
                    difference = ", ".join(
                        f"with {name} {known[row].get(name)}, not {value}"
                        for name, value in asked[row].items()
                    )
                raise EvaluationError(
                    f"{out / row} was made {difference}; use --force (force=True) to make it anew, or another folder"
                )
        about[what] = known | asked
    return about


def _sound(row, name, vocal, true, source, annotations, codec, seed, report):
    """(wav [C, T], rate) of one file; the vocal's length, the reference's rate (the codec's own for codec)."""
    (sung, sung_rate), (wav, rate) = vocal, true
    samples = round(sung.shape[1] * rate / sung_rate)
    if row == "codec":
        return _round_trip(wav, rate, codec)
    if row == "silence":
        return np.zeros((1, samples), np.float32), rate
    if row == "noise":
        noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).normal(size=(1, samples)).astype(np.float32)
        return noise * _rms(wav), rate
    if row == "click":
        known = folders.read_annotation(annotations, name, report) if annotations else {}
        times = known.get("beats") or listen.beats(audio.resample(audio.to_mono(wav), rate, listen.RATE))
        return click_track(times, samples, rate)[None], rate
    found = folders.read(source, report)
    if found is None:
        return None, None
    return _fit(found[0], round(sung.shape[1] * found[1] / sung_rate)), found[1]


def _rms(wav):
    return np.float32(np.sqrt(np.mean(np.square(wav, dtype=np.float64))))


def _fit(wav, samples):
    """Cut to `samples`; what is shorter begins again."""
    return np.tile(wav, -(-samples // wav.shape[1]))[:, :samples]


def click_track(times, samples: int, rate: int) -> np.ndarray:
    """Short bursts of 1 kHz at the times in seconds: [T]."""
    wav = np.zeros(samples, np.float32)
    size = round(CLICK_SECONDS * rate)
    burst = (0.5 * np.sin(2 * np.pi * CLICK_HZ * np.arange(size) / rate) * np.hanning(size)).astype(np.float32)
    for time in times:
        start = round(time * rate)
        if 0 <= start < samples:
            wav[start : start + size] += burst[: samples - start]
    return wav


def _load_codec(checkpoint, device):
    from accompgen.device import choose_device
    from accompgen.tokens.load import load_codec

    return load_codec(checkpoint, choose_device(device))


def _round_trip(wav, rate, codec):
    """Through codes and back: [C, T] -> sound as the decoder gives it, and its rate."""
    import torch

    from accompgen.tokens.decoder import round_trip

    tokenizer, decoder = codec
    mono = audio.resample(audio.to_mono(wav), rate, tokenizer.sample_rate)
    return round_trip(torch.from_numpy(mono), tokenizer, decoder).float().cpu().numpy(), decoder.sample_rate


def _sources(names, rows, sung, true, annotations, pool, pool_annotations, seed, report, progress):
    """For each row that takes another song's sound: name -> path of that sound."""
    sources = {}
    if "shuffled" in rows:
        pairs = sets.shuffle(names, seed)
        if not pairs:
            raise EvaluationError("one recording cannot be shuffled; give songs of at least two, or leave the row out")
        sources["shuffled"] = {name: str(true[other]) for name, other in pairs.items()}
    if not {"retrieval", "random"} & set(rows):
        return sources
    there = {name: true[name] for name in names}
    if pool:
        there = {name: path.absolute() for name, path in folders.find_songs(pool, "accompaniment", report).items()}
    allowed = {name: sorted(n for n in there if n.split("@")[0] != name.split("@")[0]) for name in names}
    if not all(allowed.values()):
        raise EvaluationError(f"{pool or 'the reference folder'} has no other recording to retrieve; give a larger pool")
    if "random" in rows:
        sources["random"] = {
            name: str(there[np.random.default_rng([seed, zlib.crc32(name.encode())]).choice(allowed[name])]) for name in names
        }
    if "retrieval" in rows:
        known = pool_annotations if pool else annotations
        heard = {n: _key_and_tempo(n, there[n], known, report) for n in folders.bar(sorted(there), progress, "pool")}
        asked = {n: _key_and_tempo(n, sung[n], annotations, report) for n in folders.bar(names, progress, "vocals")}
        sources["retrieval"] = {
            name: str(there[min(allowed[name], key=lambda other: (distance(asked[name], heard[other]), other))])
            for name in names
        }
    return sources


def _key_and_tempo(name, path, annotations, report):
    """(key label or None, beats a minute or None), annotated or heard."""
    known = folders.read_annotation(annotations, name, report) if annotations else {}
    if "key" in known and "bpm" in known:
        return known["key"], known["bpm"]
    sound = folders.read(path, report)
    if sound is None:
        return None, None
    mono = audio.resample(audio.to_mono(sound[0]), sound[1], listen.RATE)
    return find_key(harmony.profile(mono)), beats.tempo(listen.beats(mono))


def distance(first, second) -> float:
    """How far two (key, tempo) are apart: steps on the circle of fifths / 6 + twice the octave-folded log2 of the tempo ratio.

    Relative keys share a place on the circle. What is unknown counts as the farthest: 1 each.
    """
    key, tempo = 1.0, 1.0
    if first[0] and second[0]:
        steps = (harmony.fifths(first[0]) - harmony.fifths(second[0])) % 12
        key = min(steps, 12 - steps) / 6
    if first[1] and second[1]:
        octaves = np.log2(first[1] / second[1])
        tempo = 2 * abs(octaves - np.round(octaves))
    return float(key + tempo)
