"""How good a piece is to learn from, by two measures that know nothing of each other, and which share is the best.

`technical` hears the recording: bandwidth, clipping, steady noise, and how much of one track bleeds into the other.
`musical` hears whether voice and band belong together: in their pitch classes and in their onsets. Both lie from 0 to 1.
What the figures mean, and what they cannot hear, stands in docs/data.md.
"""

import math

import numpy as np

from accompgen.analysis.agreement import onset_agreement, tonal_agreement
from accompgen.analysis.artefacts import bandwidth
from accompgen.analysis.faults import bleed, flat_top_share, frames_of, noise_floor, sounding_bandwidth
from accompgen.analysis.features import Features

MEASURES = ("technical", "musical")
# (worst, best) of each figure: grade 0 and grade 1; between them the scale is logarithmic, for dB it is linear
BANDWIDTH_HZ = 2_000.0, 16_000.0  # the best is at most 0.45 of the rate
CLIPPED_SHARE = 1e-2, 1e-5
NOISE_DB = -20.0, -70.0
BLEED = 0.3, 5e-4
# figures that chance gives are 0 and become grade 0.5; from these on the grade is 1, at their negatives 0
TONAL, ONSETS = 0.6, 0.5
BINS = 10


def grade_technical(voice: np.ndarray, band: np.ndarray, rate: int, originals) -> dict:
    """The figures of a piece's recording, and `technical`: the product of their four grades, each 0 to 1.

    A product, so that any one fault lowers the grade, whatever the others are like.

    Args:
        voice, band: waves [T] at `rate` Hz, as they are written.
        originals: the files that they come from, cut alike, [C, T] each at its own rate: resampling and separation
            smear what was clipped.

    Returns:
        technical; bandwidth_hz and noise_db, of voice and band; clipped_share, of the worst file; bleed.
    """
    spectra = frames_of(voice, rate), frames_of(band, rate)
    widths = [_width(track, frames, rate) for track, frames in zip((voice, band), spectra)]
    noise = [noise_floor(frames) for frames in spectra]
    clipped = max(flat_top_share(wav) for wav in originals)
    leak = bleed(*spectra)
    best_width = min(BANDWIDTH_HZ[1], 0.45 * rate)
    grades = (
        _grade(math.log(max(min(widths), 1.0)), math.log(BANDWIDTH_HZ[0]), math.log(best_width)),
        _grade(math.log(max(clipped, 1e-9)), *map(math.log, CLIPPED_SHARE)),
        _grade(max(noise), *NOISE_DB),
        _grade(math.log(max(leak, 1e-9)), *map(math.log, BLEED)),
    )
    return {
        "technical": round(math.prod(grades), 4),
        "bandwidth_hz": [round(width) for width in widths],
        "clipped_share": float(f"{clipped:.3g}"),
        "noise_db": [round(level, 1) for level in noise],
        "bleed": round(leak, 4),
    }


def grade_musical(voice: Features, band: Features) -> dict:
    """How voice and band agree, and `musical`: the mean of the grades of what can be told, 0.5 where nothing can.

    0.5 is also what a voice and another song's band have on average; above is better than chance.

    Returns: musical; tonal and onsets, the two agreements of analysis/agreement.py, None where they cannot be told.
    """
    tonal, onsets = tonal_agreement(voice, band), onset_agreement(voice, band)
    grades = [_grade(value, -best, best) for value, best in ((tonal, TONAL), (onsets, ONSETS)) if value is not None]
    return {
        "musical": round(float(np.mean(grades)), 4) if grades else 0.5,
        "tonal": None if tonal is None else round(tonal, 4),
        "onsets": None if onsets is None else round(onsets, 4),
    }


def _width(track, frames, rate):
    """Bandwidth in Hz of what is no steady noise, which would hide that a recording is narrow."""
    return min(bandwidth(track, rate) or 0.0, sounding_bandwidth(frames, rate))


def _grade(value, worst, best):
    return min(max((value - worst) / (best - worst), 0.0), 1.0)


def rank(grades: dict[str, dict]) -> dict[str, dict[str, int]]:
    """Piece -> {measure: its rank, 1 the best}; equal grades share the better rank."""
    order = {name: sorted((piece[name] for piece in grades.values()), reverse=True) for name in MEASURES}
    first = {name: {} for name in MEASURES}
    for name, values in order.items():
        for place, value in enumerate(values, 1):
            first[name].setdefault(value, place)
    return {key: {name: first[name][piece[name]] for name in MEASURES} for key, piece in grades.items()}


def choose_best(ranks: dict[str, dict[str, int]], share: float) -> set[str]:
    """The pieces of `ranks` (see `rank`) that are kept: `share` of them, rounded, at least one.

    A piece is as good as the worse of its two ranks. So neither measure makes up for the other, no scale has to be
    compared with another, and exactly the share asked for stays: of the pieces that are in the best share by both
    measures there would be anything from none to all. Among equals the better sum of ranks decides, then the name.
    """
    order = sorted(ranks, key=lambda key: (max(ranks[key].values()), sum(ranks[key].values()), key))
    return set(order[: max(1, round(share * len(order)))] if order else ())


def summarise(grades: list[dict]) -> dict:
    """Of each measure over pieces: quantiles, and a histogram of ten bins from 0 to 1."""
    summary = {}
    for name in MEASURES if grades else ():
        values = np.array([piece[name] for piece in grades])
        lowest, low, median, high, highest = np.quantile(values, (0, 0.1, 0.5, 0.9, 1)).round(3).tolist()
        counts = np.histogram(values, BINS, (0, 1))[0].tolist()
        summary[name] = {
            "lowest": lowest, "10 %": low, "median": median, "90 %": high, "highest": highest, "histogram": counts,
        }  # fmt: skip
    return summary


def table(summary: dict) -> list[str]:
    """A summary as lines for people: both histograms side by side, then quantiles."""
    if not summary:
        return []
    width = 24
    most = max(max(summary[name]["histogram"]) for name in MEASURES)
    lines = ["grade     " + "".join(name.ljust(width + 8) for name in MEASURES).rstrip()]
    for index in reversed(range(BINS)):
        line = f".{index} to {(index + 1) / 10:.1f} ".replace("to 0.", "to .").ljust(10)
        for name in MEASURES:
            count = summary[name]["histogram"][index]
            bar = "#" * math.ceil(width * count / most)
            line += f"{count:5d} {bar.ljust(width + 2)}"
        lines.append(line.rstrip())
    for quantile in ("lowest", "10 %", "median", "90 %", "highest"):
        values = (f"{summary[name][quantile]:5.2f}".ljust(width + 8) for name in MEASURES)
        lines.append(quantile.ljust(10) + "".join(values).rstrip())
    return lines
