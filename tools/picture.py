"""One picture of a song: vocal, accompaniment and mix as waveforms, mel spectrograms, and 100 ms around their peaks.

    python tools/picture.py VOCAL ACCOMPANIMENT MIX -o picture.png

The spectrograms share one decibel scale (0 dB is the loudest bin of the three), so that their levels can be compared.
At the right stand the 100 ms around the loudest sample of each file, at its own rate: clicks, which no spectrogram
shows, are seen there.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.analysis import artefacts, frames
from accompgen.analysis.mel_bands import band_edges
from accompgen.evaluation import pictures
from accompgen.files import replacing

TRACKS = (("Vocal", "#c8553d"), ("Accompaniment", "#2a6f97"), ("Mix", "#6a4c93"))
RATE, HIGH_HZ = 48000, 20000.0  # of the spectrograms
RANGE_DECIBELS = 80.0
COLUMNS = 1000  # at most so many columns are drawn: the picture has about as many pixels there
CLOSE_SECONDS = 0.1
TICK_HERTZ = (250, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True)
class Track:
    """What is drawn of one file. The envelope has a row for the lowest, the highest and the RMS value of each column."""

    seconds: float
    loudness: float  # LUFS; -inf for silence
    peak: float  # of any channel, 1.0 is full scale
    peak_seconds: float  # where it is
    crest: float | None  # dB
    lock: float | None  # `frames.frame_lock`
    close: np.ndarray  # [samples] of the channel with the peak, 100 ms around it
    close_seconds: float  # where it begins
    rate: int
    envelope: np.ndarray  # [3, columns]
    power: np.ndarray  # [pictures.BANDS, columns], of the mono signal


def analyse(path) -> Track:
    """Read a file and reduce it to what is drawn. Raises audio.AudioError if it cannot be read."""
    wav, rate = audio.read(path)  # [C, T]
    mono = audio.to_mono(wav)  # [T]
    channel, top = np.unravel_index(np.abs(wav).argmax(), wav.shape)
    length = round(CLOSE_SECONDS * rate)
    start = int(np.clip(top - length // 2, 0, max(0, wav.shape[1] - length)))
    power = pictures.mel_power(audio.resample(mono, rate, RATE), RATE, HIGH_HZ)
    return Track(
        seconds=wav.shape[1] / rate, loudness=audio.loudness(wav, rate), peak=audio.peak(wav),
        peak_seconds=top / rate, crest=artefacts.crest_factor(wav),
        lock=artefacts.worst(frames.frame_lock, wav, rate), close=wav[channel, start : start + length],
        close_seconds=start / rate, rate=rate, envelope=envelope(mono), power=pooled(power),
    )  # fmt: skip


def envelope(mono: np.ndarray) -> np.ndarray:
    """Lowest, highest and RMS sample value in each of at most COLUMNS spans: [T] -> [3, columns]."""
    columns = min(COLUMNS, len(mono))
    starts = np.arange(columns) * len(mono) // columns
    counts = np.diff(starts, append=len(mono))
    squares = np.add.reduceat(np.square(mono, dtype=np.float64), starts)
    low, high = np.minimum.reduceat(mono, starts), np.maximum.reduceat(mono, starts)
    return np.array([low, high, np.sqrt(squares / counts)])


def pooled(power: np.ndarray) -> np.ndarray:
    """The loudest of neighbouring frames where there are more than COLUMNS: [M, F] -> [M, columns]."""
    columns = min(COLUMNS, power.shape[1])
    return np.maximum.reduceat(power, np.arange(columns) * power.shape[1] // columns, axis=1)


def decibels(tracks: list[Track]) -> list[np.ndarray]:
    """Mel powers in dB below the loudest bin of all tracks, at least -RANGE_DECIBELS; silence is all at the bottom."""
    loudest = max(track.power.max() for track in tracks)
    if loudest <= 0:
        return [np.full_like(track.power, -RANGE_DECIBELS) for track in tracks]
    with np.errstate(divide="ignore"):  # log10(0) = -inf, raised to the floor
        return [np.maximum(10.0 * np.log10(track.power / loudest), -RANGE_DECIBELS) for track in tracks]


def draw(tracks: list[Track], title: str):
    """A matplotlib figure: of each track its waveform, its spectrogram and the 100 ms around its peak."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    seconds = max(track.seconds for track in tracks)
    rcParams.update({"font.size": 9, "font.family": "DejaVu Sans", "axes.linewidth": 0.6})
    figure = Figure(figsize=(15.0, 9.6), dpi=120, facecolor="white")
    figure.text(0.06, 0.962, title, fontsize=15, fontweight="bold", va="center", parse_math=False)
    figure.text(0.625, 0.962, f"{seconds:.1f} s", color="0.35", ha="right", va="center")
    outer = figure.add_gridspec(
        3, 2, left=0.06, right=0.985, top=0.912, bottom=0.058, hspace=0.22, wspace=0.27, width_ratios=(2.0, 1.0)
    )
    first = None
    for row, (track, (name, colour), power) in enumerate(zip(tracks, TRACKS, decibels(tracks))):
        inner = outer[row, 0].subgridspec(2, 1, height_ratios=(1.0, 2.1), hspace=0.06)
        wave = figure.add_subplot(inner[0], sharex=first)
        first = first or wave
        mel = figure.add_subplot(inner[1], sharex=first)
        draw_wave(wave, track, colour)
        wave.set_title(name, loc="left", color=colour, fontsize=11, fontweight="bold", pad=5)
        image = draw_mel(mel, track, power)
        mel.tick_params(length=2.5, labelbottom=row == 2)
        wave.set_xlim(0.0, seconds)
        close = figure.add_subplot(outer[row, 1])
        draw_close(close, track, colour)
    mel.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 1.5, 2, 3, 5, 6, 10], integer=seconds > 6))
    mel.xaxis.set_major_formatter(lambda value, _: clock(value, seconds))
    mel.set_xlabel("time (min:s)" if seconds >= 60 else "time (s)")
    close.set_xlabel("time (s)")
    bar = figure.colorbar(image, cax=figure.add_axes((0.635, 0.058, 0.008, 0.854)))
    bar.set_label("mel power (dB below the loudest)")
    bar.outline.set_linewidth(0.4)
    return figure


def draw_mel(axes, track, power):
    """The spectrogram in decibels [bands, columns], with ticks in Hz; returns the image."""
    bands = band_edges(pictures.BANDS, pictures.LOW_HZ, HIGH_HZ)[1:-1]
    labels = [f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz" for hertz in TICK_HERTZ]
    image = axes.imshow(
        power, origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DECIBELS, vmax=0.0,
        interpolation="nearest", extent=(0.0, track.seconds, -0.5, pictures.BANDS - 0.5),
    )  # fmt: skip
    axes.set_facecolor(image.cmap(0.0))
    axes.set_yticks(np.interp(TICK_HERTZ, bands, np.arange(pictures.BANDS)), labels)
    return image


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
    if track.peak > 0:
        axes.plot([track.peak_seconds], [height], marker="v", color="0.2", markersize=5, clip_on=False)


def draw_close(axes, track, colour):
    """Every sample of the 100 ms around the peak, over the time in the song; what an ear may hear is written above."""
    times = track.close_seconds + np.arange(len(track.close)) / track.rate
    height = 1.06 * max(track.peak, 1e-6)
    axes.plot(times, track.close, color=colour, linewidth=0.7)
    axes.axhline(0.0, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xlim(times[0], times[-1] if len(times) > 1 else times[0] + CLOSE_SECONDS)
    axes.set_ylim(-height, height)
    axes.tick_params(length=2.5)
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(axis="x", nbins=6)
    axes.set_title("100 ms around the peak", loc="left", fontsize=9, pad=5)
    axes.set_title(faults(track), loc="right", color="0.35", fontsize=9, pad=5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def faults(track: Track) -> str:
    """Crest factor and frame lock in words, as far as there are any."""
    words = [] if track.crest is None else [f"crest {track.crest:.1f} dB"]
    return ", ".join(words + ([] if track.lock is None else [f"frame lock {track.lock:.2f}"]))


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
    with replacing(path) as file:
        figure.savefig(file, format="png", pil_kwargs={"compress_level": 3})  # 6 takes twice as long


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
