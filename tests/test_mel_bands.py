"""Mel bands: where they lie, and that none of them is deaf."""

import warnings

import numpy as np
import pytest

from accompgen.analysis.mel_bands import TOO_NARROW, band_edges, filled_triangles, triangles


def test_bands_begin_peak_and_end_in_equal_steps_of_the_scale():
    edges = band_edges(10, 100.0, 8_000.0)
    assert edges.shape == (12,) and edges[[0, -1]] == pytest.approx([100, 8_000])
    assert np.diff(2595 * np.log10(1 + edges / 700), 2) == pytest.approx(np.zeros(10), abs=1e-6)
    filters = triangles(4096, 10, 100.0, 8_000.0, 24_000)
    hertz = np.arange(2049) * 24_000 / 4096
    assert filters.shape == (2049, 10) and filters.max() <= 1
    np.testing.assert_allclose(hertz[filters.argmax(axis=0)], edges[1:-1], atol=3.0)
    for band, (low, high) in enumerate(zip(edges[:-2], edges[2:])):
        assert np.array_equal(filters[:, band] > 0, (hertz > low) & (hertz < high))


def test_no_band_is_empty_however_narrow():
    narrow = 512, 160, 40.0, 11_000.0, 24_000
    with pytest.warns(UserWarning, match="all zero"):
        bare = triangles(*narrow)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = filled_triangles(*narrow)
    assert not bare.max(axis=0).all() and filled.max(axis=0).min() >= TOO_NARROW
    changed = filled != bare
    assert changed.sum(axis=0).max() == 1 and (filled[changed] == TOO_NARROW).all()


def test_another_scale_is_the_librarys_own():
    slaney = triangles(512, 40, 0.0, 8_000.0, 16_000, norm="slaney", mel_scale="slaney")
    assert slaney.max() < 0.05  # of equal area
    np.testing.assert_array_equal(slaney == 0, triangles(512, 40, 0.0, 8_000.0, 16_000, mel_scale="slaney") == 0)
