"""How a checkpoint's decoder sounds beside the EnCodec's own, and beside the truth: the codec's table, by one command.

    python tools/codec_table.py SONGS/manifest.jsonl -o DIR [--real FOLDER] [--checkpoint pocket]

Every accompaniment of the validation and the test songs, every stem of the test songs and every recording in FOLDER goes
through the codec (24 kHz, all codebooks) once; both decoders play the same codes. DIR gets table.md, results.json and, of some
sounds, 100 ms around the loudest peak as pictures. Times and memory are those of one process with one thread.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.analysis import artefacts
from accompgen.data.songs import read_manifest
from accompgen.device import choose_device
from accompgen.evaluation.distances import fad
from accompgen.evaluation.embeddings import find_embedding
from accompgen.tokens.decoder import EncodecDecoder, round_trip
from accompgen.tokens.load import load_codec
from accompgen.training.decoder import compare_middles
from accompgen.training.decoder_songs import middle_and_side, read_stereo

RATE = 48_000
ENDINGS = (".wav", ".flac", ".mp3", ".ogg")
PEAKS = 6  # pictures of so many sounds
PEAK_SECONDS = 0.1
# figure -> (title, digits, how a set of files is told: the mean, the worst file, or the mean and the worst)
FIGURES = {
    "frame_lock": ("frame lock", 2, max),
    "buzz_db": ("buzz, dB", 1, max),
    "clicks": ("clicks a second", 1, max),
    "crest_above": ("crest factor above the truth's, dB", 1, None),
    "chroma": ("chroma correlation", 3, None),
    "onset": ("onset-envelope correlation", 3, None),
    "si_sdr": ("SI-SDR, dB", 1, None),
    "spectra": ("log spectra, nats", 3, None),
    "bandwidth_hz": ("bandwidth, Hz", 0, None),
    "width_db": ("width, dB", 1, None),
}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path, nargs="+", help="of songs with validation and test splits")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--checkpoint", default="pocket")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="recordings of real music")
    parser.add_argument("--validation", type=int, default=50, metavar="N")
    parser.add_argument("--test", type=int, default=67, metavar="N")
    parser.add_argument("--embedding", action="append", default=[], metavar="NAME", help="of the FAD (default: pocket)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tokenizer, decoders = open_decoders(args.checkpoint)
    embeddings = [find_embedding(name, "cpu") for name in args.embedding or ["pocket"]]
    args.out.mkdir(parents=True, exist_ok=True)
    results = {"costs": costs(args.checkpoint, tokenizer, decoders)}
    for name, paths in sets(args).items():
        if paths:
            results[name] = score(name, paths, tokenizer, decoders, embeddings, args)
            # after each set, for all of them take an hour
            (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    text = table(results, [embedding.name for embedding in embeddings]) + f"\ncheckpoint {args.checkpoint}, commit {commit}\n"
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def open_decoders(checkpoint) -> tuple:
    """The tokenizer of a checkpoint, and both decoders of its codes by the name of their row."""
    tokenizer, decoder = load_codec(checkpoint, choose_device("cpu"))
    return tokenizer, {"EnCodec's decoder": EncodecDecoder(tokenizer), "the decoder": decoder}


def sets(args) -> dict[str, list[tuple[Path, ...]]]:
    """Set name -> sounds, each as the files that sum to it."""
    songs = [song for manifest in args.manifest for song in read_manifest(manifest) if song.tracks.accompaniment]
    held = {split: [song for song in songs if song.split == split] for split in ("validation", "test")}
    found = {
        "validation mixes": [song.tracks.accompaniment for song in held["validation"][: args.validation]],
        "test mixes": [song.tracks.accompaniment for song in held["test"][: args.test]],
    }
    for stem in ("drums", "bass", "harmony"):
        found[stem] = [song.tracks.files_of(stem) for song in held["test"][: args.test] if stem in song.tracks]
    real = sorted((path,) for path in args.real.iterdir() if path.suffix in ENDINGS) if args.real else []
    return found | {"real music": real}


def score(name, recordings, tokenizer, decoders, embeddings, args) -> dict:
    """{"truth" and each decoder: {"files": [figures of each file], "fad": {embedding: value}}} of a set of sounds."""
    rows = {row: [] for row in ("truth", *decoders)}
    heard = {row: {embedding.name: {} for embedding in embeddings} for row in rows}
    for number, files in enumerate(recordings):
        path, true = files[0], read_stereo(*files, rate=RATE)
        if audio.peak(true) < 10 * audio.SILENCE:  # a stem that does not play
            continue
        mono = torch.from_numpy(audio.resample(audio.to_mono(true), RATE, tokenizer.sample_rate))
        sounds = {"truth": true}
        for row, decoder in decoders.items():
            wav = round_trip(mono, tokenizer, decoder).numpy()
            sounds[row] = audio.fit(audio.resample(wav, decoder.sample_rate, RATE), true.shape[1])
        # a mono decoder is held against the truth's sum
        truths = {row: true if len(sounds[row]) == 2 else audio.to_mono(true)[None] for row in sounds}
        for row, wav in sounds.items():
            figures = artefacts.measure(wav, RATE)
            figures["crest_above"] = figures["crest_db"] - artefacts.crest_factor(truths[row])
            figures |= compare_middles(*(middle_and_side(_two(x)) for x in (true, wav)), RATE)
            rows[row].append({"file": path.name, **{key: _plain(value) for key, value in figures.items()}})
            for embedding in embeddings:
                rate_wav = audio.resample(audio.to_mono(wav), RATE, embedding.rate)
                heard[row][embedding.name][path.name] = np.asarray(embedding.embed(rate_wav))
        if number < PEAKS and name in ("test mixes", "real music"):
            draw_peak(sounds, args.out / f"{name.replace(' ', '-')}-{number + 1}.png", path.name)
        print(f"{name} {number + 1}/{len(recordings)}", file=sys.stderr, flush=True)
    return {
        row: {"files": rows[row], "fad": {e: fad(heard[row][e], heard["truth"][e], args.seed)["value"] for e in heard[row]}}
        for row in rows
    }


def _two(wav):
    return wav if len(wav) == 2 else np.repeat(wav, 2, axis=0)


def _plain(value):
    return None if value is None else round(float(value), 4)


def costs(checkpoint, tokenizer, decoders) -> dict:
    """Processor seconds a second of sound, and peak memory in MB of four minutes, of each decoder.

    The memory is that of sound decoded piece by piece, as `accompgen decode` writes it, and whole.
    """
    codes = _some_codes(tokenizer, 20)
    seconds = {row: [] for row in decoders}
    for turn in range(6):  # in turns, so that a slow hour is slow for both
        for row, decoder in decoders.items():
            began = time.process_time()
            decoder.decode(codes, turn)
            seconds[row].append((time.process_time() - began) / 20)
    found = {}
    for row in decoders:
        found[row] = {"seconds": float(np.median(seconds[row][1:]))}
        for way in WAYS:
            # what one has freed another would take: each has a process of its own
            with get_context("spawn").Pool(1) as pool:
                found[row][way] = pool.apply(_megabytes, (checkpoint, row, way))
    return found


def _some_codes(tokenizer, seconds):
    size = 1, tokenizer.codebooks, 75 * seconds
    return torch.randint(tokenizer.bins, size, generator=torch.Generator().manual_seed(0))


def _megabytes(checkpoint, row, way):
    """By how many MB the process's memory grows at most while four minutes are decoded."""
    torch.set_num_threads(1)
    tokenizer, decoders = open_decoders(checkpoint)
    decoder, codes = decoders[row], _some_codes(tokenizer, 240)
    decoder.decode(codes[..., :75])  # what is loaded at the first use is not counted
    before = _resident()
    if (peak := Path("/proc/self/clear_refs")).exists():
        peak.write_text("5")  # forgets the peak so far
    WAYS[way](decoder, codes)
    return _resident("VmHWM") - before


def _piece_by_piece(decoder, codes):
    for _ in decoder.pieces(codes):
        pass


def _whole(decoder, codes):
    decoder.decode(codes)


WAYS = {"megabytes": _piece_by_piece, "whole": _whole}


def _resident(name="VmRSS"):
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux: the peak so far, whatever came before
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def draw_peak(sounds, path, title):
    """100 ms around the loudest peak of each sound, and the same 100 ms of the truth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(sounds), 1, figsize=(11, 2 * len(sounds)), dpi=100, layout="constrained")
    for axis, (row, wav) in zip(axes, sounds.items()):
        middle = audio.to_mono(wav)
        samples = round(PEAK_SECONDS * RATE)
        start = max(0, min(int(np.abs(middle).argmax()) - samples // 2, len(middle) - samples))
        piece = middle[start : start + samples]
        axis.plot(1000 * np.arange(len(piece)) / RATE, piece, linewidth=0.6)
        axis.set_title(f"{title}: {row}, {start / RATE:.2f} s", loc="left", fontsize=9)
    axes[-1].set_xlabel("ms")
    figure.savefig(path)
    pyplot.close(figure)


def table(results, embeddings) -> str:
    """Markdown: a block of rows for each set."""
    titles = ["set", "row", *(title for title, _, _ in FIGURES.values()), *(f"FAD, {name}" for name in embeddings)]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for name, rows in results.items():
        if name == "costs":
            continue
        for row, found in rows.items():
            cells = [f"{name} ({len(found['files'])})", row]
            cells += [_cell(found["files"], key, digits, worst) for key, (_, digits, worst) in FIGURES.items()]
            cells += [f"{found['fad'][embedding]:.2f}" for embedding in embeddings]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Means over files; in parentheses the worst file.", ""]
    base = next(iter(results["costs"].values()))
    for row, cost in results["costs"].items():
        lines.append(
            f"{row}: {cost['seconds']:.4f} s of one core a second of sound ({cost['seconds'] / base['seconds']:.2f} times "
            f"EnCodec's own), {cost['megabytes']:.0f} MB more at the peak for 4 minutes that are decoded piece by piece, "
            f"{cost['whole']:.0f} MB where it is decoded whole"
        )
    return "\n".join(lines) + "\n"


def _cell(files, key, digits, worst):
    values = [found[key] for found in files if found.get(key) is not None]
    if not values:
        return ""
    text = f"{np.mean(values):.{digits}f}"
    return f"{text} ({worst(values):.{digits}f})" if worst else text


if __name__ == "__main__":
    sys.exit(main())
