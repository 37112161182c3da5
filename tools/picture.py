"""One picture of a song: waveforms and mel spectrograms of the vocal, the accompaniment and the mix, on one time axis.

    python tools/picture.py VOCAL ACCOMPANIMENT MIX -o picture.png

The spectrograms share one decibel scale (0 dB is the loudest bin of the three), so that their levels can be compared.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompgen import audio

TRACKS = (("Vocal", "#c8553d"), ("Accompaniment", "#2a6f97"), ("Mix", "#6a4c93"))
WINDOW_SAMPLES, HOP_SAMPLES, MEL_BANDS = 2048, 512, 128  # at RATE
RATE = 24000  # the rate of the acoustic tokens: nothing above 12 kHz comes from the model
RANGE_DECIBELS = 80.0
COLUMNS = 2000  # at most so many columns are drawn: more than the picture has pixels
TICK_HERTZ = (250, 1000, 2000, 4000, 8000)


@dataclass(frozen=True)
class Track:
    """What is drawn of one file. The envelope has a row for the lowest, the highest and the RMS value of each column."""

    seconds: float
    loudness: float  # LUFS; -inf for silence
    peak: float  # of any channel, 1.0 is full scale
    envelope: np.ndarray  # [3, columns]
    power: np.ndarray  # [MEL_BANDS, columns], of the mono signal at RATE


def analyse(path) -> Track:
    """Read a file and reduce it to columns. Raises audio.AudioError if it cannot be read."""
    import librosa

    wav, rate = audio.read(path)  # [C, T]
    seconds = wav.shape[1] / rate
    mono = audio.resample(audio.to_mono(wav), rate, RATE)  # [T]
    power = librosa.feature.melspectrogram(
        y=mono, sr=RATE, n_fft=WINDOW_SAMPLES, hop_length=HOP_SAMPLES, n_mels=MEL_BANDS, power=2.0
    )
    return Track(seconds, audio.loudness(wav, rate), audio.peak(wav), envelope(mono), pooled(power))


def envelope(mono: np.ndarray) -> np.ndarray:
    """Lowest, highest and RMS sample value in each of at most COLUMNS spans: [T] -> [3, columns]."""
    spans = np.array_split(mono, min(COLUMNS, len(mono)))
    return np.array([[span.min(), span.max(), np.sqrt(np.mean(np.square(span)))] for span in spans]).T


def pooled(power: np.ndarray) -> np.ndarray:
    """The loudest of neighbouring frames where there are more than COLUMNS: [M, F] -> [M, columns]."""
    if power.shape[1] <= COLUMNS:
        return power
    return np.stack([part.max(axis=1) for part in np.array_split(power, COLUMNS, axis=1)], axis=1)


def decibels(tracks: list[Track]) -> list[np.ndarray]:
    """Mel powers in dB below the loudest bin of all tracks, at least -RANGE_DECIBELS; silence is all at the bottom."""
    loudest = max(track.power.max() for track in tracks)
    if loudest <= 0:
        return [np.full_like(track.power, -RANGE_DECIBELS) for track in tracks]
    with np.errstate(divide="ignore"):  # log10(0) = -inf, raised to the floor
        return [np.maximum(10.0 * np.log10(track.power / loudest), -RANGE_DECIBELS) for track in tracks]


def draw(tracks: list[Track], title: str):
    """A matplotlib figure with a waveform and a spectrogram for each of the three tracks."""
    import matplotlib

    matplotlib.use("Agg")
    import librosa
    from matplotlib import pyplot

    seconds = max(track.seconds for track in tracks)
    bands = librosa.mel_frequencies(n_mels=MEL_BANDS, fmin=0.0, fmax=RATE / 2)
    ticks = np.interp(TICK_HERTZ, bands, np.arange(MEL_BANDS))
    labels = [f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz" for hertz in TICK_HERTZ]

    pyplot.rcParams.update({"font.size": 9, "font.family": "DejaVu Sans", "axes.linewidth": 0.6})
    figure = pyplot.figure(figsize=(12.0, 9.6), dpi=130, facecolor="white")
    figure.text(0.075, 0.962, title, fontsize=15, fontweight="bold", va="center", parse_math=False)
    figure.text(0.905, 0.962, f"{seconds:.1f} s", color="0.35", ha="right", va="center")
    outer = figure.add_gridspec(3, 1, left=0.075, right=0.905, top=0.912, bottom=0.058, hspace=0.22)
    image = first = None
    for row, (track, (name, colour), power) in enumerate(zip(tracks, TRACKS, decibels(tracks))):
        inner = outer[row].subgridspec(2, 1, height_ratios=(1.0, 2.1), hspace=0.06)
        wave = figure.add_subplot(inner[0], sharex=first)
        first = first or wave
        mel = figure.add_subplot(inner[1], sharex=first)
        draw_wave(wave, track, colour)
        wave.set_title(name, loc="left", color=colour, fontsize=11, fontweight="bold", pad=5)
        image = mel.imshow(
            power, origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DECIBELS, vmax=0.0, interpolation="nearest",
            extent=(0.0, track.seconds, -0.5, MEL_BANDS - 0.5),
        )  # fmt: skip
        mel.set_facecolor(image.cmap(0.0))
        mel.set_yticks(ticks, labels)
        mel.tick_params(length=2.5, labelbottom=row == 2)
        wave.set_xlim(0.0, seconds)
    mel.xaxis.set_major_locator(pyplot.MaxNLocator(nbins=12, steps=[1, 1.5, 2, 3, 5, 6, 10], integer=seconds > 6))
    mel.xaxis.set_major_formatter(lambda value, _: clock(value, seconds))
    mel.set_xlabel("time (min:s)" if seconds >= 60 else "time (s)")
    bar = figure.colorbar(image, cax=figure.add_axes((0.925, 0.058, 0.012, 0.854)))
    bar.set_label("mel power (dB below the loudest)")
    bar.outline.set_linewidth(0.4)
    return figure


def draw_wave(axes, track, colour):
    """Peaks in a light shade, RMS in the full colour, scaled to fill the height; the level is written above."""
    low, high, level = track.envelope
    height = 1.04 * max(np.abs(track.envelope).max(), 1e-6)
    axes.set_title(levels(track), loc="right", color="0.35", fontsize=9, pad=5)
    times = (np.arange(low.size) + 0.5) * track.seconds / low.size
    axes.fill_between(times, low, high, color=colour, alpha=0.35, linewidth=0)
    axes.fill_between(times, -level, level, color=colour, linewidth=0)
    axes.set_ylim(-height, height)
    axes.set_yticks([])
    axes.tick_params(bottom=False, labelbottom=False)
    for side in axes.spines.values():
        side.set_visible(False)


def levels(track: Track) -> str:
    """Loudness and peak in words."""
    if track.peak == 0:
        return "silence"
    return f"{track.loudness:.1f} LUFS, peak {20 * np.log10(track.peak):.1f} dBFS".replace("-", "−")


def clock(value: float, seconds: float) -> str:
    """A tick of the time axis: seconds, or minutes and seconds from a minute on."""
    if seconds < 60:
        return f"{value:g}"
    return f"{int(value) // 60}:{int(value) % 60:02d}"


def save(figure, path: Path) -> None:
    """Write the figure as PNG; a file of that name is replaced only by a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format="png")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, _ in TRACKS:
        parser.add_argument(name.lower(), type=Path, metavar=name.upper())
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="PNG")
    parser.add_argument("--title", help="default: the name of the vocal")
    parser.add_argument("--force", action="store_true", help="replace PNG if it exists")
    args = parser.parse_args(arguments)
    if args.out.exists() and not args.force:
        print(f"{args.out} exists; give another name, or --force to replace it", file=sys.stderr)
        return 1
    try:
        tracks = [analyse(path) for path in (args.vocal, args.accompaniment, args.mix)]
        save(draw(tracks, args.title or args.vocal.stem.removesuffix(".vocal")), args.out)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed; pictures need: pip install 'accompgen[eval]'", file=sys.stderr)
        return 1
    except (audio.AudioError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
