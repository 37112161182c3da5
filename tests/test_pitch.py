"""Which notes are sung, and what chords are made of them."""

import numpy as np
import pytest
import torch

import accompgen
from accompgen.analysis.pitch import RATE, vocal_chroma
from accompgen.chart import Chart, chord_chroma, chord_id
from accompgen.generation.charting import key_of, melody_around
from accompgen.generation.redo import redo
from accompgen.generation.sampling import Sampling
from accompgen.model.logit_bias import Weights, check, chord_score, melody_score


def note(midi, seconds, level=0.3, rate=RATE):
    """A sung note [T]: harmonics with a vibrato of a quarter of a semitone."""
    time = np.arange(round(seconds * rate)) / rate
    hertz = 440 * 2 ** ((midi - 69 + 0.25 * np.sin(2 * np.pi * 5.5 * time)) / 12)
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    return (level * sum(np.sin(k * phase) / k for k in range(1, 7)) / 2).astype(np.float32)


def test_the_sung_pitch_classes_stand_where_they_are_sung():
    silence = np.zeros(RATE, np.float32)
    chroma = vocal_chroma(np.concatenate([note(60, 1), silence, note(57, 1), silence]), 110)
    assert chroma.shape == (110, 12) and chroma.dtype == np.float32 and chroma.max() <= 1 + 1e-6
    assert chroma[3:23, 0].min() > 0.7 and chroma[53:73, 9].min() > 0.7
    assert chroma[28:48].max() == 0 and chroma[80:].max() == 0, "nobody sings in silence and behind the end"
    assert chroma.sum() == pytest.approx(47, abs=4)


def test_a_long_song_is_no_other_than_its_pieces():
    """Notes of half a second across the border of two pieces."""
    song = np.concatenate([note(midi, 0.5) for midi in (55, 62, 58, 65) * 12])
    chroma = vocal_chroma(song, 600)
    near = vocal_chroma(song[16 * RATE :], 200)
    assert np.abs(chroma[405:] - near[5:]).mean() < 0.01
    for number, midi in enumerate((55, 62, 58, 65) * 12):
        middle = chroma[round(12.5 * number) + 4 : round(12.5 * number) + 9]
        assert middle[:, midi % 12].min() > 0.7, number


def test_what_is_faint_is_not_sung():
    quiet = note(66, 1, level=0.3 * 10 ** (-60 / 20))
    assert vocal_chroma(np.concatenate([note(60, 1), quiet]), 50)[28:].max() == 0
    assert vocal_chroma(np.zeros(RATE, np.float32), 25).max() == 0 and vocal_chroma(np.zeros(0, np.float32), 2).shape == (2, 12)


def test_the_notes_of_half_a_bar_a_bar_and_the_song_count():
    chart = Chart.steady(4.0, bpm=120)  # two bars of 2 s, halves of 25 blocks
    chroma = np.zeros((100, 12), np.float32)
    chroma[0:25, 0] = chroma[25:50, 4] = chroma[50:100, 7] = 1.0
    around = melody_around(chart, chroma, 2.0)
    assert around.shape == (100, 12) and around.sum(1).max() < 4
    own, bar, far = around[10, 0], around[10, 4], around[10, 7]
    assert own > bar and far > bar > 0.8 * 0.25 * 2, "half of the song is sung on it"
    assert np.array_equal(around[0], around[24]) and not np.array_equal(around[24], around[25])
    apart = melody_around(chart, chroma, -1.0)
    assert np.allclose(around - apart, 3 * (around[0, 7] / 2)[..., None] * np.array(chroma.sum(0) / chroma.sum(0).max()))
    assert melody_around(chart, 0 * chroma, 2.0).max() == 0
    waltz = melody_around(Chart.steady(4.0, bpm=90, metre=3), chroma, 2.0)
    assert np.array_equal(waltz[1], waltz[48]), "three beats have no half"


def test_chords_with_the_sung_notes_gain(band_checkpoint):
    model = accompgen.load(band_checkpoint, device="cpu").system.stages["chart"].model
    sung = torch.zeros(1, 12, 2)
    sung[0, [0, 4], 0] = 1.0
    score = melody_score(model, sung, 2)
    assert score.shape == (1, 2, 1, len(chord_chroma())) and score[0, 1].abs().max() == 0
    of = {label: score[0, 0, 0, chord_id(label)].item() for label in ("C:maj", "A:min", "F:maj7", "Gb:maj", "N")}
    assert of["C:maj"] == pytest.approx(of["A:min"]) and of["C:maj"] > of["F:maj7"] > of["N"] == 0 > of["Gb:maj"]
    assert score[0, 0, 0, 1:].mean().abs() < 1e-6


def units_of_one_pitch(model):
    """What the units of a stage sound like: 0 to 11 have a pitch class each, the others none."""
    chroma = torch.zeros(model.layout.target.vocab, 12)
    chroma[:12] = torch.eye(12)
    return chroma


def test_units_that_play_a_chart_gain_by_its_tones_and_by_the_sung_notes(band_checkpoint):
    stages = accompgen.load(band_checkpoint, device="cpu").system.stages
    model = stages["semantic"].model
    with pytest.raises(ValueError, match="the semantic stage does not know what its ids sound like; melody is for chords"):
        check(model, Weights(melody=1.0))
    with pytest.raises(ValueError, match="the coarse stage does not know what its ids sound like; consonance is for chords"):
        check(stages["coarse"].model, Weights(consonance=1.0))
    model.unit_chroma = units_of_one_pitch(model)
    chords = torch.tensor([[[chord_id("D:min"), 0, -1]]])  # then none, then none that is known
    score = chord_score(model, {"chord": chords}, 6)
    assert score.shape == (1, 6, 1, model.layout.target.vocab) and score[:, 2:].abs().max() == 0
    expected = torch.zeros(model.layout.target.vocab)
    expected[[2, 5, 9]] = 3**-0.5
    torch.testing.assert_close(score[0, :2, 0], expected.expand(2, -1))
    sung = torch.zeros(1, 12, 3)
    sung[0, 7, 1] = 0.5
    score = melody_score(model, sung, 6)
    assert score[0, 2:4, 0, 7].tolist() == [0.5, 0.5] and score.sum() == 1


def test_a_stem_goes_by_its_chart_and_by_what_is_sung(band_checkpoint):
    """The stages have random weights: nothing else knows chords or notes."""
    model, vocal = accompgen.load(band_checkpoint, device="cpu"), (note(66, 3.0, rate=32_000)[None], 32_000)
    stage = model.system.stages["semantic"].model
    stage.unit_chroma = units_of_one_pitch(stage)
    chart = Chart.steady(3.0, bpm=120).with_chords([(0.0, 1.5, "C:maj"), (1.5, 3.01, "E:min")])
    for weights, right in (({"consonance": 99.0}, ({0, 4, 7}, {4, 7, 11})), ({"melody": 99.0}, ({6}, {6}))):
        song = model.accompany(vocal, chart=chart, stems=("drums", "bass"), sampling={"semantic/bass": Sampling(**weights)})
        drums, bass = (song.tokens[stem].semantic[0] for stem in ("drums", "bass"))
        for begin, tones in zip((10, 90), right):
            assert set(bass[begin : begin + 50].tolist()) <= tones, weights
        assert len(set(drums.tolist())) > 6, "which nothing was said of"
        again = redo(model, song, vocal, 1.0, 2.0, stems=("bass",), sampling={"semantic/bass": Sampling(**weights)})
        assert set(again.tokens["bass"].semantic[0, 80:98].tolist()) <= right[1]


@pytest.mark.parametrize("midi", [61, 66])
def test_a_chart_goes_by_what_is_sung(band_checkpoint, midi):
    """The stage has random weights: nothing else knows the notes, each of which is sung in two bars."""
    model, beats = accompgen.load(band_checkpoint, device="cpu"), Chart.steady(8.0, bpm=120)
    notes = midi, midi + 6
    vocal = np.concatenate([note(sung, 4.0, rate=32_000) for sung in notes])[None], 32_000
    has = []
    for weight in (0.0, 200.0):
        chart = model.chart(vocal, chart=beats, sampling={"chart": Sampling(melody=weight)})
        has.append([chord_chroma()[chord_id(label), notes[start >= 4] % 12] > 0 for start, _, label in chart.chords])
    assert all(has[1]) and not all(has[0])


@pytest.mark.parametrize(
    ("chords", "notes", "key"),
    [
        (("C:maj", "F:maj", "G:7", "C:maj"), (), "C:maj"),
        (("A:min", "D:min", "E:7", "A:min"), (9, 0, 4), "A:min"),
        # these chords are in both keys; the notes say which
        (("D:min", "F:maj"), (0, 2, 4, 5, 7, 9, 10), "F:maj"),
        ((), (7, 9, 11, 0, 2, 4, 6, 7, 2), "G:maj"),
        ((), (), None),
        (("N",), (), None),
    ],
)
def test_a_key_is_that_of_the_chords_and_of_what_is_sung(chords, notes, key):
    sung = np.zeros((100, 12), np.float32)
    for block, note in enumerate(notes):
        sung[block, note] += 1
    spans = [(float(second), second + 1.0, label) for second, label in enumerate(chords)]
    assert key_of(Chart(4.0).with_chords(spans), sung) == key


def test_a_chart_that_is_found_has_a_key_and_one_that_is_given_keeps_its_own(band_checkpoint):
    model, beats = accompgen.load(band_checkpoint, device="cpu"), Chart.steady(3.0, bpm=120)
    chart = beats.with_chords([(0.0, 1.0, "A:min"), (1.0, 2.0, "E:7"), (2.0, 3.01, "A:min")])
    vocal = np.concatenate([note(sung, 1.0, rate=32_000) for sung in (69, 64, 72)])[None], 32_000
    assert model.chart(vocal, chart=chart).key == "A:min"
    assert model.chart(vocal, chart=Chart(3.0, chart.beats, chart.chords, "C:maj")).key == "C:maj"
