"""The singer: who is drawn, where the pitch lies, what microphones and rooms do. flite where sound is needed."""

import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from accompgen.data.synthetic import voices as speakers
from accompgen.data.synthetic import world
from accompgen.data.synthetic.compose import compose
from accompgen.data.synthetic.intonation import pitch_curve
from accompgen.data.synthetic.score import Note
from accompgen.data.synthetic.singer import KINDS, choose, singer_of
from accompgen.data.synthetic.singing import sing

pytest.importorskip("pyworld", reason="pyworld is not installed (extra `train`)")
from accompgen.data.synthetic.bank import Bank  # noqa: E402
from accompgen.data.synthetic.microphone import (  # noqa: E402
    PEAK,
    Recording,
    draw_recording,
    microphone_response,
    record,
    room_response,
)

RATE = world.SAMPLE_RATE
ALL = tuple(speakers.VOICES)
PLAIN = singer_of(speakers.VOICES["slt"], KINDS["woman"][0])
STEADY = replace(PLAIN, note_cents=0.0, drift_cents=0.0, scoop=0.0, vibrato_cents=0)


def drawn(split, count, names=ALL):
    rng = np.random.default_rng(3)
    return [choose(split, names, rng) for _ in range(count)]


def test_pyworld_is_imported_without_its_warning():
    code = "from accompgen.data.synthetic import world; world._pyworld()"
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True)


# who sings


def test_one_voice_is_heard_by_validation_alone():
    for split in ("train", "test"):
        heard = {singer.voice for singer in drawn(split, 300)}
        assert speakers.UNSEEN not in heard and heard == set(ALL) - {speakers.UNSEEN}
    unseen = np.mean([singer.voice == speakers.UNSEEN for singer in drawn("validation", 200)])
    assert 0.4 < unseen < 0.6
    assert {singer.voice for singer in drawn("validation", 20, ("slt",))} == {"slt"}
    with pytest.raises(ValueError, match=f"no voice for train songs among {speakers.UNSEEN}"):
        choose("train", (speakers.UNSEEN,), np.random.default_rng(0))


def test_a_speaker_of_two_styles_is_drawn_no_oftener_than_others():
    heard = [singer.voice for singer in drawn("train", 400, ("slt", "mei", "mei-happy"))]
    assert 0.42 < heard.count("slt") / 400 < 0.58


def test_singers_are_decided_by_the_seed_and_various():
    singers = drawn("train", 300)
    assert singers == drawn("train", 300)
    assert {singer.age for singer in singers} == {"child", "adult", "old"}
    assert {singer.recording.microphone for singer in singers} == {"condenser", "dynamic", "ribbon", "telephone"}
    assert min(singer.warp for singer in singers) < 0.88 and max(singer.warp for singer in singers) > 1.2
    assert 0.55 < np.mean([singer.in_tune for singer in singers]) < 0.8
    assert 0.02 < np.mean([abs(singer.detune_cents) > 20 for singer in singers]) < 0.12
    assert 0.08 < np.mean([singer.takes == 2 for singer in singers]) < 0.22
    assert 0 < np.mean([singer.second_octaves != 0 for singer in singers]) < 0.06
    assert all(singer.tremor_cents > 0 for singer in singers if singer.age == "old")
    assert asdict(singers[0])["recording"]["microphone"] == singers[0].recording.microphone


# pitch


def cents_off(singer, seed=0, notes=None):
    """Cents between the pitch curve and a score of 20 long notes, [20, frames of a note]."""
    notes = notes or [Note(i * 1.0, i + 1.0, 60 + (i * 5) % 7, 90) for i in range(20)]
    curve = pitch_curve(notes, 4000, singer, np.random.default_rng(seed))
    sung = 1200 * np.log2(curve / 440) + 6900
    return np.stack([sung[200 * i : 200 * i + 200] - 100 * note.pitch for i, note in enumerate(notes)])


def test_the_pitch_settles_on_the_score():
    off = cents_off(STEADY)
    assert np.abs(off[:, 60:180]).max() < 30 and np.abs(off[:, 60:180].mean()) < 3


def test_a_mistuned_singer_is_as_far_off_as_told():
    off = cents_off(replace(STEADY, detune_cents=45.0))
    assert off[:, 60:180].mean() == pytest.approx(45, abs=3)


def test_an_unsure_singer_misses_each_note_by_itself():
    off = cents_off(replace(STEADY, note_cents=30.0))[:, 60:180].mean(axis=1)
    assert 18 < off.std() < 45 and cents_off(STEADY)[:, 60:180].mean(axis=1).std() < 5


def test_a_late_scoop_is_below_for_longer():
    quick, late = (
        cents_off(replace(STEADY, scoop=1.0, scoop_seconds=seconds))[1:] for seconds in (0.1, 0.35)
    )
    assert late[:, 30].mean() < -10 and abs(quick[:, 30].mean()) < 10
    assert abs(late[:, 90:180].mean()) < 5


def test_an_old_voice_trembles_at_its_rate():
    note = [Note(0.0, 20.0, 60, 90)]
    curve = pitch_curve(note, 4000, replace(STEADY, tremor_cents=25.0, tremor_hz=6.0), np.random.default_rng(0))
    cents = 1200 * np.log2(curve / 440)
    spectrum = np.abs(np.fft.rfft(cents - cents.mean())) ** 2
    hz = np.fft.rfftfreq(4000, 1 / 200)
    near = spectrum[(hz > 5) & (hz < 7)].sum()
    assert near > 0.7 * spectrum[hz > 1].sum()


# singing


def sung_share(wave, melody):
    """Share of the voiced frames within 50 cents of the score, and of the frames that are voiced."""
    found, off, expected = world.pitch(wave, RATE), [], 0
    for note in melody:
        f0 = found[int(note.start * 200) : int(note.end * 200)]
        expected += len(f0)
        off += list(12 * np.log2(f0[f0 > 0] / 440) + 69 - note.pitch)
    return np.mean(np.abs(off) < 0.5), len(off) / expected


def performance(voice, kind, seconds=8.0, seed=2):
    """A plain singer of some kind and a melody in its range."""
    singer = singer_of(speakers.VOICES[voice], kind)
    song = compose(np.random.default_rng(seed), seconds)
    octaves = int(np.round((singer.centre - np.median([n.pitch for n in song.melody])) / 12))
    return singer, song.transposed(0, octaves).melody


@pytest.mark.parametrize(("voice", "kind"), [("slt", 0), ("rms", 0), ("awb", 2)])
def test_the_singer_keeps_to_the_score(voices, voice, kind):
    singer, melody = performance(voice, KINDS[speakers.VOICES[voice].timbre][kind])
    assert singer.in_tune
    wave = sing(melody, singer, Bank.load(voices / f"{voice}.npz"), np.random.default_rng(0), 8.0)
    assert wave.shape == (8 * RATE,) and wave.dtype == np.float32 and np.abs(wave).max() == pytest.approx(PEAK, abs=1e-3)
    right, voiced = sung_share(wave, melody)
    assert right >= 0.9 and voiced > 0.7


def test_the_singer_rests_where_the_score_does(voices):
    singer, melody = performance("slt", KINDS["woman"][0])
    notes = [n for n in melody if n.end < 3] + [n for n in melody if n.start > 5]
    bank = Bank.load(voices / "slt.npz")
    wave = sing(notes, singer, bank, np.random.default_rng(0), 8.0)
    sung = wave[int(notes[0].start * RATE) : int(2.5 * RATE)]
    assert np.sqrt(np.mean(wave[int(3.3 * RATE) : int(4.2 * RATE)] ** 2)) < 0.02 * np.sqrt(np.mean(sung**2))
    with pytest.raises(ValueError, match="no notes to sing"):
        sing([], singer, bank, np.random.default_rng(0), 8.0)


def test_a_second_take_doubles_the_first(voices):
    singer, melody = performance("slt", KINDS["woman"][0], 4.0)
    bank = Bank.load(voices / "slt.npz")

    def take(**second):
        changed = replace(singer, **second, vibrato_cents=0)
        return sing(melody, changed, bank, np.random.default_rng(0), 4.0)

    once, twice = take(), take(takes=2, second_seconds=0.02)
    assert once.shape == twice.shape and not np.allclose(once, twice, atol=0.01)
    assert sung_share(twice, melody)[0] > 0.85
    below = take(takes=2, second_octaves=-1, second_db=6.0)
    octave_lower = [note._replace(pitch=note.pitch - 12) for note in melody]
    assert sung_share(below, octave_lower)[0] > 0.6 > 0.2 > sung_share(twice, octave_lower)[0]


# the recording


def band_db(wave, low, high):
    power = np.abs(np.fft.rfft(wave)) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / RATE)
    return 10 * np.log10(power[(hz >= low) & (hz < high)].mean())


def test_microphones_colour_as_told():
    noise = np.random.default_rng(0).normal(size=4 * RATE)

    def heard(**values):
        recording = Recording(noise_db=-200.0, **values)
        wave = np.convolve(noise, microphone_response(recording))[: len(noise)]
        return [band_db(wave, *band) - band_db(wave, 900, 1100) for band in ((60, 120), (3500, 4500), (6500, 7500))]

    plain = heard()
    assert np.abs(plain[:2]).max() < 1.5 and plain[2] > -4
    telephone = heard(microphone="telephone", low_cut_hz=300.0, high_cut_hz=3400.0)
    assert telephone[0] < -15 and telephone[2] < -15
    close = heard(proximity_db=8.0, presence_hz=4000.0, presence_db=6.0)
    assert close[0] == pytest.approx(7.0, abs=2) and close[1] == pytest.approx(5.5, abs=1.5)


@pytest.mark.parametrize("seconds", [0.4, 1.2])
def test_rooms_reverberate_as_long_and_as_loud_as_told(seconds):
    recording = Recording(room_seconds=seconds, room_db=-12.0)
    response = room_response(recording, np.random.default_rng(1))
    assert 10 * np.log10((response**2).sum()) == pytest.approx(-12, abs=0.1)
    left = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / (response**2).sum())  # Schroeder's integral
    fall = np.flatnonzero(left < -25)[0] - np.flatnonzero(left < -5)[0]
    assert 0.6 * seconds < 3 * fall / RATE < 1.3 * seconds


def test_noise_has_the_level_and_the_slope_told():
    voice = np.where(np.arange(4 * RATE) < 2 * RATE, np.sin(np.arange(4 * RATE) * 2 * np.pi * 300 / RATE), 0)
    for noise_db, slope in ((-30.0, 0.0), (-40.0, -6.0)):
        wave = record(voice, Recording(noise_db=noise_db, noise_slope=slope), np.random.default_rng(0))
        quiet, loud = wave[round(2.2 * RATE) :], wave[: 2 * RATE]
        found = 20 * np.log10(np.sqrt(np.mean(quiet**2) / np.mean(loud**2)))
        assert found == pytest.approx(noise_db, abs=4)
        assert band_db(quiet, 3500, 4500) - band_db(quiet, 440, 560) == pytest.approx(3 * slope, abs=3)


def test_saturation_adds_overtones_without_aliasing_or_flat_peaks():
    tone = np.sin(np.arange(RATE) * 2 * np.pi * 3000 / RATE)  # overtones at 9 and 15 kHz would fold to 7 and 1 kHz
    wave = record(tone, Recording(drive=3.0, noise_db=-200.0), np.random.default_rng(0))
    assert band_db(wave, 990, 1010) < band_db(wave, 2990, 3010) - 60
    low = np.sin(np.arange(RATE) * 2 * np.pi * 500 / RATE)
    wave = record(low, Recording(drive=3.0, noise_db=-200.0), np.random.default_rng(0))
    assert band_db(wave, 1490, 1510) > band_db(wave, 490, 510) - 25
    assert np.mean(np.abs(wave) > 0.999 * PEAK) < 0.15


def test_every_recording_is_sound_of_the_same_peak():
    voice = np.sin(np.cumsum(2 * np.pi * np.linspace(150, 400, RATE) / RATE)) * np.hanning(RATE)
    rng = np.random.default_rng(5)
    for _ in range(30):
        wave = record(voice, draw_recording(rng), rng)
        assert wave.shape == voice.shape and np.isfinite(wave).all()
        assert np.abs(wave).max() == pytest.approx(PEAK, abs=1e-4)


def test_the_pitch_of_a_clean_tone_is_heard():
    """WORLD's Harvest gives no pitch at all here."""
    tone = np.sin(np.arange(RATE) * 2 * np.pi * 220 / RATE)
    found = world.pitch(tone, RATE)
    assert np.mean(np.abs(found - 220) < 1) > 0.95
