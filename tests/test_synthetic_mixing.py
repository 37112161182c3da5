"""The desk: places, rooms, tone, loudness, the bus. On noise and tones; no soundfont is needed."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed (extra `train`)")

from accompgen import audio
from accompgen.data.synthetic.band import PARTS, STEMS
from accompgen.data.synthetic.effects import Bus, Filter, Room, bus_gain, finish, impulse_response, tone
from accompgen.data.synthetic.mixing import draw_mix, mix_stems

RATE = 48_000
DRY = Room(0.3, 0.1, 0.0, 0)


def noise(seconds=2.0, seed=0):
    return (0.1 * np.random.default_rng(seed).normal(size=(2, round(seconds * RATE)))).astype(np.float32)


def decibel(wave):
    return 10 * np.log10(np.mean(np.square(wave)))


def beats(seconds=4.0, level=0.5):
    """A soft tone with a loud knock every half second [2, T]."""
    time = np.arange(round(seconds * RATE)) / RATE
    knocks = level * np.exp(-(time % 0.5) / 0.01) * np.sin(2 * np.pi * 180 * (time % 0.5))
    return np.stack([0.05 * np.sin(2 * np.pi * 220 * time) + knocks] * 2).astype(np.float32)


# the whole


@pytest.fixture(scope="module")
def mixed():
    parts = {part: noise(seed=i) for i, part in enumerate(PARTS)}
    mix = draw_mix(parts, np.random.default_rng(0))
    return parts, mix, mix_stems(parts, mix, RATE)


def test_stems_have_the_loudness_that_is_drawn_before_the_bus(mixed):
    _, mix, stems = mixed
    assert {wave.shape for wave in stems.values()} == {(2, 2 * RATE)} and stems.keys() == STEMS.keys()
    turned = {stem: audio.loudness(wave, RATE) - mix.loudness[stem] for stem, wave in stems.items()}
    assert max(turned.values()) - min(turned.values()) < 0.5 and -12 < min(turned.values()) < 0.5  # one gain for all


def test_a_mix_is_decided_by_its_seed(mixed):
    parts, mix, stems = mixed
    again = mix_stems(parts, draw_mix(parts, np.random.default_rng(0)), RATE)
    assert all(np.array_equal(stems[stem], again[stem]) for stem in STEMS)
    assert draw_mix(parts, np.random.default_rng(1)) != mix


def test_who_does_not_play_is_silent():
    parts = {"bass": noise(1.0)}
    stems = mix_stems(parts, draw_mix(parts, np.random.default_rng(0)), RATE)
    assert stems["bass"].any() and not stems["drums"].any() and not stems["harmony"].any()


def test_places_are_where_they_belong():
    """Over many drawings: bass in the middle and narrow, keys and lead on either side, all within the field."""
    drawn = [draw_mix(PARTS, np.random.default_rng(seed)) for seed in range(30)]
    assert all(mix.pans["bass"] == mix.pans["drums"] == 0 and mix.widths["bass"] <= 0.2 for mix in drawn)
    assert all(mix.pans["keys"] * mix.pans["lead"] <= 0 for mix in drawn)
    assert np.ptp([mix.pans["keys"] for mix in drawn]) > 0.5
    mix = max(drawn, key=lambda m: m.pans["keys"])
    parts = {part: noise(1.0, seed=i) for i, part in enumerate(PARTS)}
    heard = mix_stems({part: parts[part] for part in ("keys", "bass")}, mix, RATE)
    left, right = (decibel(channel) for channel in heard["harmony"])
    assert right > left + 2
    middle, side = heard["bass"].sum(axis=0), heard["bass"][0] - heard["bass"][1]
    assert decibel(side) < decibel(middle) - 10


def test_the_mix_is_written_down_whole(mixed):
    _, mix, _ = mixed
    values = mix.as_dict()
    assert values.keys() == vars(mix).keys() and values["room"]["seconds"] == mix.room.seconds
    assert values["filters"]["bass"][0] == {"kind": "highpass", "hz": mix.filters["bass"][0].hz, "db": 0.0, "q": 0.707}


# rooms


@pytest.mark.parametrize("seconds", [0.4, 1.6])
def test_a_room_rings_as_long_as_it_says(seconds):
    response = impulse_response(Room(seconds, seconds, 0.02, 3), RATE)
    assert not response[:, : int(0.019 * RATE)].any()
    assert np.square(response).sum(axis=1) == pytest.approx([1, 1], rel=1e-3)
    decay = 10 * np.log10(np.cumsum(np.square(response[0, ::-1]))[::-1] + 1e-20)  # Schroeder's integration
    time = np.arange(len(decay)) / RATE
    inside = (decay < decay[0] - 5) & (decay > decay[0] - 25)
    slope = np.polyfit(time[inside], decay[inside], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.12)
    assert abs(np.corrcoef(response)[0, 1]) < 0.1  # wide


def test_treble_dies_sooner_where_the_room_says_so():
    response = impulse_response(Room(1.5, 0.5, 0.0, 1), RATE)
    late = np.abs(np.fft.rfft(response[0, RATE // 2 : RATE])) ** 2
    hz = np.fft.rfftfreq(RATE // 2, 1 / RATE)
    assert 10 * np.log10(late[(hz > 300) & (hz < 2000)].mean() / late[hz > 8000].mean()) > 15


def test_a_send_sets_the_share_of_the_room():
    click = np.zeros((2, RATE), np.float32)
    click[:, 100] = 1
    for send in (-20.0, -8.0):
        wave = finish(click, Room(0.5, 0.5, 0.01, 2), send, (), -20.0, RATE)
        direct, reverberation = np.square(wave[:, 95:106]).sum(), np.square(wave[:, 300:]).sum()
        assert 10 * np.log10(reverberation / direct) == pytest.approx(send, abs=1)


# tone


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ((Filter("highpass", 100, 0.0, 0.707),), {20: -28, 100: -3, 2000: 0}),
        ((Filter("low shelf", 200, 6.0, 0.0),), {10: 6, 200: 4, 8000: 0}),
        ((Filter("high shelf", 4000, -6.0, 0.0),), {50: 0, 4000: -2, 23000: -6}),
        ((Filter("bell", 1000, 5.0, 1.0),), {50: 0, 1000: 5, 20000: 0}),
        ((Filter("bell", 1000, 5.0, 1.0), Filter("bell", 1000, -5.0, 1.0)), {50: 0, 1000: 0, 700: 0}),
    ],
)
def test_filters_do_what_they_say(chain, expected):
    response = tone(chain, 96_000, RATE)
    assert response.shape == (48_001,)
    for hz, level in expected.items():
        assert 20 * np.log10(abs(response[2 * hz])) == pytest.approx(level, abs=1.1), hz


def test_a_finished_stem_has_the_loudness_asked_for():
    for rate in (24_000, RATE):
        time = np.arange(3 * rate) / rate
        wave = np.stack([np.sin(2 * np.pi * 80 * time) + 0.3 * np.sin(2 * np.pi * 5000 * time)] * 2).astype(np.float32)
        assert audio.loudness(finish(wave, DRY, -90.0, (), -25.0, rate), rate) == pytest.approx(-25, abs=0.1)


# the bus


def test_the_limiter_keeps_to_its_ceiling_and_leaves_the_rest():
    wave = beats()
    ceiling = 8.0
    limited = wave * bus_gain(wave, Bus(60.0, 2.0, 0.01, 50.0, ceiling), RATE)
    assert 20 * np.log10(np.abs(wave).max()) - decibel(wave) > ceiling + 2  # it has work to do
    assert 20 * np.log10(np.abs(limited).max()) <= decibel(wave) + ceiling + 1e-3
    quiet = slice(round(0.3 * RATE), round(0.4 * RATE))
    np.testing.assert_allclose(limited[:, quiet], wave[:, quiet])


def test_the_compressor_holds_its_ratio():
    """Steady sound well above the threshold comes out nearer to it by the ratio."""
    time = np.arange(4 * RATE) / RATE
    wave = np.sin(2 * np.pi * 1000 * time) * np.where((time > 1) & (time < 2), 1.0, 0.01)
    wave = np.stack([wave, wave]).astype(np.float32)
    above = decibel(wave[:, round(1.4 * RATE) : round(1.9 * RATE)]) - decibel(wave)
    gain = 20 * np.log10(bus_gain(wave, Bus(above - 4, 2.0, 0.01, 40.0, 90.0), RATE))
    assert gain[round(1.8 * RATE)] == pytest.approx(-2, abs=0.1)  # 4 dB over, half of it taken away
    assert gain[: round(0.99 * RATE)] == pytest.approx(0, abs=1e-6) and gain[-1] == pytest.approx(0, abs=1e-3)
    assert -2 < gain[round(1.005 * RATE)] < -0.3  # the attack
    assert gain[round(2.03 * RATE)] == pytest.approx(-2 + 0.03 * 40, abs=0.45)  # the release, 40 dB a second


def test_a_gain_curve_makes_no_steps_and_silence_none_at_all():
    gain = bus_gain(beats(level=0.9), Bus(2.0, 4.0, 0.005, 60.0, 12.0), RATE)
    assert gain.min() < 0.8 and np.abs(np.diff(gain)).max() < 0.01
    assert (bus_gain(np.zeros((2, 1000), np.float32), Bus(0.0, 2.0, 0.01, 50.0, 14.0), RATE) == 1).all()
