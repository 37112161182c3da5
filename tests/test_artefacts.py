"""Each figure on sound that has just that fault, and on a band that has none."""

import numpy as np
import pytest
from band_like import band, tones

from accompgen import audio
from accompgen.analysis import artefacts, frames
from accompgen.analysis.clicks import border_times, clicks, prediction_residual, seams

RATE = 24000
SECONDS = 8.0
BAND = band(SECONDS)
RNG = np.random.default_rng(1)


def clicking(mono, rate=RATE, hop=320, height=8.0, place=10):
    """The sound with a click of one sample in each frame: `height` times the level around it, which
    varies as a decoder's does."""
    wav = mono.copy()
    places = np.arange(place, len(wav), hop)
    level = np.sqrt(np.convolve(np.diff(mono, prepend=0) ** 2, np.ones(1024) / 1024, "same"))[
        places
    ]
    wav[places] -= (
        height * level * np.random.default_rng(hop).uniform(0.3, 1.7, len(places))
    ).astype(np.float32)
    return wav


# Figures at the frame rate


@pytest.mark.parametrize("rate", [24000, 44100, 48000])
def test_a_band_has_no_fault(rate):
    measures = artefacts.measure(audio.resample(BAND, RATE, rate)[None], rate)
    assert artefacts.flags(measures) == []
    assert 0.85 < measures["frame_lock"] < 1.15 and measures["hop_lock"] < 1.45
    assert abs(measures["buzz_db"]) < 1 and measures["clicks"] < 1
    assert measures["width_db"] is None and measures["correlation"] is None


def test_clicks_in_each_frame_are_every_figures_business():
    measures = artefacts.measure(clicking(BAND)[None], RATE)
    assert set(artefacts.flags(measures)) == {"frame_lock", "hop_lock", "buzz_db", "clicks"}
    assert measures["frame_lock"] > 5 and measures["buzz_db"] > 5 and measures["clicks"] > 20
    assert measures["hop_ms"] == pytest.approx(1000 / 75, rel=1e-4)


def test_faint_clicks_are_found():
    faint = frames.frame_lock(clicking(BAND, height=0.3), RATE)  # less than the treble around them
    assert 1.2 < faint < frames.frame_lock(clicking(BAND, height=1.0), RATE)


@pytest.mark.parametrize("rate", [16000, 22050, 32000, 44100, 48000])
def test_clicks_survive_another_sample_rate(rate):
    wav = audio.resample(clicking(BAND), RATE, rate)  # 32 kHz: a frame of 426.67 samples
    assert frames.frame_lock(wav, rate) > 4 and frames.buzz(wav, rate) > 5
    hop, lock = frames.find_hop(wav, rate)
    assert hop == pytest.approx(1 / 75, rel=1e-4) and lock > 4


@pytest.mark.parametrize("hop, rate", [(256, 24000), (100, 24000), (512, 24000), (1024, 44100)])
def test_an_unknown_hop_is_found(hop, rate):
    wav = clicking(audio.resample(BAND, RATE, rate), rate, hop)
    found, lock = frames.find_hop(wav, rate)
    assert found * rate == pytest.approx(hop, abs=0.01) and lock > 3
    elsewhere, lock = frames.find_hop(audio.resample(wav, rate, 48000), 48000)
    assert elsewhere == pytest.approx(hop / rate, rel=1e-4) and lock > 3


def test_another_hop_is_not_taken_for_the_codecs():
    wav = clicking(BAND, hop=441)
    assert frames.frame_lock(wav, RATE) < 1.2 < 3 < frames.frame_lock(wav, RATE, hop_hz=RATE / 441)


def test_frame_lock_of_short_sound_is_not_biased():
    """The plain figure, largest place over the mean, takes chance for a lock."""
    locks, plain = [], []
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(size=2 * RATE + 400).astype(np.float32)
        locks.append(frames.frame_lock(noise, RATE))
        places = frames.second_difference(noise)[: 150 * 320].reshape(-1, 320).mean(axis=0)
        plain.append(places.max() / places.mean())
    assert np.mean(locks) == pytest.approx(1, abs=0.03) and max(locks) < 1.2 and min(plain) > 1.1


def test_one_loud_event_makes_no_lock():
    wav = BAND.copy()
    wav[50 * 320 + 10] = 1.0
    assert frames.frame_lock(wav, RATE) == pytest.approx(frames.frame_lock(BAND, RATE), abs=0.05)
    assert frames.find_hop(wav, RATE)[1] < 1.45
    assert frames.buzz(wav, RATE) == pytest.approx(frames.buzz(BAND, RATE), abs=0.3)


def test_too_little_sound_has_no_figure():
    quiet = np.concatenate([BAND[:RATE], np.zeros(3 * RATE, np.float32)])  # a second, then nothing
    for wav in (
        BAND[: round(1.9 * RATE)],
        np.zeros(5 * RATE, np.float32),
        quiet,
        BAND[:2],
        BAND[:0],
    ):
        assert frames.frame_lock(wav, RATE) is None and frames.buzz(wav, RATE) is None
        assert frames.find_hop(wav, RATE) is None
    measures = artefacts.measure(np.zeros((2, 3 * RATE), np.float32), RATE)
    assert (
        artefacts.flags(measures) == [] and measures["crest_db"] is None and measures["clicks"] == 0
    )


def test_lines_buzz_though_they_do_not_click():
    time = np.arange(len(BAND)) / RATE
    phases = RNG.uniform(0, 2 * np.pi, 161)  # of random phase, lines make no impulse
    lines = sum(np.sin(2 * np.pi * 75 * k * time + phases[k]) for k in range(40, 160))
    buzzing = BAND + (0.001 * lines).astype(np.float32)
    assert frames.buzz(buzzing, RATE) > 5
    tone = BAND + (0.05 * np.sin(2 * np.pi * 4500 * time)).astype(np.float32)  # one line is a tone
    assert abs(frames.buzz(tone, RATE)) < 1.5
    assert abs(frames.buzz(BAND[: 3 * RATE], RATE)) < 1.5


# Peaks and clicks


def test_crest_factor_is_peak_over_rms_of_the_worse_channel():
    sine = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    assert artefacts.crest_factor(sine) == pytest.approx(20 * np.log10(2**0.5), abs=1e-3)
    peaked = 0.1 * sine
    peaked[100] = 1.0
    both = artefacts.crest_factor(np.stack([sine, peaked]))
    assert both == pytest.approx(artefacts.crest_factor(peaked)) and both > 20
    assert artefacts.crest_factor(np.zeros(100)) is None


def test_clicks_are_counted():
    wav = BAND.copy()
    places = (
        RNG.choice(np.arange(RATE // 2, len(wav) - RATE // 2, RATE // 10), 32, replace=False) + 77
    )
    wav[places] += 0.8
    assert clicks(wav, RATE) - clicks(BAND, RATE) == pytest.approx(32 / SECONDS, rel=0.15)
    assert clicks(np.zeros(RATE, np.float32), RATE) == clicks(np.zeros(10, np.float32), RATE) == 0


def test_attacks_and_noise_are_no_clicks():
    noise = RNG.normal(size=5 * RATE).astype(np.float32)
    gated = noise * (np.arange(len(noise)) // (RATE // 10) % 2)  # begins and ends within a sample
    for wav in (BAND, noise, gated):
        assert clicks(wav, RATE) < 1


def test_prediction_takes_tones_away_and_leaves_what_is_new():
    tone = (0.5 * tones([220], 2.0, RATE, 1.0)).astype(np.float32)
    tone[RATE] += 0.01
    residual = np.abs(prediction_residual(tone))
    assert residual.shape == tone.shape and RATE <= 200 + residual[200:].argmax() <= RATE + 32
    assert residual[RATE] == pytest.approx(0.01, rel=0.2) and residual[200:RATE].max() < 0.005


# Seams


def test_a_break_where_windows_meet():
    borders = border_times(SECONDS, 3.2, 1.6)
    assert list(borders) == pytest.approx([3.2, 4.8, 6.4])
    jumping, breaking = BAND.copy(), BAND.copy()
    for i, border in enumerate(borders):
        start = round(border * RATE)
        jumping[start:] = BAND[start:] * (0.05, 3.0, 0.05)[i]
        breaking[start] += 0.3
    assert seams(jumping, RATE, borders)["seam_jump"] > 0.9
    assert seams(breaking, RATE, borders)["seam_click"] > 0.98
    for value in seams(BAND, RATE, np.arange(0.3, 7.6, 0.4583)).values():  # times without a meaning
        assert value == pytest.approx(0.5, abs=0.2)


def test_borders_outside_the_sound_say_nothing():
    assert seams(BAND, RATE, [0.0, 0.01, SECONDS, 99]) == {"seam_jump": None, "seam_click": None}
    assert seams(BAND[:10], RATE, [1.0]) == {"seam_jump": None, "seam_click": None}
    with pytest.raises(ValueError, match="at least 0.1 s"):
        border_times(10, 5, 0)


# Where the sound ends, and how wide it is


def test_bandwidth_is_where_the_spectrum_ends():
    noise = RNG.normal(size=4 * RATE).astype(np.float32)
    assert artefacts.bandwidth(noise, RATE) == pytest.approx(12000, abs=120)
    spectrum = np.fft.rfft(noise)
    spectrum[5000 * 4 :] = 0
    assert artefacts.bandwidth(np.fft.irfft(spectrum), RATE) == pytest.approx(5000, abs=150)
    assert artefacts.bandwidth(audio.resample(BAND, RATE, 48000), 48000) == pytest.approx(
        12000, abs=300
    )
    assert artefacts.bandwidth(np.zeros(RATE), RATE) is None


def test_width_and_correlation():
    left, right = RNG.normal(size=(2, 2 * RATE))
    assert artefacts.stereo(np.stack([left, left])) == (-100, pytest.approx(1))
    assert artefacts.stereo(np.stack([left, -left])) == (100, pytest.approx(-1))
    width, correlation = artefacts.stereo(np.stack([left, right]))
    assert abs(width) < 0.2 and abs(correlation) < 0.03
    assert artefacts.stereo(np.stack([left + right, left - right]) / 2)[0] == pytest.approx(
        0, abs=0.2
    )
    assert artefacts.stereo(np.stack([left, 0 * left])) == (pytest.approx(0), None)
    assert artefacts.stereo(left) == artefacts.stereo(np.zeros((2, 9))) == (None, None)


def test_the_worse_channel_and_the_difference_of_both_are_heard():
    clean, other = BAND, band(SECONDS, seed=5)
    assert artefacts.worst(frames.frame_lock, np.stack([clean, clicking(other)]), RATE) > 5
    side = clicking(0.02 * other)
    wide = np.stack([clean + side, clean - side])
    in_channels = max(frames.frame_lock(channel, RATE) for channel in wide)
    assert artefacts.worst(frames.frame_lock, wide, RATE) > 2 * in_channels
    assert (
        len(artefacts.signals(np.stack([clean, clean]))) == 1 and len(artefacts.signals(clean)) == 1
    )
