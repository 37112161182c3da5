"""How well the grades of `prepare` tell good pairs from spoilt ones, and its sections from those that are known.

    python tools/grading_table.py SONGS/manifest.jsonl [--songs N]

Each song is graded as it is and with one fault at a time. AUC: how often a clean pair is graded above a spoilt one
(1: always, 0.5: chance), over all pairs of songs; "lower than itself": in how many songs the fault lowered the song's own
grade. For the musical grade, the spoilt pairs are voices with another song's band. Sections are
found on the songs whose meta file knows two or more, and boundaries count as found within a tolerance (mir_eval's
`segment.detection`, the song's ends left out).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from accompgen.analysis.features import beats, hear
from accompgen.analysis.sections import find_sections
from accompgen.data.grading import grade_musical, grade_technical
from accompgen.data.pairs import read_pair
from accompgen.data.songs import ManifestError, read_manifest

RATE = 24_000
TOLERANCES = (0.5, 3.0)  # seconds by which a boundary may be off
MASK_FRAMES, MASK_BANDS = 1024, 9  # of the coarse mask of a poor separator


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="of clean pairs, such as those of `accompgen synthesize`")
    parser.add_argument("--songs", type=int, default=20, metavar="N", help="the first N of them (default: 20)")
    args = parser.parse_args(arguments)
    try:
        songs = read_manifest(args.manifest)[: args.songs]
        if len(songs) < 2:
            raise ManifestError(f"{args.manifest} has {len(songs)} songs; at least 2 are needed, to swap their bands")
        pairs = [read_pair(song, (RATE,))[1][RATE] for song in songs]
    except (ValueError, OSError) as error:  # ManifestError, PairError, AudioError
        print(error, file=sys.stderr)
        return 1
    print(grades_table(pairs))
    known = [json.loads(song.meta.read_text(encoding="utf-8")).get("sections") or [] if song.meta else [] for song in songs]
    print("\n" + sections_table([(*pair, form) for pair, form in zip(pairs, known) if len(form) > 1]))
    return 0


# ---- the two grades ----


def faults(voice, band) -> dict:
    """What is wrong -> the pair [T], [T] with that fault."""
    rng = np.random.default_rng(0)
    clipped = np.clip(band, *(sign * np.abs(band).max() / 2 for sign in (-1, 1)))
    noise = rng.normal(size=len(voice)).astype(np.float32) * np.sqrt(np.square(voice).mean())
    return {
        "band clipped at -6 dB": (voice, clipped),
        "noise 40 dB below the voice": (voice + 0.01 * noise, band),
        "noise 30 dB below the voice": (voice + 10**-1.5 * noise, band),
        "voice without what is above 4 kHz": (low_passed(voice, 4_000), band),
        "band without what is above 4 kHz": (voice, low_passed(band, 4_000)),
        "band 30 dB lower in the voice": (voice + 10**-1.5 * band, band),
        "separated by a coarse mask": separated(voice, band),
    }


def low_passed(wav, hertz):
    spectrum = np.fft.rfft(wav)
    spectrum[round(hertz * len(wav) / RATE) :] = 0
    return np.fft.irfft(spectrum, len(wav)).astype(np.float32)


def separated(voice, band):
    """What a separator with one coarse mask for the whole song leaves: each track holds some of the other."""
    length = len(voice) // MASK_FRAMES * MASK_FRAMES
    frames = [np.fft.rfft(track[:length].reshape(-1, MASK_FRAMES)) for track in (voice, band)]
    power = [np.convolve((np.abs(part) ** 2).mean(0), np.ones(MASK_BANDS) / MASK_BANDS, "same") for part in frames]
    mask = power[0] / np.maximum(power[0] + power[1], 1e-12)
    return tuple(np.fft.irfft(sum(frames) * part).ravel().astype(np.float32) for part in (mask, 1 - mask))


def auc(good, bad) -> float:
    """The share of (good, bad) in which the good one is higher, equal ones half: the area under the ROC curve."""
    good, bad = np.asarray(good)[:, None], np.asarray(bad)[None]
    return float(((good > bad) + 0.5 * (good == bad)).mean())


def grades_table(pairs) -> str:
    """AUC of each fault and of bands of other songs, as a table."""
    clean = [_technical(*pair) for pair in pairs]
    spoilt = {}
    for pair in pairs:
        for name, other in faults(*pair).items():
            spoilt.setdefault(name, []).append(_technical(*other))
    heard = [[hear(track, RATE) for track in pair] for pair in pairs]
    true = [grade_musical(*pair)["musical"] for pair in heard]
    swapped = [grade_musical(heard[k][0], heard[k - 1][1])["musical"] for k in range(len(heard))]
    lines = [f"{len(pairs)} pairs", "", "| grade | fault | AUC | lower than itself | median, clean | median, spoilt |"]
    lines.append("|---|---|---|---|---|---|")
    rows = [("technical", name, clean, found) for name, found in spoilt.items()]
    for grade, name, good, bad in [*rows, ("musical", "the band of another song", true, swapped)]:
        lower = np.mean(np.less(bad, good))
        medians = f"{np.median(good):.2f} | {np.median(bad):.2f}"
        lines.append(f"| {grade} | {name} | {auc(good, bad):.3f} | {lower:.2f} | {medians} |")
    return "\n".join(lines)


def _technical(voice, band):
    return grade_technical(voice, band, RATE, (voice[None], band[None]))["technical"]


# ---- sections ----


def sections_table(songs) -> str:
    """Precision and recall of the boundaries of songs (voice, band, sections that are known), as a table."""
    if not songs:
        return "no song's meta file knows two sections or more"
    import mir_eval.segment

    rows = {tolerance: [] for tolerance in TOLERANCES}
    for voice, band, known in songs:
        features = hear(voice, RATE), hear(band, RATE)
        found = find_sections(*features, beats(features[1]))
        spans = [np.array([[part.start, part.end] for part in found]), np.array([part[:2] for part in known], float)]
        for tolerance, row in rows.items():
            row.append(mir_eval.segment.detection(spans[1], spans[0], window=tolerance, trim=True))
    lines = [f"{len(songs)} songs with known sections", "", "| boundaries within | precision | recall | F1 |"]
    lines.append("|---|---|---|---|")
    for tolerance, row in rows.items():
        lines.append(f"| {tolerance:g} s | {' | '.join(f'{value:.2f}' for value in np.mean(row, axis=0))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
