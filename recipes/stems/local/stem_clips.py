"""Songs in stems -> clips for each stem: <stem>/context/, <stem>/reference/, and clips.json.

The context is all other stems, without the vocals. DATA is MoisesDB, DATA/<song>/<stem>/*.wav, whose
files of a stem are summed; or MUSDB18 or MUSDB18-HQ, of which the test split is taken. Files are
named <song>@<start in seconds>.wav. A clip is kept if the stem and its context both sound for a
share of its time.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from accompgen import audio

sys.path.append(str(Path(__file__).parents[2] / "musdb18" / "local"))
from clips import sounds  # noqa: E402
from tracks import MP4_ENDING, DataError, find_tracks, read_stems, safe_name  # noqa: E402

VOICE = "vocals"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of the data set")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--stems",
        nargs="+",
        default=["drums", "bass"],
        help="to cut clips for (default: drums bass)",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="length of a clip (default: 10)"
    )
    parser.add_argument(
        "--hop", type=float, default=10.0, help="from one clip's start to the next (default: 10)"
    )
    parser.add_argument(
        "--level",
        type=float,
        default=-40.0,
        help="dBFS over which a frame of 50 ms sounds (default: -40)",
    )
    parser.add_argument(
        "--share", type=float, default=0.5, help="of frames in which both must sound (default: 0.5)"
    )
    parser.add_argument(
        "--clips",
        type=int,
        default=0,
        help="at most so many a stem, drawn at random; 0: all (default)",
    )
    parser.add_argument(
        "--with-vocals", action="store_true", help="the context has the vocals, too"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        cut(args)
    except (DataError, audio.AudioError) as error:
        sys.exit(str(error))


def cut(args):
    """Write the clips of every stem, song by song; of more than asked for, those that the seed
    draws.
    """
    songs, written = find_songs(args.data), {stem: [] for stem in args.stems}
    planned = {stem: [] for stem in args.stems}
    for number, (name, path) in enumerate(songs.items(), 1):
        print(f"\rsong {number} of {len(songs)}", end="", file=sys.stderr, flush=True)
        stems, rate = read_song(path)
        for stem in args.stems:
            parts = parts_of(stems, stem, args.with_vocals)
            planned[stem] += [(name, start) for start in plan(parts, rate, args)] if parts else []
    print(file=sys.stderr)
    for stem, found in planned.items():
        if not found:
            sys.exit(
                f"{args.data}: no clip of {args.seconds:g} s has {stem} and the others sounding; "
                "see --level and --share"
            )
        if args.clips and len(found) > args.clips:
            chosen = np.random.default_rng(args.seed).choice(len(found), args.clips, replace=False)
            planned[stem] = [found[i] for i in sorted(chosen)]
    for name, path in songs.items():
        starts = {
            stem: [start for of, start in found if of == name] for stem, found in planned.items()
        }
        if not any(starts.values()):
            continue
        stems, rate = read_song(path)
        for stem in args.stems:
            parts = parts_of(stems, stem, args.with_vocals)
            written[stem] += [
                write_clip(parts, rate, start, args, stem, name) for start in starts[stem]
            ]
    about = {name: value for name, value in vars(args).items() if name not in ("data", "out")}
    audio.write_bytes(
        args.out / "clips.json", (json.dumps({**about, "names": written}, indent=1) + "\n").encode()
    )
    print(
        ", ".join(f"{len(names)} clips for {stem}" for stem, names in written.items())
        + f" in {args.out}"
    )


def find_songs(data: Path) -> dict[str, Path]:
    """Name for files -> folder or stem.mp4 of each song. Raises DataError for no such data set."""
    songs = {
        path.parent.name: path.parent for path in sorted(data.glob(f"*/{VOICE}")) if path.is_dir()
    }
    songs |= {
        path.parent.name: path.parent for path in sorted(data.glob("*/drums")) if path.is_dir()
    }
    if not songs:
        try:
            songs = find_tracks(data, "test")
        except DataError as error:
            raise DataError(
                f"{error}; nor is it MoisesDB: no <song>/drums/ with wav files in it"
            ) from error
    return {safe_name(name): songs[name] for name in sorted(songs)}


def read_song(path: Path) -> tuple[dict[str, np.ndarray], int]:
    """stem -> wav [C, T], and their rate. Raises DataError for a song without stems, AudioError for
    files that do not fit.
    """
    folders = (
        [folder for folder in sorted(path.iterdir()) if folder.is_dir()] if path.is_dir() else []
    )
    if path.name.endswith(MP4_ENDING) or not folders:
        stems, rate = read_stems(path)
        return {name: wav for name, wav in stems.items() if name != "mixture"}, rate
    stems, rates = {}, set()
    for folder in folders:
        waves = [audio.read(file) for file in sorted(folder.glob("*.wav"))]
        if waves:
            length = max(wav.shape[1] for wav, _ in waves)
            stems[folder.name] = sum(audio.spread(audio.fit(wav, length), 2) for wav, _ in waves)
            rates |= {rate for _, rate in waves}
    if len(rates) != 1:
        raise DataError(f"{path}: its stems have the rates {sorted(rates)}; expected one")
    length = max(wav.shape[1] for wav in stems.values())
    return {name: audio.fit(wav, length) for name, wav in stems.items()}, rates.pop()


def parts_of(stems, target, with_vocals) -> dict[str, np.ndarray] | None:
    """The stem and all others; None of a song that has not both."""
    others = [
        wav for name, wav in stems.items() if name != target and (with_vocals or name != VOICE)
    ]
    return (
        {"reference": stems[target], "context": sum(others)} if target in stems and others else None
    )


def plan(parts, rate, args) -> list[float]:
    """Starts in seconds of the clips that sound."""
    length = parts["reference"].shape[1] / rate
    starts = np.arange(0, max(length - args.seconds, -1) + 1e-6, args.hop)
    return [
        float(s)
        for s in starts
        if all(sounds(p, rate, s, args.seconds, args.level) >= args.share for p in parts.values())
    ]


def write_clip(parts, rate, start, args, stem, name) -> str:
    """Write a clip's two files, by one gain where one of them would clip; its name."""
    clip = f"{name}@{start:05.1f}"
    waves = {
        part: wav[:, round(start * rate) :][:, : round(args.seconds * rate)]
        for part, wav in parts.items()
    }
    gain = np.float32(min(1.0, 0.99 / max(map(audio.peak, waves.values()))))
    for part, wav in waves.items():
        audio.make_folder(args.out / stem / part)
        audio.write(args.out / stem / part / f"{clip}.wav", gain * wav, rate, "PCM_16")
    return clip


if __name__ == "__main__":
    main()
