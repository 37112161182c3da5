"""A song of a band with random weights: its stems, what they hear of each other, its chart, and what is told meanwhile."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import sing

import accompgen
from accompgen import audio
from accompgen.chart import Chart
from accompgen.chart_input import ChartRequest
from accompgen.export.chart_files import score_files
from accompgen.generation import pipeline, stream
from accompgen.generation.cascade import cascade
from accompgen.generation.many import GenerateJob
from accompgen.generation.redo import redo
from accompgen.generation.schedule import Part
from accompgen.generation.song import read_song
from accompgen.generation.two_process import StageWorker, cascade_by_two
from accompgen.prompts import PromptError
from accompgen.stages import ALL, STEMS

VOCAL = (sing(1.0), 44_100)
PLAYED = Chart.steady(1.0, bpm=120).with_chords([(0.0, 0.5, "C:maj"), (0.5, 1.01, "G:7")])  # all of it is known


@pytest.fixture(scope="module")
def model(band_checkpoint):
    return accompgen.load(band_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def song(model):
    return model.accompany(VOCAL, seed=1)


def same(one, other):
    return torch.equal(one.semantic, other.semantic) and torch.equal(one.codes, other.codes)


def test_its_tracks_together_are_the_accompaniment(song):
    assert tuple(song.tracks) == tuple(song.tokens) == STEMS
    assert np.abs(sum(song.tracks.values()) - song.accompaniment).max() < 1e-6
    assert all(track.shape == song.mix.shape == (2, 44_100) and np.abs(track).max() > 0 for track in song.tracks.values())
    vocal = np.repeat(VOCAL[0], 2, axis=0)
    left = song.mix - song.accompaniment
    gain = (left * vocal).sum() / (vocal**2).sum()
    assert np.abs(left - gain * vocal).max() < 1e-6 and gain > 0
    for stem, tokens in song.tokens.items():
        assert tokens.semantic.shape == (1, 50) and tokens.codes.shape == (4, 75), stem
    with pytest.raises(ValueError, match=r"several tracks \(drums, bass, harmony\); ask for song.tokens"):
        _ = song.codes


def test_the_same_seed_gives_the_same_song(model, song):
    again, other = model.accompany(VOCAL, seed=1), model.accompany(VOCAL, seed=2)
    assert all(same(song.tokens[stem], again.tokens[stem]) for stem in STEMS) and np.array_equal(song.mix, again.mix)
    assert not any(same(song.tokens[stem], other.tokens[stem]) for stem in STEMS) and song.chart == again.chart


def test_a_stem_hears_those_before_it_and_no_later_one(model, song):
    forth, back = (model.accompany(VOCAL, seed=1, stems=stems).tokens for stems in (("drums", "bass"), ("bass", "drums")))
    alone = model.accompany(VOCAL, seed=1, stems=("bass",)).tokens
    assert same(forth["drums"], song.tokens["drums"]) and same(forth["bass"], song.tokens["bass"])
    assert same(back["bass"], alone["bass"]) and not same(back["bass"], forth["bass"])
    assert not same(back["drums"], forth["drums"])


def test_the_whole_can_be_made_at_once(model):
    song = model.accompany(VOCAL, seed=1, stems=(ALL,))
    assert tuple(song.tracks) == (ALL,) and song.codes.shape == (4, 75) and song.semantic.shape == (1, 50)


def test_a_given_chart_is_played_by(model, song):
    given = model.accompany(VOCAL, seed=1, chart=PLAYED, stems=("drums",))
    assert given.chart.chords == PLAYED.chords and given.chart.beats == PLAYED.beats
    assert given.report["chart"]["bpm"] == 120 and given.report["chart"]["chords"][1][2] == "G:7"
    assert not same(given.tokens["drums"], song.tokens["drums"])
    assert song.chart == model.chart(VOCAL, seed=1) and len(song.chart.chords) > 0


@pytest.mark.parametrize("chart, first", [(None, "chart"), (PLAYED, "drums semantic")])
def test_progress_goes_to_its_total_over_chart_and_stems(model, chart, first):
    told = []
    model.accompany(VOCAL, seed=1, chart=chart, on_progress=lambda *step: told.append(step))
    done, (total,) = [step[1] for step in told], {step[2] for step in told}
    assert done == sorted(done) and 0 < done[0] and done[-1] == total
    parts = list(dict.fromkeys(what for what, _, _ in told))
    stems = [f"{stem} {stage}" for stem in STEMS for stage in ("semantic", "coarse", "fine")]
    assert parts[0] == first and parts[-9:] == stems and len(parts) == 9 + (chart is None)


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_a_vocal_shorter_than_its_beats_has_a_chart(model, seconds):
    chart = model.chart((sing(seconds), 44_100), seed=1)
    assert len(chart.beats) >= 2 and chart.seconds == pytest.approx(seconds) and chart.chords[-1][1] == pytest.approx(seconds)


class Cancelled(Exception):
    pass


def test_its_callback_may_end_the_work(model, song):
    told = []

    def cancel(what, done, total):
        told.append(what)
        if what.startswith("bass"):
            raise Cancelled

    with pytest.raises(Cancelled):
        model.accompany(VOCAL, seed=1, on_progress=cancel)
    assert told[-1] == "bass semantic"
    assert same(model.accompany(VOCAL, seed=1, stems=("drums",)).tokens["drums"], song.tokens["drums"]), "nothing is left over"


@pytest.mark.parametrize(
    "stems, words",
    [
        (("flute",), "no stem 'flute'; this checkpoint makes drums, bass, harmony, all"),
        (("bass", "bass"), "stems are bass, bass; expected some of"),
        ((), "stems are none"),
    ],
)
def test_stems_that_cannot_be_made_are_named(model, stems, words):
    with pytest.raises(ValueError, match=words):
        model.accompany(VOCAL, stems=stems)


def test_a_checkpoint_of_one_track_has_neither_stems_nor_a_chart(tiny_checkpoint):
    plain = accompgen.load(tiny_checkpoint, device="cpu")
    assert plain.stems == (ALL,)
    with pytest.raises(ValueError, match="makes one track, named 'all'; .* band makes stems"):
        plain.accompany(VOCAL, stems=("drums",))
    with pytest.raises(ValueError, match="plays without a chart, so none can be given"):
        plain.accompany(VOCAL, chart=PLAYED)


def test_a_band_is_not_streamed(model):
    with pytest.raises(ValueError, match="makes drums, bass, harmony one after the other.*streams are for checkpoints of one"):
        stream.Stream(model, VOCAL)


def test_two_processes_make_the_codes_of_one(band_checkpoint, two_threads):
    model = pipeline.load(band_checkpoint, "cpu", helper=True, engine="torch")
    try:
        assert isinstance(model.helper, StageWorker) and "chart" in model.helper.names
        units = torch.randint(20, (1, 100), generator=torch.Generator().manual_seed(0))
        part = Part("bass", {"chord": torch.arange(50)[None, None] % 109, "others": units[None] // 2})
        found = cascade_by_two(model.system, units, model.sampling, 3, model.helper, part=part)
        torch.set_num_threads(1)
        assert same(found, cascade(model.system, units, model.sampling, 3, part=part))
    finally:
        model.helper.close()


def test_a_part_of_a_stem_is_made_again_and_nothing_else(model, tmp_path):
    audio.write(tmp_path / "voice.wav", *VOCAL)
    made = model.accompany(tmp_path / "voice.wav", seed=1, chart=PLAYED)
    made.save(tmp_path)
    song = read_song(tmp_path / "voice.json")
    assert song.chart == made.chart and list(song.tracks) == list(STEMS)
    take = redo(model, song, tmp_path / "voice.wav", 0.3, 0.7, stems=("bass",), seed=9)
    changed = np.flatnonzero((take.tracks["bass"] != song.tracks["bass"]).any(axis=0)) / 44_100
    assert 0.3 <= changed.min() < 0.31 and 0.69 < changed.max() < 0.7
    assert all(np.array_equal(take.tracks[stem], song.tracks[stem]) for stem in ("drums", "harmony"))
    mixed = np.flatnonzero((take.mix != song.mix).any(axis=0)) / 44_100
    assert 0.3 <= mixed.min() and mixed.max() < 0.7
    assert take.report["takes"] == [{"stems": ["bass"], "from": 0.3, "to": 0.7, "seed": 9}]


def test_a_take_that_cannot_be_is_refused(model, song):
    with pytest.raises(ValueError, match="from 0.5 to 3 s is no part of a song of 1.00 s"):
        redo(model, song, VOCAL, 0.5, 3.0)
    with pytest.raises(ValueError, match="no stem 'flute'; this song has drums, bass, harmony"):
        redo(model, song, VOCAL, stems=("flute",))
    with pytest.raises(ValueError, match="stems are bass, bass; expected some of drums, bass, harmony, each once"):
        redo(model, song, VOCAL, stems=("bass", "bass"))
    with pytest.raises(ValueError, match="stems are none; expected some of drums, bass, harmony"):
        redo(model, song, VOCAL, stems=())
    with pytest.raises(ValueError, match="samples lasts 0.680 s, the song 1.000 s; give the recording"):
        redo(model, song, (VOCAL[0][:, :30_000], 44_100))
    about = {**song.report["checkpoint"], "sha256": {**model.about["sha256"], "chart": "0" * 64}}
    with pytest.raises(ValueError, match="made by other weights .* its chart has the sha256 000000000000"):
        redo(model, replace(song, report={**song.report, "checkpoint": about}), VOCAL)


def test_what_was_asked_for_is_in_the_report_and_tells_songs_apart(model, tmp_path):
    audio.write(tmp_path / "voice.wav", *VOCAL)
    job = GenerateJob(str(tmp_path / "out"), chart=ChartRequest(bpm=120.0, count_in=1))
    first, again = (job.work(model, "voice", tmp_path / "voice.wav") for _ in range(2))
    assert first["made"] and not again["made"] and again["paths"] == first["paths"] and not again["error"]
    settings = json.loads((tmp_path / "out" / "voice.json").read_text())["settings"]
    assert settings["bpm"] == 120.0 and settings["count_in"] == 1
    played = read_song(tmp_path / "out" / "voice.json").chart
    assert (tmp_path / "out" / "voice.mid").read_bytes() == score_files(played, "voice", count_in=1)[".mid"]
    other = replace(job, chart=ChartRequest(bpm=100.0)).work(model, "voice", tmp_path / "voice.wav")
    assert "differs in settings" in other["error"]


def test_a_song_of_other_faders_is_not_taken_for_finished(model, tmp_path, monkeypatch):
    audio.write(tmp_path / "voice.wav", *VOCAL)
    job, path = GenerateJob(str(tmp_path / "out"), stems=("drums",)), tmp_path / "voice.wav"
    assert job.work(model, "voice", path)["made"]
    monkeypatch.setattr(model, "faders", {"bass": 1.0})  # which does not play
    assert job.work(model, "voice", path)["error"] is None
    monkeypatch.setattr(model, "faders", {"drums": 1.0})
    assert "differs in faders;" in job.work(model, "voice", path)["error"]
    assert replace(job, force=True).work(model, "voice", path)["made"]
    assert job.work(model, "voice", path) | {"paths": []} == {"paths": [], "made": False, "error": None}


class Words:
    """A text tokenizer of one piece, which remembers what it was given."""

    def __init__(self):
        self.texts = []

    def encode(self, text, pieces):
        self.texts.append(text)
        return [1] if text else []


@pytest.fixture
def reader(band_checkpoint):
    model = accompgen.load(band_checkpoint, device="cpu")
    model.text_tokenizer = Words()
    return model


def test_who_is_asked_not_to_play_does_not(reader, song, tmp_path):
    made = reader.accompany(VOCAL, seed=1, prompt="harp, no drums")
    assert list(made.tracks) == ["bass", "harmony"]
    assert reader.text_of(reader.prompts("harp, no drums", 1.0))(0, 25) == [1] and reader.text_tokenizer.texts[-1] == "harp"
    assert made.report["settings"]["prompts"] == ["harp, no drums"]
    with pytest.raises(PromptError, match="asks for no bass and no harmony, so nobody is left to play; leave one of them in"):
        reader.accompany(VOCAL, stems=("bass", "harmony"), prompt="no drums, bass or harmony")
    path = tmp_path / "voice.wav"
    audio.write(path, *VOCAL)
    job = GenerateJob(str(tmp_path / "out"), prompts=("no bass",))
    assert job.work(reader, "voice", path)["made"]
    written = sorted(file.name for file in (tmp_path / "out").glob("*.wav"))
    assert "voice.drums.wav" in written and "voice.bass.wav" not in written
    assert not job.work(reader, "voice", path)["made"], "it is there"


def test_who_is_asked_not_to_play_for_a_while_rests(reader, tmp_path):
    made = reader.accompany(VOCAL, seed=1, prompt=["0-0.4: no drums", "0.4-: loud"])
    silence = reader._silence[reader.system.graph.units.name][0, 0, 0]
    units, codes = made.tokens["drums"].semantic[0], made.tokens["drums"].codes
    assert (units[:20] == silence).all() and not (units[20:] == silence).all()
    assert (codes[:, :30] == codes[:, :1]).all() and not (codes[:, 30:] == codes[:, :1]).all()
    assert not (made.tokens["bass"].semantic == silence).all()
    audio.write(tmp_path / "voice.wav", *VOCAL)
    whole = reader.accompany(tmp_path / "voice.wav", seed=1, prompt="loud")
    take = redo(reader, whole, tmp_path / "voice.wav", 0.2, 0.6, stems=("drums",), prompt="0.4-: no drums")
    units = take.tokens["drums"].semantic[0]
    assert (units[20:30] == silence).all() and not (units[10:20] == silence).all() and not (units[30:] == silence).all()
