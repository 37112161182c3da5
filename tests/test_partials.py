"""The haze above 1 kHz is gathered on the multiples of the tones below, and keeps its power."""

import math

import numpy as np
import pytest
import torch

from accompgen.tokens import partials
from accompgen.tokens.partials import AROUND_FRAMES, gathered

RATE, HOP, LOWER = 48_000, 640, 8
FRAMES = 75
SAMPLES = FRAMES * HOP
PITCH = 400.0


@pytest.fixture(scope="module")
def tones():
    """A tone of three partials [1, T] at 48 kHz and at 6 kHz."""

    def at(rate):
        time = torch.arange(SAMPLES * rate // RATE) / rate
        return (
            0.05 * sum(torch.sin(2 * math.pi * PITCH * order * time) for order in (1, 2, 3))[None]
        )

    return at(RATE), at(RATE // LOWER)


def noise(amplitude=0.01, seed=0):
    return amplitude * torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(seed))


def inner(wav):
    return wav[:, AROUND_FRAMES * HOP : -AROUND_FRAMES * HOP]


def spectrum(wav):
    window = np.hanning(9600)  # bins of 5 Hz
    pieces = np.lib.stride_tricks.sliding_window_view(wav[0].numpy(), 9600)[::2400] * window
    return (np.abs(np.fft.rfft(pieces)) ** 2).mean(axis=0)


def band(powers, low, high):
    return powers[round(low / 5) : round(high / 5)].sum()


def test_noise_is_gathered_on_the_multiples(tones):
    tone, low = tones
    before, after = spectrum(inner(noise())), spectrum(gathered(tone + noise(), low, RATE, HOP))
    for order in (5, 7, 10, 16):
        on, off = PITCH * order, PITCH * order + 90

        def contrast(powers, on=on, off=off):
            return 10 * np.log10(band(powers, on - 25, on + 25) / band(powers, off - 25, off + 25))

        assert abs(contrast(before)) < 4
        assert contrast(after) > contrast(before) + 10
        # a band without a multiple stays as it is
        assert band(after, on + 180, on + 220) == pytest.approx(
            band(before, on + 180, on + 220), rel=0.5
        )


def test_a_band_keeps_its_power(tones):
    tone, low = tones
    before, after = (
        spectrum(inner(tone + noise())),
        spectrum(gathered(tone + noise(), low, RATE, HOP)),
    )
    for start in range(2000, 9000, 1000):
        change = 10 * np.log10(band(after, start, start + 1000) / band(before, start, start + 1000))
        assert abs(change) < 1.5
    for start, stop in ((50, 1000), (12_500, 24_000)):  # where nothing is done
        assert band(after, start, stop) == pytest.approx(band(before, start, stop), rel=1e-3)


def test_without_tones_nothing_changes():
    low = torch.randn(1, SAMPLES // LOWER, generator=torch.Generator().manual_seed(1)) * 0.05
    torch.testing.assert_close(gathered(noise(), low, RATE, HOP), inner(noise()), rtol=0, atol=2e-3)
    whole, silence = torch.zeros(1, SAMPLES), torch.zeros(1, SAMPLES // LOWER)
    assert torch.equal(gathered(whole, silence, RATE, HOP), inner(whole))
    torch.testing.assert_close(
        gathered(noise(), silence, RATE, HOP), inner(noise()), rtol=0, atol=1e-6
    )


def test_a_cut_gives_the_same_samples(tones):
    tone, low = tones
    sound = tone + noise()
    whole = gathered(sound, low, RATE, HOP)
    first, stop = 20, 50
    part = gathered(
        sound[:, first * HOP : stop * HOP],
        low[:, first * HOP // LOWER : stop * HOP // LOWER],
        RATE,
        HOP,
    )
    torch.testing.assert_close(
        part, whole[:, first * HOP : (stop - 2 * AROUND_FRAMES) * HOP], rtol=0, atol=1e-5
    )


def test_rows_do_not_hear_each_other(tones):
    tone, low = tones
    sounds = torch.cat([tone + noise(), noise(seed=2)])
    lows = torch.cat([low, torch.zeros_like(low)])
    both = gathered(sounds, lows, RATE, HOP)
    for row in range(2):
        alone = gathered(sounds[row : row + 1], lows[row : row + 1], RATE, HOP)
        torch.testing.assert_close(both[row : row + 1], alone, rtol=0, atol=1e-6)


def test_a_mean_is_that_of_the_bins_around():
    values = torch.rand(2, 3, 100, generator=torch.Generator().manual_seed(3))
    found = partials._smoothed(values, 18.75)
    padded = torch.cat([values[..., 1:8].flip(-1), values, values[..., -8:-1].flip(-1)], dim=-1)
    expected = torch.stack([padded[..., at : at + 15].mean(-1) for at in range(100)], dim=-1)
    torch.testing.assert_close(found, expected)
