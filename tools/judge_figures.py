"""The figures of tools/judge.py. Each function gives rows (figure, value, goal, reached), all text."""

import json
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.analysis import artefacts
from accompgen.analysis.keys import find_key
from accompgen.checkpoint import find_checkpoint, read_graph
from accompgen.component import file_hash, load_component
from accompgen.evaluation import band as bands
from accompgen.evaluation import harmony, listen
from accompgen.evaluation.folders import find_songs
from accompgen.evaluation.report import cell, show
from accompgen.evaluation.runner import difference

PRESENT = 0.5  # a part is in a song that has it in at least so many of its seconds
HELD_UP = 0.75  # of the first minute's value: what the last minute must keep
STEADY_LU = 3.0
OCTAVES_HZ = (62.5, 125, 250, 500, 1000, 2000, 4000, 8000, 12000)
MISSING_DB = -6.0
FAULTS = ("silence_share", "flatness", "held_share")
LARGEST_MB, SLOWEST = 100, 1.0
CREST_DB = 1.5  # how far the mean crest factor may lie from the truth's


def reached(is_reached) -> str:
    """The last cell of a row."""
    return "yes" if is_reached else "**no**"


def short_hash(checkpoint) -> str:
    """The start of the hash of a checkpoint's config.json, which holds those of all its files."""
    return file_hash(find_checkpoint(checkpoint) / "config.json")[:12]


def codec(out) -> list[tuple]:
    """The row `codec` against the true accompaniments: chroma, onset envelope, level of every octave."""
    from accompgen.training.codec_figures import chroma, chroma_correlation, correlation, onset_envelope, read_mono

    true, back = find_songs(out / "songs", "accompaniment"), find_songs(out / "baselines" / "codec", "accompaniment")
    values = []
    for name in sorted(set(true) & set(back)):
        first, second = read_mono(true[name]), read_mono(back[name])
        second = audio.fit(second, len(first))
        level = _octaves(second) - _octaves(first)
        pair = chroma_correlation(chroma(first), chroma(second)), correlation(onset_envelope(first), onset_envelope(second))
        values.append([*pair, *level])
    means = np.nanmean(values, axis=0)
    worst = int(np.argmin(means[2:]))
    return [
        ("codec: chroma correlation", f"{means[0]:.3f}", ">= 0.970", reached(means[0] >= 0.97)),
        ("codec: onset-envelope correlation", f"{means[1]:.3f}", ">= 0.950", reached(means[1] >= 0.95)),
        (
            "codec: weakest octave against the original",
            f"{means[2 + worst]:+.1f} dB ({OCTAVES_HZ[worst]:g} to {OCTAVES_HZ[worst + 1]:g} Hz)",
            f"> {MISSING_DB:g} dB: none is missing",
            reached(means[2 + worst] > MISSING_DB),
        ),
    ]


def _octaves(mono):
    """Level of each octave of sound [T] at 24 kHz in decibel."""
    power = np.abs(np.fft.rfft(mono)) ** 2
    hertz = np.fft.rfftfreq(len(mono), 1 / listen.RATE)
    sums = [power[(hertz >= low) & (hertz < high)].sum() for low, high in zip(OCTAVES_HZ, OCTAVES_HZ[1:])]
    return 10 * np.log10(np.maximum(sums, 1e-9))


def against_shuffled(results) -> list[tuple]:
    """Harmony and rhythm against the way from shuffled pairs to what could be had."""
    rows = []
    for title, measure, best in (
        ("harmony: energy on chord tones", "chord_tone_share", "codec"),
        ("rhythm: beat F1", "beat_f1", "truth"),
    ):
        found = {row: results["rows"][row][measure] for row in ("system", "shuffled", best)}
        low, high = found["shuffled"]["value"], found[best]["value"]
        goal, value = (low + high) / 2, found["system"]["value"]
        way = (value - low) / (high - low)
        rows.append((
            title, f"{cell(found['system'], 3)}, {100 * way:.0f} % of the way",
            f">= {goal:.3f}, half-way from shuffled {cell(found['shuffled'], 3)} to {best} {cell(found[best], 3)}",
            reached(value >= goal),
        ))  # fmt: skip
    return rows


def swapped(results) -> list[tuple]:
    """With another song's vocal the system must fall to the level of shuffled pairs."""
    rows = []
    own = difference(results["rows"], results["songs"], "swapped", "system", results["settings"]["seed"])
    left = difference(results["rows"], results["songs"], "shuffled", "swapped", results["settings"]["seed"])
    for title, measure in (
        ("chord tones", "chord_tone_share"),
        ("beat F1", "beat_f1"),
        ("chroma to the voice", "chroma_vocal"),
    ):
        rows.append((
            f"{title}, its own vocal minus another song's", cell(own[measure], 3), "above 0 with its interval",
            reached(own[measure]["low"] is not None and own[measure]["low"] > 0),
        ))  # fmt: skip
        if measure != "chroma_vocal":
            fallen = left[measure]["low"] is not None and left[measure]["low"] <= 0
            name = f"{title} with another song's vocal, minus shuffled pairs"
            rows.append((name, cell(left[measure], 3), "not above 0 with its interval", reached(fallen)))
    return rows


def listening(checkpoint) -> list[tuple]:
    """Gain of true over shuffled context and cost of a late vocal, as the trainings of the stages ended (validation songs)."""
    rows = []
    path = find_checkpoint(checkpoint)
    graph = read_graph(path)
    for stage in (row.name for row in graph.stages if graph.vocal.name in row.context):
        result = load_component(path / stage)[0]["validation"]
        gains = result["gain"]
        for title, value in (
            ("gain over shuffled context", gains["shuffled"]["all"]),
            ("gain over shuffled vocals", gains.get("shuffled_vocal", gains["shuffled"])["all"]),
            ("a vocal 1 s late costs", result["vocal_late"].get("1")),
        ):
            if value is None or (stage == "semantic" and title.endswith("context")):
                continue
            text = f"{value[0]:.4f} +- {value[1]:.4f} nats a token"
            rows.append((f"{stage}: {title}", text, "over 2 errors above 0", reached(value[0] > 2 * value[1])))
    return rows


def band(results) -> list[tuple]:
    """In how many songs drums, bass and chords are present, and how many are silence, noise or a held note."""
    rows = []
    for part in bands.PARTS:
        shares = {row: [s[part] >= PRESENT for s in results["songs"][row].values()] for row in ("system", "truth")}
        value = float(np.mean(shares["system"]))
        text = f"in {100 * value:.0f} % of the songs (truth {100 * np.mean(shares['truth']):.0f} %)"
        rows.append((f"band: {part}", text, "in most", reached(value > 0.5)))
    faulty = [name for name, scores in results["songs"]["system"].items() if set(scores["flags"]) & set(FAULTS)]
    text = f"{len(faulty)} of {len(results['songs']['system'])}" + (f": {', '.join(faulty[:4])}" if faulty else "")
    rows.append(("silence, noise or one held note", text, "none", reached(not faulty)))
    return rows


def sound(results) -> list[tuple]:
    """Faults that an ear hears: worst songs of codec and system, crest factor, borders of windows."""
    rows = []
    for measure, title in (
        ("frame_lock", "frame lock"), ("buzz_db", "buzz, dB"), ("clicks", "clicks a second")
    ):  # fmt: skip
        limit = artefacts.LIMITS[measure]
        values = {
            row: {name: scores[measure] or 0.0 for name, scores in results["songs"][row].items()}
            for row in ("codec", "system", "truth")
        }
        goal = f"below {limit:g} on every song (truth at most {max(values.pop('truth').values()):.2f})"
        for row, found in values.items():
            name, largest = max(found.items(), key=lambda entry: entry[1])
            over = sum(value >= limit for value in found.values())
            text = f"at most {largest:.2f} ({name}); {over} of {len(found)} songs reach {limit:g}"
            rows.append((f"{row}: {title}", text, goal, reached(not over)))
    for row in ("codec", "system"):
        found = results["rows"][row]["crest_excess_db"]
        fine = found["value"] is not None and abs(found["value"]) <= CREST_DB
        goal = f"within {CREST_DB:g} dB in the mean"
        title = f"{row}: crest factor over the truth's, dB"
        rows.append((title, cell(found, 1), goal, reached(fine)))
    return rows + _borders(results) if results["settings"]["seams"] else rows


def _borders(results):
    """Where windows meet, the system must break no more than the truth does there."""
    rows = []
    more = difference(
        results["rows"], results["songs"], "truth", "system", results["settings"]["seed"]
    )
    for measure, title in (("seam_jump", "spectrum"), ("seam_click", "waveform")):
        fine = more[measure]["low"] is not None and more[measure]["low"] <= 0
        name = f"borders of windows: break of the {title}, over the truth's"
        rows.append((name, cell(more[measure], 3), "not above 0 with its interval", reached(fine)))
    return rows


def minutes(results) -> list[tuple]:
    """Long songs: the first minute against the last."""
    found, rows = results["minutes"]["system"], []
    first, last = found[0], found[-1]
    for name in ("chord_tone_share", "chroma_vocal", "beat_f1", *bands.PARTS):
        values = [minute[name] for minute in found]
        text = ", ".join(show(value, 3) for value in values)
        fine = None in (first[name], last[name]) or last[name] >= HELD_UP * first[name]
        rows.append(
            (f"minute by minute: {name.replace('_', ' ')}", text, f"the last at least {HELD_UP:g} of the first", reached(fine))
        )
    levels = [minute["loudness_lufs"] for minute in found]
    fine = None not in levels and max(levels) - min(levels) <= STEADY_LU
    rows.append(("minute by minute: LUFS", ", ".join(show(v, 1) for v in levels), f"within {STEADY_LU:g} LU", reached(fine)))
    rows.append(("minute by minute: flatness", ", ".join(show(m["flatness"], 3) for m in found), "", ""))
    songs = results["data"]["songs"]
    return [(f"{figure} ({songs} songs)", *rest) for figure, *rest in rows]


def notes_profile(path, seconds: float) -> np.ndarray:
    """Pitch classes of annotated notes (lines: onset, Hz, duration) in blocks of 0.5 s: [blocks, 12], each row's sum 1 or 0."""
    length = harmony.BLOCK_FRAMES * harmony.HOP_SAMPLES / listen.RATE
    profile = np.zeros((int(np.ceil(seconds / length)), 12))
    for onset, hertz, duration in np.loadtxt(path, delimiter=",", ndmin=2)[:, :3]:
        place = round(12 * np.log2(hertz / 440) + 69) % 12
        for block in range(len(profile)):
            profile[block, place] += max(0.0, min(onset + duration, (block + 1) * length) - max(onset, block * length))
    total = profile.sum(axis=1, keepdims=True)
    return np.divide(profile, total, out=np.zeros_like(profile), where=total > 0)


def voice(notes, played: list[Path], out) -> list[tuple]:
    """A person's singing: what was played to it, in each of the folders, against bands that were played to other vocals."""
    songs = find_songs(out / "songs", "accompaniment")
    rows = {
        "played": [path for folder in played for path in find_songs(folder, "accompaniment").values()],
        "other songs' bands": list(songs.values()),
        "the same system, other vocals": list(find_songs(out / "system", "accompaniment").values()),
    }
    seconds = min(audio.read(path)[0].shape[1] / audio.read(path)[1] for path in rows["played"])
    sung = notes_profile(notes, seconds)
    key = find_key(sung)
    known = {
        path: json.loads((out / "songs" / f"{name}.json").read_text(encoding="utf-8"))["key"] for name, path in songs.items()
    }
    rows["other bands of its key signature"] = [path for path, k in known.items() if harmony.fifths(k) == harmony.fifths(key)]
    scores = {row: np.array([voice_scores(path, sung, key) for path in paths]) for row, paths in rows.items()}
    lines = []
    for column, title in enumerate(("key agreement", "chroma to the sung notes")):
        values = {row: found[:, column] for row, found in scores.items() if len(found)}
        ours, others = values.pop("played"), values["other songs' bands"]
        below = 100 * np.mean([np.mean(others < value) + 0.5 * np.mean(others == value) for value in ours])
        text = f"{ours.mean():.3f} ({ours.min():.3f} to {ours.max():.3f}, {len(ours)} seeds), above {below:.0f} % of them"
        goal = "above " + "; ".join(f"{row} {found.mean():.3f}" for row, found in values.items())
        lines.append((f"a person's voice ({key}): {title}", text, goal, reached(ours.mean() > others.mean())))
    return lines


def voice_scores(path, sung, key) -> tuple[float, float]:
    """(key agreement, chroma similarity) of a file with sung notes; the sound begins again where it is shorter."""
    wav, rate = audio.read(path)
    mono = audio.resample(audio.to_mono(wav), rate, listen.RATE)
    size = len(sung) * harmony.BLOCK_FRAMES * harmony.HOP_SAMPLES
    profile = harmony.profile(np.resize(mono, size) if len(mono) < size else mono[:size])
    return harmony.key_agreement(find_key(profile), key), harmony.similarity(profile, sung)


def size_and_time(checkpoint, out) -> list[tuple]:
    """Megabytes of the checkpoint, and seconds a second of sound took on this machine."""
    size = sum(file.stat().st_size for file in find_checkpoint(checkpoint).rglob("*") if file.is_file()) / 1e6
    reports = [path.resolve() for path in find_songs(out / "system", "accompaniment").values()]
    names = [path.with_name(path.name.removesuffix(path.suffix).removesuffix(".accompaniment") + ".json") for path in reports]
    factors = [json.loads(path.read_text(encoding="utf-8"))["real_time_factor"] for path in names if path.exists()]
    rows = [("size", f"{size:.1f} MB", f"at most {LARGEST_MB} MB", reached(size <= LARGEST_MB))]
    if factors:
        text = f"{np.median(factors):.2f} times real time, the median of {len(factors)} songs in this run"
        rows.append(("time", text, "at most 1", reached(np.median(factors) <= SLOWEST)))
    return rows
