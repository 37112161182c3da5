"""The beats of a chart as sound.

`mir_eval.sonify.clicks` cuts times down to the sample before and lets a click overwrite the one
before it, so that two calls for two kinds of clicks are needed; adding short sounds up is as short.
"""

import numpy as np

from accompgen.export.grid import grid_of

BEAT_HZ, DOWNBEAT_HZ = 1000.0, 1600.0
BEAT_GAIN, DOWNBEAT_GAIN = 0.35, 0.7
DECAY_SECONDS, CLICK_SECONDS = 0.008, 0.06


def click_track(chart, rate: int, samples: int, count_in: int = 0) -> np.ndarray:
    """Clicks on the beats, those that begin a bar higher and louder.

    Args:
        rate: in Hz.
        samples: length of the song, without the count-in.
        count_in: bars of clicks before the song's bar 1, as `grid_of` has them.

    Returns:
        float32 [1, T], T = samples and what the count-in takes (`grid_of(...).offset`). Raises
        ChartError without beats.
    """
    grid = grid_of(chart, count_in)
    wav = np.zeros(samples + round(grid.offset * rate), np.float32)
    for beat in grid.beats:
        start = round((beat.seconds + grid.offset) * rate)
        if beat.place and start < len(wav):
            sound = _click(rate, beat.place == 1)[: len(wav) - start]
            wav[start : start + len(sound)] += sound
    return wav[None]


def _click(rate, accent):
    times = np.arange(round(CLICK_SECONDS * rate)) / rate
    hz, gain = (DOWNBEAT_HZ, DOWNBEAT_GAIN) if accent else (BEAT_HZ, BEAT_GAIN)
    return (gain * np.sin(2 * np.pi * hz * times) * np.exp(-times / DECAY_SECONDS)).astype(
        np.float32
    )
