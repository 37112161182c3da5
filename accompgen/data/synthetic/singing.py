"""A melody becomes singing: one syllable of a bank a note, pitch from the score.

The onset consonants come before the note, its vowel is stretched over it.
"""

from dataclasses import replace

import numpy as np

from accompgen.data.synthetic import world
from accompgen.data.synthetic.intonation import FPS, pitch_curve
from accompgen.data.synthetic.microphone import record

try:
    import scipy.signal
except ImportError as error:
    raise ImportError("the singer needs scipy: pip install 'accompgen[train]'") from error

_LONGEST_CONSONANTS = 28  # frames before a note, and at its end


def sing(notes, singer, bank, rng, seconds):
    """Sing `notes` (monophonic, sorted, seconds from 0).

    Args:
        notes: of a score, [Note, ...].
        singer: a Singer; bank: the Bank of its voice.
        rng: numpy generator; seconds: length of the result.

    Returns: wave [T] float32 at world.SAMPLE_RATE, `seconds` long, peak 0.7.
    Raises: ValueError where there is no note to sing.
    """
    if not notes:
        raise ValueError("no notes to sing: choose an excerpt in which the melody sounds")
    words = int(rng.integers(2**32))  # a second take sings the same ones
    wave = _take(notes, singer, bank, words, rng, seconds)
    if singer.takes == 2:
        moved = [note._replace(pitch=note.pitch + 12 * singer.second_octaves) for note in notes]
        again = replace(singer, detune_cents=singer.detune_cents + singer.second_cents)
        second = _take(moved, again, bank, words, rng, seconds)
        late = round(singer.second_seconds * world.SAMPLE_RATE)
        level = np.abs(wave).max() / np.abs(second).max() * 10 ** (singer.second_db / 20)
        wave[late:] += level * second[: len(second) - late]
    return record(wave, singer.recording, rng)


def _take(notes, singer, bank, words, rng, seconds):
    """One take, as it leaves the mouth: wave [T] float64."""
    frames = int(seconds * FPS) + 1
    source, voiced, sounding, gain = _place_syllables(
        notes, bank, np.random.default_rng(words), frames
    )
    envelope = _interpolated(bank.envelope, source)
    envelope = scipy.signal.savgol_filter(envelope, 5, 1, axis=0)  # smooths the joins
    spectrum, aperiodicity = world.decode(envelope, _interpolated(bank.aperiodicity, source))
    f0 = pitch_curve(notes, frames, singer, rng)
    f0[~(voiced & sounding)] = 0
    log_power = _coloured(np.log(spectrum + 1e-16), singer)
    decibel = 20 * np.log10(np.maximum(scipy.signal.lfilter([0.3], [1, -0.7], gain), 1e-4))
    decibel += singer.shimmer_db * rng.normal(size=frames)
    # spoken consonants are weak for singing
    decibel[~voiced & sounding] += rng.uniform(2, 7)
    log_power += decibel[:, None] * np.log(10) / 10
    aperiodicity[~voiced] = 1
    noise_share = singer.breath * np.clip(np.linspace(0.3, 1.6, world.BINS), 0, 1)
    aperiodicity = 1 - (1 - aperiodicity) * (1 - noise_share)
    level = float(np.log(spectrum[voiced & sounding].mean() + 1e-16)) if voiced.any() else -16.0
    _add_breaths(notes, level, log_power, aperiodicity, f0, rng)
    wave = world.synthesise(f0, np.exp(log_power), aperiodicity)
    return wave[: round(seconds * world.SAMPLE_RATE)]


def _place_syllables(notes, bank, rng, frames):
    """One syllable a note -> source [frames] (real-valued bank frame), voiced and sounding [frames]
    bool, gain [frames]."""
    source = np.full(frames, np.nan)
    voiced = np.zeros(frames, bool)
    gain = np.zeros(frames, np.float32)
    previous_start, previous_end, unit = 0, 0, None
    for i, note in enumerate(notes):
        first, last = int(note.start * FPS), int(note.end * FPS)
        following = int(notes[i + 1].start * FPS) if i + 1 < len(notes) else last + FPS
        legato = following - last < 16
        last = following if legato else last
        # a melisma keeps the last vowel
        melisma = unit is not None and first - previous_end < 3 and rng.random() < 0.1
        unit = unit if melisma else int(rng.integers(len(bank)))
        vowel_start, vowel_end = int(bank.vowel_start[unit]), int(bank.vowel_end[unit])
        size = int(bank.first[unit + 1] - bank.first[unit])
        room_before = max(4, (first - previous_start) // 2) if first - previous_end < 3 else first
        onset = 0 if melisma else min(vowel_start, _LONGEST_CONSONANTS, room_before, first)
        coda = min(size - vowel_end, _LONGEST_CONSONANTS, max(0, (last - first) // 3))
        if legato and rng.random() < 0.6:
            coda = 0
        path = np.concatenate(
            [
                np.linspace(vowel_start - onset, vowel_start - 1, onset),
                _stretched_vowel(vowel_start, vowel_end, max(6, last - first - coda), rng),
                np.linspace(vowel_end, size - 1, coda),
            ]
        )
        begin = first - onset
        path = np.clip(path, 0, size - 1)[: frames - begin]
        end = begin + len(path)
        if end <= begin:
            continue
        source[begin:end] = bank.first[unit] + np.minimum(path, size - 1.001)
        voiced[begin:end] = ~bank.unvoiced[bank.first[unit] + np.round(path).astype(int)]
        loudness = 10 ** ((note.velocity - 90) / 127 * 8 / 20) * rng.uniform(0.85, 1.1)
        shape = np.ones(end - begin)
        if begin - previous_end > 2:
            attack = min(6, end - begin)
            shape[:attack] *= np.linspace(0.1, 1, attack)
        if not legato:
            release = min(14, end - begin)
            shape[-release:] *= np.linspace(1, 0, release) ** 0.7
        gain[begin:end] = loudness * shape
        previous_start, previous_end = first, end
    sounding = ~np.isnan(source)
    known = np.flatnonzero(sounding)
    nearest = np.interp(np.arange(frames), known, np.arange(len(known))).astype(int)
    return source[known[nearest]], voiced, sounding, gain


def _stretched_vowel(start, end, length, rng):
    """Bank frames that make the vowel [start, end) `length` frames long: its edges as spoken, its
    middle wandering."""
    size = end - start
    if length <= size:
        return np.linspace(start, end - 1, length)
    edge = min(8, size // 3)
    middle = length - 2 * edge
    low, high = start + edge, end - 1 - edge
    wander = np.cumsum(rng.normal(size=middle) * 0.15)
    middle_path = np.clip(
        np.linspace(low, high, middle) + wander - np.linspace(0, wander[-1], middle), low, high
    )
    return np.concatenate([np.arange(start, start + edge), middle_path, np.arange(end - edge, end)])


def _interpolated(frames, source):
    """Rows of frames [N, D] at real-valued places source [M] -> [M, D]."""
    low = np.minimum(source.astype(int), len(frames) - 2)
    share = (source - low)[:, None].astype(np.float32)
    return frames[low] * (1 - share) + frames[low + 1] * share


def _coloured(log_power, singer):
    """Formant warp, singer's formant, tilt and colour on log power spectra [N, 257]."""
    place = np.arange(world.BINS) / singer.warp
    low = np.clip(place.astype(int), 0, world.BINS - 2)
    share = np.clip(place - low, 0, 1)
    warped = log_power[:, low] * (1 - share) + log_power[:, low + 1] * share
    hz = np.arange(world.BINS) * world.SAMPLE_RATE / world.SYNTHESIS_FFT
    decibels = singer.ring_db * np.exp(-0.5 * ((hz - 2900) / 500) ** 2)
    decibels += singer.tilt_db * np.log2(np.maximum(hz, 200) / 1000)
    mel = np.log1p(hz / 700) / np.log1p(hz[-1] / 700)
    for number, amount in enumerate(singer.colour_db):
        decibels += amount * np.cos(np.pi * (number + 2) * mel)
    return warped + decibels * np.log(10) / 10


def _add_breaths(notes, level, log_power, aperiodicity, f0, rng):
    """A breath before most phrases that follow a gap of more than 0.4 s, in place; `level` is the
    mean log power of what is sung."""
    hz = np.arange(world.BINS) * world.SAMPLE_RATE / world.SYNTHESIS_FFT
    shape = -2 * ((hz - 1800) / 2200) ** 2 - 1.5 * (hz < 400)
    previous_end = 0.0
    for note in notes:
        gap, previous_end = note.start - previous_end, note.end
        if gap <= 0.4 or rng.random() >= 0.8:
            continue
        first = int((note.start - 0.06 - min(0.35, gap - 0.1)) * FPS)
        last = int((note.start - 0.06) * FPS)
        if first < 0:
            continue
        swell = np.log(np.hanning(last - first) + 1e-6)[:, None]
        log_power[first:last] = level + np.log(1e-6 * 10 ** rng.uniform(0, 0.8)) + shape + swell
        f0[first:last] = 0
        aperiodicity[first:last] = 1
