"""Speech <-> WORLD frames (spectral envelope, aperiodicity, pitch); the only file that imports pyworld.

WORLD: Morise, Yokomori, Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system", 2016.
"""

import warnings

import numpy as np

SAMPLE_RATE = 16000
FRAME_SECONDS = 0.005
FRAMES_PER_SECOND = 200
COEFFICIENTS = 45  # of the coded spectral envelope
_ANALYSIS_FFT = 1024
SYNTHESIS_FFT = 512
BINS = SYNTHESIS_FFT // 2 + 1


def _pyworld():
    try:
        with warnings.catch_warnings():
            # pyworld 0.3.5 warns on import that pkg_resources will go; setup.cfg holds setuptools back
            warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
            import pyworld
    except ImportError as error:
        raise ImportError(
            f"singing needs pyworld ({error}): pip install 'accompgen[train]' (pyworld 0.3.5 wants 'setuptools<81')"
        ) from error
    return pyworld


def analyse(wave, voiced):
    """Frames of speech.

    Args:
        wave: [T] at 16 kHz.
        voiced: function of the number of frames -> [N] bool, where the speech is known to be voiced.
            The pitch is interpolated there where none was found, as at the joins of diphones.

    Returns: f0 [N] in Hz as found, 0 where none was; coded envelope [N, 45]; coded aperiodicity [N, 1].
    """
    pw = _pyworld()
    wave = np.ascontiguousarray(wave, dtype=np.float64)
    found, times = _pitch(wave, SAMPLE_RATE, 60, 600)
    f0 = found.copy()
    pitched, gaps = np.flatnonzero(found), np.flatnonzero(voiced(len(found)) & (found == 0))
    if len(pitched):
        f0[gaps] = np.interp(gaps, pitched, found[pitched])
    envelope = pw.cheaptrick(wave, f0, times, SAMPLE_RATE, fft_size=_ANALYSIS_FFT)
    aperiodicity = pw.d4c(wave, f0, times, SAMPLE_RATE, fft_size=_ANALYSIS_FFT)
    return (
        found,
        pw.code_spectral_envelope(envelope, SAMPLE_RATE, COEFFICIENTS).astype(np.float32),
        pw.code_aperiodicity(aperiodicity, SAMPLE_RATE).astype(np.float32),
    )


def decode(envelope, aperiodicity):
    """Coded frames -> (power spectrum [N, 257], aperiodicity [N, 257] in 0 to 1) at the synthesis FFT size."""
    pw = _pyworld()
    return (
        pw.decode_spectral_envelope(np.ascontiguousarray(envelope, dtype=np.float64), SAMPLE_RATE, SYNTHESIS_FFT),
        pw.decode_aperiodicity(np.ascontiguousarray(aperiodicity, dtype=np.float64), SAMPLE_RATE, SYNTHESIS_FFT),
    )


def synthesise(f0, spectrum, aperiodicity):
    """Frames -> wave [T] float64 at 16 kHz."""
    frames = (np.ascontiguousarray(a, dtype=np.float64) for a in (f0, spectrum, aperiodicity))
    return _pyworld().synthesize(*frames, SAMPLE_RATE, FRAME_SECONDS * 1000)


def pitch(wave, rate, floor_hz=60.0, ceiling_hz=1100.0):
    """f0 of a voice, wave [T] -> [N] in Hz every 5 ms, 0 where unvoiced (DIO refined by StoneMask).

    WORLD's other method, Harvest, hears no pitch in a tone that is clean.
    """
    return _pitch(np.ascontiguousarray(wave, dtype=np.float64), rate, floor_hz, ceiling_hz)[0]


def _pitch(wave, rate, floor_hz, ceiling_hz):
    pw = _pyworld()
    rough, times = pw.dio(wave, rate, f0_floor=floor_hz, f0_ceil=ceiling_hz, frame_period=FRAME_SECONDS * 1000)
    return pw.stonemask(wave, rough, times, rate), times
