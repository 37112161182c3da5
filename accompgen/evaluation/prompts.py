"""Does a band sound as its prompt says? A logistic regression, trained on true bands, recognises
eight kinds of them.

Its features are statistics of what lasts in a band. Its accuracy on true bands that it was not
trained on stands beside every figure: a system cannot be recognised better than they are.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import save

from accompgen import audio
from accompgen.analysis.librosa_import import import_librosa
from accompgen.evaluation.folders import EvaluationError

FORMAT = "accompgen-prompt-probe 2"  # the first one had other statistics
FOLDS = 5
PENALTY = 0.01  # C of scikit-learn: small, there are few songs for so many statistics
ROUNDS = 300
LOWEST_DB = -80.0  # below the song's mean level
MEDIAN_FRAMES = 31  # of the filters that part what lasts from strokes: .6 s, and as many bands
CEPSTRUM = 20


def _keys(*names) -> Callable[[dict], bool]:
    return lambda meta: _instrument(meta, "keys") in names


def _instrument(meta, part):
    instruments = meta.get("instruments") or {}
    return instruments.get(part) if isinstance(instruments, dict) else None


# name -> (prompt that asks for it, whether a song's JSON says that it is one); the first that fits counts. Vibraphones are no
# kind of their own: within a band the probe takes them for electric pianos and harps
CLASSES: dict[str, tuple[str, Callable[[dict], bool]]] = {
    "no drums": ("no drums", lambda meta: bool(meta.get("instruments")) and _instrument(meta, "drums") is None),
    "piano": ("acoustic grand piano", _keys("acoustic grand piano", "bright acoustic piano")),
    "electric piano": ("electric piano", _keys("electric piano", "FM electric piano")),
    "harpsichord": ("harpsichord", _keys("harpsichord")),
    "acoustic guitar": ("nylon-string guitar", _keys("nylon-string guitar", "steel-string guitar")),
    "electric guitar": ("clean electric guitar", _keys("jazz guitar", "clean electric guitar")),
    "harp": ("harp", _keys("harp")),
    # sustained chords alone, where nobody plays keys, a guitar or a harp
    "pads": ("string ensemble", lambda meta: _instrument(meta, "keys") is None and _instrument(meta, "pad") is not None),
}


def class_of(meta: dict) -> str | None:
    """The kind of band that a song's JSON describes; None for one of another kind."""
    return next((name for name, (_, fits) in CLASSES.items() if fits(meta)), None)


def asked_class(prompt: str) -> str | None:
    """The kind that a prompt asks for: the one whose own prompt stands in it, the longest that does."""
    text = " ".join(prompt.lower().split())
    there = [(len(asked), name) for name, (asked, _) in CLASSES.items() if asked.lower() in text]
    return max(there)[1] if there else None


def statistics(decibel: np.ndarray) -> np.ndarray:
    """Levels of `mels.mel_decibel` [T, M] -> numbers [D], the same however loud the sound is.

    They are of what lasts, which strokes do not (harmonic-percussive separation by median filters,
    Fitzgerald, DAFx 2010): instruments that play chords differ by it, and drums cover it. Mean,
    deviation and 90th percentile of each band say what it sounds like, its rises and falls from
    frame to frame how notes begin and die away, cepstral coefficients how its bands lie together.
    """
    librosa = import_librosa("the probe of prompts needs", "eval")
    power = 10 ** (decibel.T.astype(np.float32) / 10)
    amplitude = np.sqrt(power / (power.sum(axis=0).mean() + 1e-12))
    lasting, _ = librosa.decompose.hpss(amplitude, kernel_size=MEDIAN_FRAMES)
    level = np.maximum(20 * np.log10(lasting + 1e-6), LOWEST_DB)
    change, cepstrum = np.diff(level, axis=1), librosa.feature.mfcc(S=level, n_mfcc=CEPSTRUM)
    parts = [
        *(level.mean(axis=1), level.std(axis=1), np.percentile(level, 90, axis=1)),
        *(cepstrum.mean(axis=1), cepstrum.std(axis=1)),
        *(np.maximum(-change, 0).mean(axis=1), *np.percentile(change, (95, 10), axis=1)),
    ]
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Probe:
    """Weights of the regression, and how often it is right on true bands.

    Attributes:
        names: the kinds, in the order of the weights. weight [K, D], bias [K], mean [D], scale [D].
        confusion: counts [K, K] of true bands that it was not trained on, true kinds in rows.
    """

    names: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    confusion: np.ndarray

    def recognise(self, rows: np.ndarray) -> list[str]:
        """`statistics` [N, D] -> the likeliest kind of each."""
        scores = (np.atleast_2d(rows) - self.mean) / self.scale @ self.weight.T + self.bias
        return [self.names[index] for index in scores.argmax(axis=1)]

    @property
    def accuracy(self) -> float:
        """On true bands: the mean over kinds, so that frequent ones count no more."""
        counts = self.confusion.sum(axis=1)
        return float(np.mean(np.diag(self.confusion)[counts > 0] / counts[counts > 0]))

    def save(self, path) -> None:
        """One file: weights, and the names of the kinds in its head."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ("weight", "bias", "mean", "scale", "confusion")}
        audio.write_bytes(Path(path), save(arrays, metadata={"format": FORMAT, "names": json.dumps(self.names)}))


def load(path) -> Probe:
    """Raises EvaluationError for a file that is no such probe."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            head = file.metadata() or {}
            if head.get("format") != FORMAT:
                raise ValueError(f"its format is {head.get('format')!r}")
            return Probe(tuple(json.loads(head["names"])), **{name: file.get_tensor(name) for name in file.keys()})
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise EvaluationError(f"{path} is no probe of prompts ({error}); train one on songs with JSON") from error


def train(rows: np.ndarray, kinds: list[str], groups: list[str], seed: int = 0) -> Probe:
    """Learn kinds of bands.

    Args:
        rows: `statistics` [N, D]. kinds: the kind of each. groups: the composition of each; in the folds on which it is
        tested, none is both learnt from and asked for.

    Raises EvaluationError with fewer than two kinds or compositions. ImportError without scikit-learn.
    """
    names, kinds = tuple(name for name in CLASSES if name in kinds), np.array(kinds)
    folds = min(FOLDS, len(set(groups)))
    if len(names) < 2 or folds < 2:
        raise EvaluationError(
            f"{len(names)} kinds of bands in {len(set(groups))} compositions; a probe of prompts needs two of both at least"
        )
    order = np.random.default_rng(seed).permutation(sorted(set(groups)))
    fold = np.array([{group: i % folds for i, group in enumerate(order)}[group] for group in groups])
    confusion = np.zeros((len(names), len(names)), np.int64)
    for part in range(folds):
        learnt, asked = fold != part, fold == part
        if len(set(kinds[learnt])) < 2 or not asked.any():
            continue
        probe = _fit(rows[learnt], kinds[learnt], names)
        for true, found in zip(kinds[asked], probe.recognise(rows[asked])):
            confusion[names.index(true), names.index(found)] += 1
    whole = _fit(rows, kinds, names)
    return Probe(names, whole.weight, whole.bias, whole.mean, whole.scale, confusion)


def _fit(rows, kinds, names):
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError(f"the probe of prompts needs scikit-learn ({error}): pip install 'accompgen[eval]'") from error
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    fitted = LogisticRegression(C=PENALTY, max_iter=ROUNDS, class_weight="balanced").fit((rows - mean) / scale, kinds)
    weight, bias = np.zeros((len(names), rows.shape[1])), np.full(len(names), -np.inf)
    weights, biases = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # scikit-learn keeps the second one's alone
        weights, biases = np.vstack([-weights, weights]), np.append(-biases, biases)
    for name, row, value in zip(fitted.classes_, weights, biases):
        weight[names.index(name)], bias[names.index(name)] = row, value
    none = np.zeros((len(names), len(names)), np.int64)
    return Probe(names, *(array.astype(np.float32) for array in (weight, bias, mean, scale)), none)
