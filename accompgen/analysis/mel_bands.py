"""Mel bands, as the library makes them: the one place that asks it."""

import warnings

import numpy as np

TOO_NARROW = 0.5  # least weight of the bin nearest to the middle of a band


def triangles(samples: int, bands: int, low: float, high: float, rate: int, **scale) -> np.ndarray:
    """Weights [samples / 2 + 1, bands] from the bins of a window of `samples` to mel bands from `low` to `high` Hz at `rate`.

    Of height 1 on the scale 2595 log10(1 + f / 700), unless `scale` says otherwise: names and values of
    transformers' `mel_filter_bank`.
    """
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(samples // 2 + 1, bands, low, high, rate, **scale)


def filled_triangles(samples: int, bands: int, low: float, high: float, rate: int) -> np.ndarray:
    """`triangles` of which none is empty: low bands are narrower than a bin, and may lie between two."""
    with warnings.catch_warnings():
        # of empty bands, which are filled below
        warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
        filters = triangles(samples, bands, low, high, rate)
    nearest = np.round(band_edges(bands, low, high)[1:-1] * samples / rate).astype(int), np.arange(bands)
    filters[nearest] = np.maximum(filters[nearest], TOO_NARROW)
    return filters


def band_edges(bands: int, low: float, high: float) -> np.ndarray:
    """Where mel bands begin, peak and end, in Hz: band i has i, i + 1 and i + 2 of [bands + 2]."""
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz

    return mel_to_hertz(np.linspace(hertz_to_mel(low), hertz_to_mel(high), bands + 2))
