"""Syllables cut from speech, as WORLD frames: what the singer sings with.

A voice speaks random words and tells when each phone ends; the words are cut into syllables around
their vowels. A bank is one .npz file without pickled objects.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompgen.data.synthetic import voices, world
from accompgen.data.synthetic.languages import LANGUAGES, PAUSES
from accompgen.data.synthetic.speech import speak
from accompgen.files import replacing

SYLLABLES = 550  # in a bank: 1.5 to 2.6 MB
_LINES, _WORDS = 15, 7  # spoken at a time at most; words of a line
_OF_A_LINE = 8  # syllables, about, that can be used
_MIN_VOICED = 0.6  # of a vowel's frames have a pitch
_MEDIAN = 7  # frames: longer than a click of one sample is in the analysis
_NOISE_DB = -1.0  # coded aperiodicity from here on means that a frame is noise at all frequencies
_MIN_VOWEL = 9  # frames of 5 ms: a shorter vowel has no middle that could be stretched


@dataclass(frozen=True)
class Bank:
    """U syllables as slices of N frames. Syllable i is frames[first[i]:first[i + 1]], its vowel
    [vowel_start[i], vowel_end[i]) counted from there.

    envelope [N, 45], aperiodicity [N, 1] float32; unvoiced [N] bool; first [U + 1],
    vowel_start [U], vowel_end [U] int32.
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
        """Write the bank as .npz, frames as float16; the file appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = {
            name: getattr(self, name).astype(np.float16) for name in ("envelope", "aperiodicity")
        }
        with replacing(path) as file:
            np.savez(file, **{**vars(self), **half})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in cls.__dataclass_fields__}
        for name in ("envelope", "aperiodicity"):
            values[name] = values[name].astype(np.float32)
        return cls(**values)


def syllables(phones, vowels):
    """Phones -> syllables (onset, vowel, coda), each a list, one and a list of phones: a cut around
    every phone that is named in `vowels`.

    A lone consonant between two vowels goes to the second; an onset has at most two consonants at
    the start of the speech and one elsewhere, a coda at most two; a pause ends both.
    """
    places = [i for i, phone in enumerate(phones) if phone[0] in vowels]
    found = []
    for k, i in enumerate(places):
        first, last = k == 0, k == len(places) - 1
        low = 0 if first else places[k - 1] + 1
        high = len(phones) if last else places[k + 1] - 1
        onset, coda = [], []
        for phone in reversed(phones[low:i]):
            if phone[0] in PAUSES or len(onset) == (2 if first else 1):
                break
            onset.insert(0, phone)
        for phone in phones[i + 1 : high]:
            if phone[0] in PAUSES or len(coda) == 2:
                break
            coda.append(phone)
        found.append((onset, phones[i], coda))
    return found


def build(name, hts_folder=None, size=SYLLABLES, seed=0):
    """Let the voice `name` speak until `size` syllables are cut: 10 s of work for 550.

    Raises: ValueError (no such voice), FileNotFoundError (it is not installed), RuntimeError (its
    engine fails, or speaks nothing that can be sung).
    """
    voice = voices.find(name)
    language = LANGUAGES[voice.language]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    cut = []
    while len(cut) < size:
        before = len(cut)
        count = min(_LINES, -(-(size - before) // _OF_A_LINE))
        lines = [" ".join(rng.choice(language.words, _WORDS)) for _ in range(count)]
        for wave, phones in speak(voice, lines, hts_folder):
            cut += _cut(wave, phones, language)
        if len(cut) == before:
            raise RuntimeError(
                f"voice {name} speaks no vowel of {_MIN_VOWEL * world.FRAME_SECONDS} s or more"
            )
    envelopes, aperiodicities, unvoiced, starts, ends = zip(*cut[:size], strict=True)
    _level_vowels(envelopes, starts, ends)
    return Bank(
        np.concatenate(envelopes),
        np.concatenate(aperiodicities),
        np.concatenate(unvoiced),
        np.cumsum([0] + [len(e) for e in envelopes]).astype(np.int32),
        np.array(starts, np.int32),
        np.array(ends, np.int32),
    )


def _cut(wave, phones, language):
    """One spoken line -> [(envelope, aperiodicity, unvoiced, vowel start, vowel end), ...]."""
    without_voice = language.unvoiced | PAUSES

    def spans(parts):
        return [[round(t * world.FRAMES_PER_SECOND) for t in phone[1:]] for phone in parts]

    def voiced(frames):
        sounding = np.zeros(frames, bool)
        for phone, (first, last) in zip(phones, spans(phones), strict=True):
            sounding[first:last] = phone[0] not in without_voice
        return sounding

    f0, envelope, aperiodicity = world.analyse(wave, voiced)
    silent, found = ~voiced(len(f0)), []
    for onset, vowel, coda in syllables(phones, language.vowels):
        places = spans((*onset, vowel, *coda))
        (low, _), (start, end), (_, high) = places[0], places[len(onset)], places[-1]
        # a vowel that was whispered or creaks would be sung as noise
        if high > len(f0) or end - start < _MIN_VOWEL or (f0[start:end] > 0).mean() < _MIN_VOICED:
            continue
        frames = slice(low, high)
        syllable = (envelope[frames], aperiodicity[frames], silent[frames], start - low, end - low)
        found.append(_mended(*syllable))
    return found


def _mended(envelope, aperiodicity, unvoiced, start, end):
    """A syllable without the faults that stretching would make long: clicks where the synthesis
    joined recordings within the vowel, and voiced frames that D4C took for noise (0 dB)."""
    envelope, aperiodicity = envelope.copy(), aperiodicity.copy()
    wide = np.pad(envelope[start:end], ((_MEDIAN // 2, _MEDIAN // 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, _MEDIAN, axis=0)
    envelope[start:end] = np.median(windows, axis=-1)
    periodic = np.flatnonzero(~unvoiced & (aperiodicity[:, 0] < _NOISE_DB))
    noisy = np.flatnonzero(~unvoiced & (aperiodicity[:, 0] >= _NOISE_DB))
    if len(periodic):
        aperiodicity[noisy, 0] = np.interp(noisy, periodic, aperiodicity[periodic, 0])
    return envelope, aperiodicity, unvoiced, start, end


def _level_vowels(envelopes, starts, ends, strength=0.7):
    """Bring each syllable's vowel (coefficient 0 is its log level) most of the way to the median
    level, in place."""
    levels = [e[a:b, 0].mean() for e, a, b in zip(envelopes, starts, ends, strict=True)]
    for envelope, level in zip(envelopes, levels, strict=True):
        envelope[:, 0] -= strength * (level - np.median(levels))


def open_bank(name, folder, hts_folder=None):
    """The bank of voice `name` kept in `folder`, built there if it is missing, beside a text file
    that says whose voice it is and under what licence."""
    path = Path(folder) / f"{name}.npz"
    if not path.exists():
        build(name, hts_folder).save(path)
        path.with_suffix(".txt").write_text(voices.find(name).sentence + "\n", encoding="utf-8")
    return Bank.load(path)
