"""Syllables cut from text-to-speech, as WORLD frames: what the singer sings with.

flite (CMU, BSD-style licence) speaks random words and says when each phone ends; the words are cut into syllables around
their vowels. A bank is one .npz file without pickled objects.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.data.synthetic import world

VOICES = ("slt", "rms", "awb", "kal16")  # one woman, three men
VOWELS = frozenset("aa ae ah ao aw ax axr ay eh er ey ih iy ow oy uh uw".split())
UNVOICED = frozenset("p t k f th s sh ch h hh".split())
WORDS = (
    "love you me heart night day light time way home away stay alone tonight forever never ever always again dream sky "
    "star fire rain sun moon sea wind river road world life soul mind eyes hand face name song voice feel know see hear "
    "say tell want need hold run fall fly turn burn break wake call leave go come find lose give take oh yeah la na my "
    "your our the and but so when where why how if only every little beautiful lonely sweet blue golden broken open "
    "sailing dancing falling waiting calling dreaming morning summer winter shadow mountain ocean window silver diamond "
    "yesterday tomorrow remember together maybe nothing everything anywhere without inside through over under slowly "
    "apple garden market yellow shining thousand joy choose moved evening boy cloud down fair bird"
).split()


@dataclass(frozen=True)
class Bank:
    """U syllables as slices of N frames. Syllable i is frames[first[i]:first[i + 1]], its vowel [vowel_start[i],
    vowel_end[i]) counted from there.

    envelope [N, 45], aperiodicity [N, 1] float32; unvoiced [N] bool; first [U + 1], vowel_start [U], vowel_end [U] int32.
    """

    envelope: np.ndarray
    aperiodicity: np.ndarray
    unvoiced: np.ndarray
    first: np.ndarray
    vowel_start: np.ndarray
    vowel_end: np.ndarray

    def __len__(self):
        return len(self.vowel_start)

    def save(self, path):
        """Write the bank as .npz, frames as float16 (2 to 4 MB); the file appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = {"envelope": self.envelope.astype(np.float16), "aperiodicity": self.aperiodicity.astype(np.float16)}
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        np.savez(temporary, **{**vars(self), **half})
        os.replace(temporary, path)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in cls.__dataclass_fields__}
        for name in ("envelope", "aperiodicity"):
            values[name] = values[name].astype(np.float32)
        return cls(**values)


def speak(voice, text):
    """flite's reading of `text`: (wave [T] at 16 kHz, phones as (name, start, end) in seconds).

    FileNotFoundError where flite is not installed, RuntimeError where it fails.
    """
    program = shutil.which("flite")
    if program is None:
        raise FileNotFoundError(
            "the singer needs the program flite, which is not on PATH; install the system package `flite` "
            "(Debian, Ubuntu: apt-get install flite; Fedora: dnf install flite)"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = [program, "-voice", voice, "-t", text, "-o", str(path), "-psdur"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode or not path.exists():
            raise RuntimeError(f"flite -voice {voice} failed ({result.returncode}): {result.stderr.strip()}")
        wave, rate = audio.read(path)
    phones, start = [], 0.0
    for item in result.stdout.split():
        name, _, end = item.rpartition(":")
        phones.append((name, start, float(end)))
        start = float(end)
    return audio.to_mono(audio.resample(wave, rate, world.SAMPLE_RATE)), phones


def syllables(phones):
    """Phones -> syllables (onset, vowel, coda), each a list, one and a list of phones: a cut around every vowel.

    A lone consonant between two vowels goes to the second; an onset has at most two consonants at the start of the
    speech and one elsewhere, a coda at most two; a pause ends both.
    """
    vowels = [i for i, phone in enumerate(phones) if phone[0] in VOWELS]
    found = []
    for k, i in enumerate(vowels):
        first, last = k == 0, k == len(vowels) - 1
        low = 0 if first else vowels[k - 1] + 1
        high = len(phones) if last else vowels[k + 1] - 1
        onset, coda = [], []
        for phone in reversed(phones[low:i]):
            if phone[0] == "pau" or len(onset) == (2 if first else 1):
                break
            onset.insert(0, phone)
        for phone in phones[i + 1 : high]:
            if phone[0] == "pau" or len(coda) == 2:
                break
            coda.append(phone)
        found.append((onset, phones[i], coda))
    return found


def build(voice, sentences=60, seed=0):
    """Let flite's `voice` speak `sentences` lines of seven words and cut them: about 550 syllables, 10 s of work."""
    if voice not in VOICES:
        raise ValueError(f"voice {voice!r} is none of {', '.join(VOICES)}")
    rng = np.random.default_rng([seed, VOICES.index(voice)])
    envelopes, aperiodicities, unvoiced, starts, ends = [], [], [], [], []
    for _ in range(sentences):
        wave, phones = speak(voice, " ".join(rng.choice(WORDS, 7)))
        f0, envelope, aperiodicity = world.analyse(wave)
        for onset, vowel, coda in syllables(phones):
            spans = [[round(t * world.FRAMES_PER_SECOND) for t in phone[1:]] for phone in (*onset, vowel, *coda)]
            low, high = spans[0][0], spans[-1][1]
            vowel_low, vowel_high = spans[len(onset)]
            if high > len(f0) or vowel_high - vowel_low < 9:
                continue
            silent = np.zeros(high - low, bool)
            for phone, (a, b) in zip((*onset, vowel, *coda), spans, strict=True):
                silent[a - low : b - low] = phone[0] in UNVOICED
            envelopes.append(envelope[low:high])
            aperiodicities.append(aperiodicity[low:high])
            unvoiced.append(silent)
            starts.append(vowel_low - low)
            ends.append(vowel_high - low)
    _level_vowels(envelopes, starts, ends)
    return Bank(
        np.concatenate(envelopes),
        np.concatenate(aperiodicities),
        np.concatenate(unvoiced),
        np.cumsum([0] + [len(e) for e in envelopes]).astype(np.int32),
        np.array(starts, np.int32),
        np.array(ends, np.int32),
    )


def _level_vowels(envelopes, starts, ends, strength=0.7):
    """Bring each syllable's vowel (coefficient 0 is its log level) most of the way to the median level, in place."""
    levels = [e[a:b, 0].mean() for e, a, b in zip(envelopes, starts, ends, strict=True)]
    for envelope, level in zip(envelopes, levels, strict=True):
        envelope[:, 0] -= strength * (level - np.median(levels))


def open_bank(voice, folder):
    """The bank of `voice` kept in `folder`, built there if it is missing."""
    path = Path(folder) / f"{voice}.npz"
    if not path.exists():
        build(voice).save(path)
    return Bank.load(path)
