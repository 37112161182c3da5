"""Examples to hear: mix, stems, chart and prompt of some songs on one static page, small enough for the repository.

Tracks play over one clock, with mute and solo; the true band stands beside them where there is one.

    python tools/examples.py VOCALS PLAYED -o docs/examples [--count 12] [--voice RECORDING --credit TEXT]

VOCALS: a folder with NAME.vocal.* and NAME.json (what was sung, its licence), such as `songs` of `accompgen synthesize`, and
NAME.accompaniment.* where there is a true band.
PLAYED: what `accompgen generate` wrote for them, and for RECORDING, a real voice that comes first (NAME.accompaniment.*,
NAME.STEM.* where it has stems, NAME.json with its chart and prompts). The folder written holds index.html,
examples.json (hashes of all files) and the sounds and pictures; what an earlier call left there is removed first.
"""

import argparse
import base64
import hashlib
import html
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from accompgen import audio, web
from accompgen.chart import Chart
from accompgen.evaluation import listen, pictures
from accompgen.evaluation.folders import EvaluationError, find_songs
from accompgen.web.bars import shown

TITLES = {"vocal": "Voice", "accompaniment": "Band", "truth": "The band it was written for"}
OWN_SETTINGS = ("prompts", "bpm", "metre", "key", "count_in", "chart_sha256")  # what examples may differ in
RATE = 44_100
BALANCE_LU = -3.0  # of the band against the voice
POOL, SHADES = 3, 24  # pixels of a picture: 60 ms; its colours
LARGEST_BYTES = 10_000_000
COMPRESSION = 0.85  # of mp3, 0 to 1
TEMPLATE = Path(__file__).with_name("examples.html")
PLAYER = Path(web.__file__).with_name("player.js")  # tracks over one clock, as on the page to sing into
MARK = "examples.json"  # what says that a folder is ours


def main(argv=None) -> int:
    """Make the page; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocals", type=Path)
    parser.add_argument("played", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/examples"))
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--voice", type=Path, help="a recording of a real voice, which comes first")
    parser.add_argument("--credit", help="who sang it and its licence; needed with --voice")
    args = parser.parse_args(argv)
    if args.voice and not args.credit:
        parser.error("--voice needs --credit: who sang it, and its licence")
    try:
        print(make_page(args.vocals, args.played, args.out, args.count, args.voice, args.credit))
    except (EvaluationError, audio.AudioError, OSError, ValueError, KeyError) as error:
        print("examples:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


def make_page(vocals, played, out, count: int, voice: Path | None = None, credit: str | None = None) -> Path:
    """Write the page of the first `count` vocals, behind a real `voice`, and return its path.

    Raises EvaluationError for a vocal without an accompaniment, examples made with different settings, a folder that holds
    something else, or more than 10 MB.
    """
    sung, bands = find_songs(vocals, "vocal"), find_songs(played, "accompaniment")
    names = sorted(sung)[:count]
    missing = [name for name in names if name not in bands]
    if len(names) < count or missing:
        raise EvaluationError(f"{count} examples asked for; {vocals} has {len(names)} vocals, {len(missing)} not in {played}")
    truths = find_songs(vocals, "accompaniment")
    if voice:
        if voice.stem not in bands:
            raise EvaluationError(f"{voice} has no accompaniment in {played}; generate one there")
        sung, names = sung | {voice.stem: voice}, [voice.stem, *names]
    reports = [_read(played / f"{bands[name].stem.removesuffix('.accompaniment')}.json") for name in names]
    about = [{key: report[key] for key in ("seed", "settings", "checkpoint", "versions")} for report in reports]
    for found in about:
        found["settings"] = {key: value for key, value in found["settings"].items() if key not in OWN_SETTINGS}
    other = [name for name, found in zip(names, about) if found != about[0]]
    if other:
        raise EvaluationError(f"{', '.join(other)}: made with other settings than {names[0]}; generate all of them anew")
    metas = [_read(vocals / f"{name}.json") for name in names[bool(voice) :]]
    if voice:
        metas.insert(0, {"title": "A real voice", "singer": {"name": credit}, "licence": credit, "source": voice.stem})
    files, articles = {}, []
    for number, (name, meta) in enumerate(zip(names, metas), 1):
        report = reports[number - 1]
        stems = _stem_files(report, played)
        sounds = _sounds(sung[name], bands[name], stems, None if voice and number == 1 else truths.get(name))
        files[f"{number:02d}-mix.mp3"] = mp3(sounds["mix"])
        files[f"{number:02d}.js"] = tracks_file(number, {part: wav for part, wav in sounds.items() if part != "mix"})
        for part, wav in sounds.items():
            files[f"{number:02d}-{part}.png"] = picture(wav)
        articles.append(_article(number, meta, sounds, report))
    files["index.html"] = _page(articles, about[0], metas).encode()
    size = sum(map(len, files.values()))
    if size > LARGEST_BYTES:
        raise EvaluationError(f"the page would have {size / 1e6:.1f} MB, more than 10; take fewer or shorter songs")
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files[MARK] = (json.dumps({**about[0], "songs": names, "sha256": hashes}, indent=1) + "\n").encode()
    _clear(out)
    audio.write_files({out / name: data for name, data in files.items()})
    print(f"{len(names)} examples, {size / 1e6:.1f} MB", file=sys.stderr)
    return out / "index.html"


def _clear(out):
    """Make the folder; remove what an earlier call left. Raises EvaluationError where it holds anything else."""
    audio.make_folder(out)
    known = {MARK, *(_read(out / MARK)["sha256"] if (out / MARK).exists() else ())}
    there = {path.name for path in out.iterdir()}
    if there - known:
        raise EvaluationError(f"{out} holds {sorted(there - known)[0]}, which no page of examples has; choose another folder")
    for name in there:
        (out / name).unlink()


def _stem_files(report, played) -> dict[str, Path]:
    """Stem -> its file, as the report names them; none of a song of one track."""
    suffix = Path(report.get("files", {}).get("mix", "mix.wav")).suffix
    named = {key: name for key, name in report.get("files", {}).items() if isinstance(name, str)}
    return {
        key: played / name
        for key, name in named.items()
        if key not in ("mix", "accompaniment") and Path(name).suffix == suffix
    }


def _sounds(vocal, band, stems, truth=None):
    """Vocal, stems (or the accompaniment, of a song of one track), mix and true band [C, T] at RATE, of one length, as
    loud as in the mix, each with its peak below -1 dBFS."""
    sung, whole = (audio.resample(*audio.read(path), RATE) for path in (vocal, band))
    accompaniment, mixed, levels = audio.mix(sung, audio.fit(whole, sung.shape[1]), RATE, BALANCE_LU)
    sounds = {"vocal": sung * np.float32(10 ** (levels["vocal_gain_db"] / 20))}
    gain = np.float32(10 ** (levels["accompaniment_gain_db"] / 20))
    for name, path in stems.items():
        sounds[name] = gain * audio.fit(audio.resample(*audio.read(path), RATE), sung.shape[1])
    sounds |= ({} if stems else {"accompaniment": accompaniment}) | {"mix": mixed}
    if truth:
        true = audio.fit(audio.resample(*audio.read(truth), RATE), sung.shape[1])
        lower = audio.loudness(accompaniment, RATE) - audio.loudness(true, RATE)  # as loud as the one that was played
        sounds["truth"] = true * np.float32(10 ** (lower / 20))
    loudest = max(map(audio.peak, sounds.values()))
    gain = np.float32(min(1.0, 0.9 * audio.PEAK_LIMIT / loudest))  # mp3 does not keep peaks exactly
    return {part: wav * gain for part, wav in sounds.items()}


def mp3(wav: np.ndarray) -> bytes:
    """Sound [C, T] at RATE as mp3 of variable rate: smaller than audio.py's (needs soundfile 0.13)."""
    file = io.BytesIO()
    soundfile.write(
        file, wav.T, RATE, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=COMPRESSION
    )
    return file.getvalue()


def picture(wav: np.ndarray) -> bytes:
    """Mel spectrogram of the mean of sound [C, T] at RATE as a small PNG: 60 ms a pixel, 24 shades."""
    power = pictures.mel_power(audio.resample(audio.to_mono(wav), RATE, listen.RATE))
    power = power[:, : power.shape[1] // POOL * POOL].reshape(len(power), -1, POOL).mean(axis=2)
    level = 10 * np.log10(power + 1e-9)
    shade = np.clip((level - level.max()) / pictures.RANGE_DB + 1, 0, 1)
    return pictures.png(pictures.colour(np.round(shade * SHADES) / SHADES))


def tracks_file(number: int, sounds: dict) -> bytes:
    """The tracks of an example as a script: a page that is opened from a folder may load scripts, and no sounds for its
    clock."""
    urls = {part: "data:audio/mpeg;base64," + base64.b64encode(mp3(wav)).decode() for part, wav in sounds.items()}
    return f"tracksOf({number}, {json.dumps(urls)});\n".encode()


def _article(number, meta, sounds, report):
    seconds = sounds["mix"].shape[1] / RATE
    title = meta.get("title") or f"Example {number}"
    singer = meta.get("singer", {}).get("name")
    tempo = f"{meta['bpm']:.0f} beats a minute" if "bpm" in meta else None
    facts = [f"sung by {singer}" if singer else None, meta.get("key"), tempo, meta.get("metre"), f"{seconds:.0f} s"]
    known = html.escape(", ".join(fact for fact in facts if fact))
    prompts = report["settings"].get("prompts", ())
    asked = f'<p class="prompt">Asked for: {html.escape("; ".join(prompts))}</p>\n' if prompts else ""
    if "chart_sha256" in report["settings"]:
        asked += '<p class="prompt">Played by the chords and beats that it was written with</p>\n'
    rows = "".join(
        f'<div class="row" data-track="{part}"><b>{html.escape(TITLES.get(part, part.capitalize()))}</b>'
        f'<span class="knobs"></span>{_picture(number, part)}</div>\n'
        for part in sounds
        if part != "mix"
    )
    return (
        f'<article data-number="{number:02d}" data-seconds="{seconds:.3f}">\n<h2 id="e{number}">{html.escape(title)}</h2>\n'
        f"<p>{known}</p>\n{asked}"
        f'<div class="mix"><audio controls preload="metadata" src="{number:02d}-mix.mp3" aria-labelledby="e{number}"></audio>'
        f"{_picture(number, 'mix')}</div>\n{_bars(report, seconds)}"
        '<details><summary>Hear the tracks alone</summary>\n<div class="transport"><button type="button" class="play" '
        f'aria-label="Play the tracks">▶</button> <output></output></div>\n{rows}</details>\n</article>'
    )


def _picture(number, part):
    return (
        f'<div class="picture"><img src="{number:02d}-{part}.png" loading="lazy" '
        f'alt="Mel spectrogram of the {html.escape(part)} of example {number}"><span></span></div>'
    )


def _bars(report, seconds):
    """The chart as a row of bars; nothing for a song without one."""
    if not report.get("chart"):
        return ""
    found = shown(Chart.of_song(report["chart"], report["vocal"]["seconds"]))
    bars = "".join(
        f'<li data-start="{bar["start"]:.3f}" data-end="{min(bar["end"], seconds):.3f}">{html.escape(bar["text"])}</li>'
        for bar in found["bars"]
    )
    return f'<ol class="bars" aria-label="Chords, bar by bar">{bars}</ol>\n'


def _page(articles, about, metas):
    checkpoint = about["checkpoint"]
    sampling = "; ".join(
        f"{stage}: " + ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in values.items())
        for stage, values in about["settings"].items()
        if isinstance(values, dict)
    )
    sources = sorted({str(meta.get("source", "unknown")).split(" ")[0] for meta in metas})
    values = {
        "Checkpoint": f"{checkpoint['name']}, config.json with sha256 {checkpoint['config_sha256']}",
        "Seed": about["seed"], "Sampling": sampling,
        "Commit": _commit(), "Versions": ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        "Vocals": f"a synthetic singer (voices of speech synthesis, WORLD vocoder); melodies: {', '.join(sources)}",
        "Licence": "; ".join(sorted({meta.get("licence", "unknown") for meta in metas})),
    }  # fmt: skip
    listed = "\n".join(f"<dt>{name}</dt><dd>{html.escape(str(value))}</dd>" for name, value in values.items())
    text, player = TEMPLATE.read_text(encoding="utf-8"), PLAYER.read_text(encoding="utf-8")
    parts = {"COUNT": str(len(articles)), "EXAMPLES": "\n".join(articles), "ABOUT": listed, "PLAYER": player}
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    return text


def _commit():
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
