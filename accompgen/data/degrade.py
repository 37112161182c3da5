"""What may stand between a voice and its listener: noise, a room, a telephone, a separator.

    white noise     of the level -30 to -5 dB against the singing
    room noise      the same, falling by 3 to 6 dB an octave, as of traffic and ventilation
    reverberation   a room of 0.3 to 1.6 s, -10 to 2 dB against the direct sound
    telephone       a band from 200 to 400 Hz up to 2.8 to 3.6 kHz
    residue         what a separator lets through of the band, -25 to -12 dB against the singing

Works at any sampling rate. What is drawn follows from the generator alone, and what is done from
the Degradation alone.
"""

from dataclasses import dataclass

import numpy as np

# decibel of what is added, against the voice
LEVELS = {
    "white noise": (-30.0, -5.0),
    "room noise": (-30.0, -5.0),
    "reverberation": (-10.0, 2.0),
    "telephone": (0.0, 0.0),
    "residue": (-25.0, -12.0),
}
KINDS = tuple(LEVELS)
FRAME_SECONDS = 0.02  # in which the level of the singing is measured
MASK_SECONDS = 0.064  # window of the separator's mask
QUIET = 1e-6  # RMS below which there is no singing to compare with


@dataclass(frozen=True)
class Degradation:
    """One of KINDS, its level in dB against the voice (a telephone has none), the seed of the rest."""

    kind: str
    decibel: float
    seed: int


def draw_degradation(rng, kind: str | None = None) -> Degradation:
    """A degradation of one kind, or of any."""
    kind = str(rng.choice(KINDS)) if kind is None else kind
    return Degradation(kind, round(float(rng.uniform(*LEVELS[kind])), 2), int(rng.integers(2**31)))


def degrade(vocal: np.ndarray, band: np.ndarray, degradation: Degradation, rate: int) -> np.ndarray:
    """The voice [T] as it is heard [T] float32; of `band` [T], which sounds beside it, residue is made.

    Raises ValueError for an unknown kind, ImportError without scipy.
    """
    # here, since copies that are not degraded do without scipy
    from accompgen.data.synthetic.microphone import background, sounding_rms

    rng = np.random.default_rng(degradation.seed)
    kind = degradation.kind
    if kind in ("white noise", "room noise"):
        slope = 0.0 if kind == "white noise" else rng.uniform(-6.0, -3.0)
        added = background(len(vocal), slope, rng, rate)
    elif kind == "reverberation":
        added = _reverberation(vocal, rng, rate)
    elif kind == "telephone":
        return _telephone(vocal, rng, rate)
    elif kind == "residue":
        added = _residue(vocal, band, rng, rate)
    else:
        raise ValueError(f"degradation {kind!r} is none of {', '.join(KINDS)}")
    frame = round(FRAME_SECONDS * rate)
    level, rms = sounding_rms(vocal, frame), sounding_rms(added, frame)
    if rms < QUIET:
        return vocal
    return (vocal + added * (level / rms * 10 ** (degradation.decibel / 20))).astype(np.float32)


def _telephone(vocal, rng, rate):
    import scipy.signal

    edges = rng.uniform(200, 400), rng.uniform(2800, 3600)
    sections = scipy.signal.butter(4, edges, "bandpass", fs=rate, output="sos")
    return scipy.signal.sosfilt(sections, vocal).astype(np.float32)


def _reverberation(vocal, rng, rate):
    import scipy.signal

    from accompgen.data.synthetic.effects import Room, impulse_response

    seconds = rng.uniform(0.3, 1.6)
    bright, predelay = seconds * rng.uniform(0.3, 0.8), rng.uniform(0.0, 0.03)
    room = Room(seconds, bright, predelay, int(rng.integers(2**31)))
    return scipy.signal.oaconvolve(vocal, impulse_response(room, rate)[0])[: len(vocal)]


def _residue(vocal, band, rng, rate):
    """The band through a mask that was made for the voice.

    A separator's mask is near the share that the voice has of a bin's energy (a Wiener filter), so
    that the band comes through where the voice is loud; beside it a floor lets some of it through.
    """
    import scipy.signal

    size = 2 ** round(np.log2(MASK_SECONDS * rate))
    transform = scipy.signal.ShortTimeFFT(np.hanning(size), size // 2, rate)
    voice, rest = transform.stft(vocal), transform.stft(band)
    power, other = np.abs(voice) ** 2, np.abs(rest) ** 2
    mask = np.maximum(power / (power + other + 1e-12), rng.uniform(0.02, 0.5))
    return transform.istft(rest * mask, k1=len(vocal))
