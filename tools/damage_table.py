"""Which metric notices which damage: true accompaniments are spoilt in one way each and compared with the untouched ones.

    python tools/damage_table.py SONGS -o OUT           SONGS: a folder with NAME.vocal.*, NAME.accompaniment.*, NAME.json
    python tools/damage_table.py --compose 12 -o OUT    songs composed by rule (needs flite and a soundfont)

The table goes to stdout and to OUT/damage.md. Bold: the metric got worse by more than chance, that is, the 95 % interval of
the difference (over songs; for FAD, KAD and APA of the two rows) leaves out zero on the bad side.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.evaluation import folders, runner
from accompgen.evaluation.report import COLUMNS, show, write_results

SHOWN = (
    "fad", "fad_infinity", "kad", "fad_mix", "apa", "beat_f1", "onset_f1", "tempo_error_percent", "chroma_reference",
    "chroma_vocal", "chord_tone_share", "key_agreement", "drums", "bass", "chords", "flagged",
)  # fmt: skip


def detuned(wav, rate, rng, known):
    """Half a semitone sharp, the tempo kept (phase vocoder, by librosa)."""
    import librosa

    return librosa.effects.pitch_shift(wav, sr=rate, n_steps=0.5)


def transposed(wav, rate, rng, known):
    """A tritone up, the tempo kept."""
    import librosa

    return librosa.effects.pitch_shift(wav, sr=rate, n_steps=6)


def late(wav, rate, rng, known):
    """Half a beat late."""
    return np.concatenate([np.zeros(round(30 / known["bpm"] * rate), np.float32), wav])[: len(wav)]


def faster(wav, rate, rng, known):
    """6 % faster, the pitch kept; what is missing at the end is silent."""
    import librosa

    return audio.fit(librosa.effects.time_stretch(wav, rate=1.06), len(wav))


def dull(wav, rate, rng, known):
    """Nothing above 2 kHz (resampled there and back)."""
    return audio.fit(audio.resample(audio.resample(wav, rate, 4000), 4000, rate), len(wav))


def hiss(wav, rate, rng, known):
    """White noise, 10 dB below the music."""
    return wav + 0.316 * np.sqrt(np.mean(wav**2)) * rng.normal(size=len(wav)).astype(np.float32)


def clipped(wav, rate, rng, known):
    """20 dB too loud, clipped at full scale."""
    return np.clip(10 * wav, -1, 1)


def quiet(wav, rate, rng, known):
    """20 dB softer."""
    return 0.1 * wav


def looped(wav, rate, rng, known):
    """The first two seconds, over and over."""
    return np.resize(wav[: 2 * rate], len(wav))


def held(wav, rate, rng, known):
    """The spectrum of one moment, held throughout with steady phases."""
    size = 8192
    magnitude = np.abs(np.fft.rfft(wav[len(wav) // 3 :][:size] * np.hanning(size)))
    loudest = np.argsort(magnitude)[-12:]
    time = np.arange(len(wav)) / rate
    sound = sum(magnitude[k] * np.sin(2 * np.pi * k * rate / size * time) for k in loudest)
    return (sound * np.sqrt(np.mean(wav**2) / np.mean(sound**2))).astype(np.float32)


def half_silent(wav, rate, rng, known):
    """Silent from the middle of each second to its end."""
    return wav * (np.arange(len(wav)) % rate < rate / 2)


DAMAGES = {
    "out of tune by 50 cents": detuned, "a tritone up": transposed, "half a beat late": late, "6 % faster": faster,
    "dull above 2 kHz": dull, "hiss at -10 dB": hiss, "clipped": clipped, "20 dB softer": quiet, "two seconds looped": looped,
    "one moment held": held, "half of it silent": half_silent,
}  # fmt: skip
WHOLE = ("another song's", "silence", "noise")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="?")
    parser.add_argument("--compose", type=int, metavar="N", help="make N songs of 20 s first")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--damages", nargs="+", choices=[*DAMAGES, *WHOLE], default=[*DAMAGES, *WHOLE])
    parser.add_argument("--embedding", default="pocket")
    parser.add_argument("--window", type=float, default=10.0)
    parser.add_argument("--count", type=int, help="the first N songs by name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--quiet", action="store_true")
    args = parser.parse_args(argv)
    if (args.songs is None) == (args.compose is None):
        parser.error("give either a folder of songs or --compose N")
    if args.compose:
        from accompgen.data.synthetic.make import make_songs

        made = make_songs(args.out / "songs", 0, args.seed, workers=1, validation=0, test=args.compose, seconds=20.0)
        args.songs = made.parent / "songs"
    systems, vocals = spoil(args.songs, args.out, args.damages, args.count, args.seed, not args.quiet)
    results = runner.evaluate(
        systems, vocals, systems["untouched"], annotations=args.songs, embedding=args.embedding, window_seconds=args.window,
        seed=args.seed, cache=args.cache, progress=not args.quiet,
    )  # fmt: skip
    write_results(results, args.out)
    text = damage_table(results, args.seed)
    audio.write_bytes(args.out / "damage.md", text.encode())
    print(text, end="")


def spoil(songs, out, damages, count, seed, progress):
    """Write a folder of files for every damage -> ({row: folder}, folder of the vocals of these songs)."""
    report = folders.Report()
    files, vocals = folders.find_songs(songs, "accompaniment"), folders.find_songs(songs, "vocal")
    names = sorted(set(files) & set(vocals))[:count]
    rows = {"untouched": out / "untouched", **{damage: out / damage.replace(" ", "_").replace("'", "") for damage in damages}}
    for folder in (*rows.values(), out / "vocals"):
        folder.mkdir(parents=True, exist_ok=True)
    others = runner.sets.shuffle(names, seed)
    for name in folders.bar(names, progress, "damage"):
        wav, rate = audio.read(files[name])
        mono, rng = audio.to_mono(wav), np.random.default_rng([seed, zlib.crc32(name.encode())])
        sung, sung_rate = audio.read(vocals[name])
        audio.write(out / "vocals" / f"{name}.wav", sung, sung_rate, "PCM_16")
        known = folders.read_annotation(songs, name, report)
        if report.problems:
            raise SystemExit("\n".join(report.problems))
        for row, folder in rows.items():
            if row == "another song's":
                spoilt = np.resize(audio.to_mono(audio.read(files[others[name]])[0]), len(mono))
            elif row == "silence":
                spoilt = np.zeros_like(mono)
            elif row == "noise":
                spoilt = np.sqrt(np.mean(mono**2)) * rng.normal(size=len(mono))
            else:
                spoilt = DAMAGES[row](mono, rate, rng, known) if row in DAMAGES else mono
            audio.write(folder / f"{name}.wav", np.clip(spoilt, -1, 1), rate, "PCM_16")
    return rows, out / "vocals"


def damage_table(results, seed) -> str:
    """Markdown: a row for each damage, a column for each metric, bold where the metric noticed."""
    shown = [name for name in SHOWN if results["rows"]["untouched"].get(name, {}).get("value") is not None]
    arrows = {1: " (high)", -1: " (low)"}
    lines = [
        f"| damage | {' | '.join(COLUMNS[name][0] + arrows[COLUMNS[name][2]] for name in shown)} |",
        "|---|" + "---|" * len(shown),
    ]
    for row, measured in results["rows"].items():
        change = runner.difference(results["rows"], results["songs"], "untouched", row, seed)
        cells = []
        for name in shown:
            value = (measured.get(name) or {"value": None})["value"]
            text = show(value, COLUMNS[name][1])
            cells.append(f"**{text}**" if row != "untouched" and noticed(change.get(name), COLUMNS[name][2]) else text)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    about, settings, data = results["embedding"], results["settings"], results["data"]
    lines += [
        "",
        f"{data['songs']} songs, {data['windows']} windows of {settings['window_seconds']:g} s; embedding {about['name']} "
        f"({about['sha256'][:12]}), tracker {settings['tracker']}, seed {seed}. Bold: worse than untouched by more than chance "
        "(95 % bootstrap interval of the difference).",
    ]
    return "\n".join(lines) + "\n"


def noticed(change, good) -> bool:
    """Whether a difference lies on the bad side with its whole interval."""
    if change is None or change["value"] is None or change["low"] is None:
        return False
    return change["high"] < -1e-6 if good > 0 else change["low"] > 1e-6


if __name__ == "__main__":
    main()
