"""Whether a recording is a solo voice: a band has bass and bass drum below the lowest note of a singer."""

import numpy as np

from accompgen import audio

RATE, WINDOW, HOP = 16_000, 2048, 1024
BELOW = (20.0, 75.0)  # Hz: below the low notes of a bass (E2 has 82 Hz), above wind and offsets
SHARE = 0.01  # of a frame's energy, above which something sounds down there
AUDIBLE = 1e-3  # of the loudest frame's energy: quieter ones are pauses
LIMIT = 0.35  # of the audible frames


def bass_share(wav: np.ndarray, rate: int) -> float:
    """The share of the audible frames of wav [C, T] in which the band of 20 to 75 Hz holds a hundredth of the energy, 0 to 1.

    Recordings shorter than two seconds give 0: too few frames to tell.
    """
    if wav.shape[1] < 2 * rate:
        return 0.0
    mono = audio.resample(audio.to_mono(wav)[None], rate, RATE)[0]
    frames = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[::HOP]
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    inside, heard = (hertz >= BELOW[0]) & (hertz < BELOW[1]), hertz >= BELOW[0]
    low, total = np.zeros(len(frames)), np.zeros(len(frames))
    for start in range(0, len(frames), 1024):  # a minute at a time
        power = np.abs(np.fft.rfft(frames[start : start + 1024] * np.hanning(WINDOW))) ** 2
        low[start : start + 1024], total[start : start + 1024] = power[:, inside].sum(1), power[:, heard].sum(1)
    audible = total > AUDIBLE * total.max()
    return float((low[audible] > SHARE * total[audible]).mean()) if audible.any() else 0.0


def remark_on(wav: np.ndarray, rate: int) -> str | None:
    """What to say of a vocal that seems to be no solo voice; None of one that may be."""
    share = bass_share(wav, rate)
    if share <= LIMIT:
        return None
    return (
        f"this seems to be no solo voice: in {100 * share:.0f} % of it something is heard below {BELOW[1]:.0f} Hz, as a "
        "bass is; separate the voice first (accompgen prepare --separate, or demucs), or cut the rumble off with a low cut"
    )
