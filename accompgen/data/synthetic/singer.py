"""A melody becomes singing: one syllable of a bank a note, pitch from the score.

The onset consonants come before the note, its vowel is stretched over it, and the pitch follows the score as the step
response of a second-order system with scoops, delayed vibrato, drift and jitter on top.
"""

from dataclasses import dataclass, replace

import numpy as np

from accompgen.data.synthetic import world

try:
    import scipy.signal
except ImportError as error:
    raise ImportError("the singer needs scipy: pip install 'accompgen[train]'") from error

FPS = world.FRAMES_PER_SECOND


@dataclass(frozen=True)
class Singer:
    """A voice and its manners. `vary` draws the second half anew for every song.

    voice: bank; warp: formants times this (over 1: a shorter vocal tract); breath 0 to 1: share of noise; ring_db: singer's
    formant around 2.9 kHz; tilt_db: per octave around 1 kHz; centre: MIDI pitch the voice is at ease with.
    """

    name: str
    voice: str
    centre: int
    warp: float
    breath: float
    vibrato_cents: float
    vibrato_hz: float
    ring_db: float
    tilt_db: float
    glide: float = 48.0  # rad/s: how fast the pitch reaches a new note
    damping: float = 0.72
    scoop: float = 0.3  # share of the notes begun from below
    detune_cents: float = 0.0
    room_seconds: float = 0.0  # 0: dry
    room_db: float = -20.0
    noise_db: float = -70.0  # noise floor against the peak

    @property
    def range(self):
        """Lowest and highest MIDI pitch to give this singer."""
        return self.centre - 14, self.centre + 15


PRESETS = (
    Singer("alto", "slt", 64, 1.00, 0.10, 45, 5.6, 2, 0.0),
    Singer("soprano", "slt", 68, 1.08, 0.05, 55, 6.0, 5, 1.0),
    Singer("breathy alto", "slt", 64, 1.03, 0.40, 30, 5.4, 0, -1.0),
    Singer("child", "slt", 69, 1.18, 0.15, 25, 5.2, 0, 0.0),
    Singer("mezzo", "rms", 65, 1.17, 0.20, 40, 5.5, 2, -0.5),
    Singer("contralto", "awb", 63, 1.15, 0.12, 38, 5.5, 3, 0.0),
    Singer("baritone", "rms", 54, 1.00, 0.08, 40, 5.2, 4, 0.0),
    Singer("bass", "rms", 50, 0.92, 0.10, 35, 5.0, 3, -1.0),
    Singer("tenor", "awb", 57, 1.00, 0.10, 40, 5.4, 3, 0.0),
    Singer("light tenor", "awb", 59, 1.08, 0.20, 30, 5.6, 1, 0.5),
    Singer("plain baritone", "kal16", 54, 1.00, 0.05, 30, 5.3, 3, 0.0),
)


def vary(singer, rng):
    """The same type of singer on another day, in another room, before another microphone."""
    dry = rng.random() < 0.25
    return replace(
        singer,
        warp=singer.warp * float(np.exp(rng.normal(0, 0.03))),
        breath=float(np.clip(singer.breath + rng.normal(0, 0.07), 0, 0.6)),
        vibrato_cents=singer.vibrato_cents * float(rng.uniform(0.2, 1.2)),
        vibrato_hz=singer.vibrato_hz + float(rng.normal(0, 0.25)),
        ring_db=singer.ring_db + float(rng.normal(0, 1.5)),
        tilt_db=singer.tilt_db + float(rng.normal(0, 0.8)),
        glide=float(rng.uniform(38, 60)),
        damping=float(rng.uniform(0.6, 0.85)),
        scoop=float(rng.uniform(0.05, 0.45)),
        detune_cents=float(np.clip(rng.normal(0, 6), -15, 15)),
        room_seconds=0.0 if dry else float(rng.uniform(0.2, 1.4)),
        room_db=float(rng.uniform(-28, -13)),
        noise_db=float(rng.uniform(-85, -52)),
    )


def sing(notes, singer, bank, rng, seconds):
    """Sing `notes` (monophonic, sorted, seconds from 0) -> wave [T] float32 at 16 kHz, `seconds` long, peak 0.7.

    ValueError where there is no note to sing.
    """
    if not notes:
        raise ValueError("no notes to sing: choose an excerpt in which the melody sounds")
    frames = int(seconds * FPS) + 1
    source, voiced, sounding, gain = _place_syllables(notes, bank, rng, frames)
    envelope = _interpolated(bank.envelope, source)
    envelope = scipy.signal.savgol_filter(envelope, 5, 1, axis=0)  # smooths the joins
    spectrum, aperiodicity = world.decode(envelope, _interpolated(bank.aperiodicity, source))
    f0 = pitch_curve(notes, frames, singer, rng)
    f0[~(voiced & sounding)] = 0
    log_power = _coloured(np.log(spectrum + 1e-16), singer)
    log_power += 2 * np.log(np.maximum(scipy.signal.lfilter([0.3], [1, -0.7], gain), 1e-4))[:, None]
    log_power[~voiced & sounding] += np.log(10) / 10 * rng.uniform(2, 7)  # spoken consonants are weak for singing
    aperiodicity[~voiced] = 1
    noise_share = singer.breath * np.clip(np.linspace(0.3, 1.6, world.BINS), 0, 1)
    aperiodicity = 1 - (1 - aperiodicity) * (1 - noise_share)
    _add_breaths(notes, log_power, aperiodicity, f0, rng)
    wave = world.synthesise(f0, np.exp(log_power), aperiodicity)
    return _in_room(wave, singer, rng)[: round(seconds * world.SAMPLE_RATE)]


def pitch_curve(notes, frames, singer, rng):
    """f0 [frames] in Hz every 5 ms for the whole line, gaps included."""
    steps = np.full(frames, np.nan)
    for note in notes:
        steps[int(note.start * FPS) : int(note.end * FPS)] = note.pitch + rng.normal(0, 0.06)
    known = np.flatnonzero(~np.isnan(steps))
    held = np.maximum.accumulate(np.where(np.isnan(steps), known[0], np.arange(frames)))
    steps = steps[held]
    early = int(0.03 * FPS)  # the glide begins 30 ms before the note
    steps = np.concatenate([steps[early:], np.full(early, steps[-1])])
    w, z = singer.glide, singer.damping
    b, a = scipy.signal.bilinear([w * w], [1, 2 * z * w, w * w], FPS)
    curve = scipy.signal.lfilter(b, a, steps - steps[0]) + steps[0]
    for note in notes:
        _ornament(curve, int(note.start * FPS), min(frames, int(note.end * FPS)), singer, rng)
    drift = scipy.signal.lfilter([0.05], [1, -0.95], rng.normal(size=frames)) * 0.25
    jitter = rng.normal(size=frames) * 0.03
    return 440 * 2 ** ((curve + drift + jitter + singer.detune_cents / 100 - 69) / 12)


def _ornament(curve, first, last, singer, rng):
    """Scoop, delayed vibrato and fall-off of one note, in place, in semitones."""
    length = last - first
    if length > 20 and rng.random() < singer.scoop:
        k = min(length, 24)
        curve[first : first + k] -= rng.uniform(0.5, 1.8) * np.linspace(1, 0, k) ** 2
    if length > 70:
        onset = int(rng.uniform(0.18, 0.35) * FPS)
        k = length - onset
        rate = singer.vibrato_hz * (1 + 0.04 * rng.normal()) * (1 + 0.03 * rng.normal(size=k))
        depth = singer.vibrato_cents / 100 * rng.uniform(0.5, 1.2)
        curve[first + onset : last] += np.minimum(1, np.arange(k) / 60) * depth * np.sin(2 * np.pi * np.cumsum(rate) / FPS)
    if length > 40 and rng.random() < 0.2:
        curve[last - 16 : last] -= rng.uniform(0.3, 1.5) * np.linspace(0, 1, 16) ** 2


def _place_syllables(notes, bank, rng, frames):
    """One syllable a note -> source [frames] (real-valued bank frame), voiced, sounding [frames] bool, gain [frames]."""
    source = np.full(frames, np.nan)
    voiced = np.zeros(frames, bool)
    gain = np.zeros(frames, np.float32)
    previous_start, previous_end, unit = 0, 0, None
    for i, note in enumerate(notes):
        first, last = int(note.start * FPS), int(note.end * FPS)
        following = int(notes[i + 1].start * FPS) if i + 1 < len(notes) else last + FPS
        legato = following - last < 16
        last = following if legato else last
        melisma = unit is not None and first - previous_end < 3 and rng.random() < 0.1  # keeps the last vowel
        unit = unit if melisma else int(rng.integers(len(bank)))
        vowel_start, vowel_end = int(bank.vowel_start[unit]), int(bank.vowel_end[unit])
        size = int(bank.first[unit + 1] - bank.first[unit])
        room_before = max(4, (first - previous_start) // 2) if first - previous_end < 3 else first
        onset = 0 if melisma else min(vowel_start, 28, room_before, first)
        coda = 0 if legato and rng.random() < 0.6 else min(size - vowel_end, max(0, (last - first) // 3))
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
    """Bank frames that make the vowel [start, end) `length` frames long: its edges as spoken, its middle wandering."""
    size = end - start
    if length <= size:
        return np.linspace(start, end - 1, length)
    edge = min(8, size // 3)
    middle = length - 2 * edge
    low, high = start + edge, end - 1 - edge
    wander = np.cumsum(rng.normal(size=middle) * 0.15)
    middle_path = np.clip(np.linspace(low, high, middle) + wander - np.linspace(0, wander[-1], middle), low, high)
    return np.concatenate([np.arange(start, start + edge), middle_path, np.arange(end - edge, end)])


def _interpolated(frames, source):
    """Rows of frames [N, D] at real-valued places source [M] -> [M, D]."""
    low = np.minimum(source.astype(int), len(frames) - 2)
    share = (source - low)[:, None].astype(np.float32)
    return frames[low] * (1 - share) + frames[low + 1] * share


def _coloured(log_power, singer):
    """Formant warp, singer's formant and tilt on log power spectra [N, 257]."""
    place = np.arange(world.BINS) / singer.warp
    low = np.clip(place.astype(int), 0, world.BINS - 2)
    share = np.clip(place - low, 0, 1)
    warped = log_power[:, low] * (1 - share) + log_power[:, low + 1] * share
    hz = np.arange(world.BINS) * world.SAMPLE_RATE / world.SYNTHESIS_FFT
    decibels = singer.ring_db * np.exp(-0.5 * ((hz - 2900) / 500) ** 2)
    decibels += singer.tilt_db * np.log2(np.maximum(hz, 200) / 1000)
    return warped + decibels * np.log(10) / 10


def _add_breaths(notes, log_power, aperiodicity, f0, rng):
    """A breath before most phrases that follow a gap of more than 0.4 s, in place."""
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
        log_power[first:last] = np.log(1e-7 * 10 ** rng.uniform(0, 0.8)) + shape + swell
        f0[first:last] = 0
        aperiodicity[first:last] = 1


def _in_room(wave, singer, rng):
    """Reverberation (shaped noise), noise floor, peak 0.7."""
    if singer.room_seconds > 0:
        n = int(singer.room_seconds * world.SAMPLE_RATE)
        response = rng.normal(size=n) * np.exp(-6.9 * np.arange(n) / n) * np.minimum(1, np.arange(n) / 200)
        response = scipy.signal.lfilter([1], [1, -rng.uniform(0.2, 0.7)], response)
        response /= np.sqrt((response**2).sum())
        wave = wave + scipy.signal.fftconvolve(wave, response)[: len(wave)] * 10 ** (singer.room_db / 20)
    wave = wave + rng.normal(size=len(wave)) * np.abs(wave).max() * 10 ** (singer.noise_db / 20)
    return (wave / np.abs(wave).max() * 0.7).astype(np.float32)
