"""The beat tracker: what its model of steady beats makes of chances, checked against plain matrices; and its training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_shards import VOCAB

from accompgen.component import CheckpointError, file_hash, load_component, save_component
from accompgen.config import ConfigError, to_dict
from accompgen.data import shards as token_shards
from accompgen.data.songs import Song, write_manifest
from accompgen.data.tracks import Tracks
from accompgen.model import beat_tracker
from accompgen.model.beat_tracker import PHASES, BeatTracker, BeatTrackerConfig, phase_chances
from accompgen.training import beat_tracker as training
from accompgen.training.beat_tracker import BeatTrainConfig, train, unit_phases
from accompgen.training.beat_tracker_songs import BeatSong, find_songs, phases_of

LENGTH = 30  # frames of a beat: 100 a minute
SECONDS = 12


def beats_every(length, frames, first=7):
    """Chances of a beat [S]: near 1 at first, first + length, ..."""
    chances = np.full(frames, 0.02)
    chances[first::length] = 0.9
    return chances


def most_likely(chances):
    return phase_chances(chances).argmax(1)


def test_phases_run_from_beat_to_beat():
    phases = most_likely(beats_every(LENGTH, 600))
    expected = (np.arange(600) - 7) % LENGTH * PHASES // LENGTH
    assert (phases == expected)[LENGTH:-LENGTH].all()


def test_what_is_not_heard_is_bridged_by_what_is_steady():
    chances = beats_every(LENGTH, 900)
    chances[200:500] = 0.05  # six seconds in which the voice pauses
    expected = (np.arange(900) - 7) % LENGTH * PHASES // LENGTH
    assert (np.abs(phase_chances(chances).argmax(1) - expected)[200:500] <= 1).all()


def test_a_tempo_may_change():
    chances = np.concatenate([beats_every(30, 607), beats_every(36, 600, first=0)])
    phases = most_likely(chances)
    assert phases[7 + 30 * 5] == 0 and phases[607 + 36 * 5] == 0 and phases[607 + 36 * 5 + 18] == PHASES // 2


def test_without_any_hint_no_phase_is_preferred():
    chances = phase_chances(np.full(200, 0.5))
    np.testing.assert_allclose(chances.sum(1), 1.0)
    assert chances.max() < 1.5 / PHASES


def test_chances_are_those_of_the_hidden_markov_model_written_out(monkeypatch):
    """Forward-backward over a matrix of all states, with as few tempi as make sense."""
    monkeypatch.setattr(beat_tracker, "SLOWEST_BPM", 150.0)
    monkeypatch.setattr(beat_tracker, "STEADINESS", 5.0)
    space = beat_tracker._Space()
    monkeypatch.setattr(beat_tracker, "_SPACE", space)
    matrix = np.diag(np.ones(space.states - 1), 1)
    matrix[space.last] = 0.0
    matrix[np.ix_(space.last, space.first)] = space.change
    np.testing.assert_allclose(matrix.sum(1), 1.0)
    heard = np.random.default_rng(0).uniform(0.05, 0.9, 50)
    is_beat = np.isin(np.arange(space.states), space.first)
    likely = np.where(is_beat[None], heard[:, None], 1 - heard[:, None]) ** beat_tracker.EVIDENCE  # [S, states]
    forward, backward = [likely[0]], [np.ones(space.states)]
    for n in range(1, len(heard)):
        forward.append(forward[-1] @ matrix * likely[n])
        backward.insert(0, matrix @ (backward[0] * likely[-n]))
    both = np.stack(forward) * np.stack(backward)
    both /= both.sum(1, keepdims=True)
    expected = np.stack([both[:, space.phase == k].sum(1) for k in range(PHASES)], axis=1)
    np.testing.assert_allclose(phase_chances(heard), expected, rtol=1e-6)


def test_the_odds_of_units_are_the_ratio_under_the_phases_that_are_likely(monkeypatch):
    tracker = BeatTracker(BeatTrackerConfig(semantic_vocab=3, width=8, layers=2)).eval()
    tracker.unit_phases[:] = torch.rand(3, PHASES, generator=torch.Generator().manual_seed(0)) + 0.1
    logits = torch.from_numpy(beats_every(LENGTH, 600)).logit()[None, :, None]
    monkeypatch.setattr(BeatTracker, "forward", lambda self, units: logits)
    odds = tracker.unit_log_odds(torch.zeros(1, 600, dtype=torch.long))
    assert odds.shape == (1, 600, 3)
    at_beat = 7 + 5 * LENGTH
    torch.testing.assert_close(odds[0, at_beat], tracker.unit_phases[:, 0].log(), atol=0.02, rtol=0)
    assert not tracker.phases(torch.zeros(1, 600, dtype=torch.long)).requires_grad


def test_the_network_hears_both_sides_and_the_unheard():
    torch.manual_seed(0)
    tracker = BeatTracker(BeatTrackerConfig(semantic_vocab=3, width=8, layers=4)).eval()
    units = torch.randint(3, (2, 40), generator=torch.Generator().manual_seed(1))
    logits = tracker(units)
    assert logits.shape == (2, 40, 1)
    for place in (10, 30):
        other = units.clone()
        other[:, place] = 3  # the id of a frame that is not heard
        assert ((tracker(other) - logits).abs()[:, 20, 0] > 0).all()


@pytest.mark.parametrize("step_frames", [1, 2, 4])
def test_each_frame_has_its_own_logits_whatever_a_step_holds(step_frames):
    torch.manual_seed(0)
    config = BeatTrackerConfig(semantic_vocab=3, width=8, layers=2, step_frames=step_frames, downbeats=True)
    tracker = BeatTracker(config).eval()
    units = torch.randint(3, (2, 41), generator=torch.Generator().manual_seed(1))
    logits = tracker(units)
    assert logits.shape == (2, 41, 2) and len(logits[0, :, 0].unique()) > 30


def test_weights_without_downbeats_find_no_bars():
    tracker = BeatTracker(BeatTrackerConfig(semantic_vocab=3, width=8, layers=2)).eval()
    assert tracker.leave.out_features == 2  # as weights of before have it
    with pytest.raises(ConfigError, match="tells no downbeats .* so it finds no bars; train one"):
        tracker.beats(torch.zeros(100, dtype=torch.long))


@pytest.mark.parametrize("wrong", [{"semantic_vocab": 1}, {"step_frames": 0}, {"width": 0}, {"layers": 0}, {"dropout": 1.0}])
def test_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected semantic_vocab of 2 or more"):
        BeatTrackerConfig(**wrong)


# ---- training ----


def make_songs(folder, songs=8, copies=False):
    """Shards and manifest of songs with a beat.

    Unit 0 of the voice and of the band stands where a beat falls, the last unit where a downbeat
    falls, others between.

    With `copies` each training song is there again, played at half the speed.
    """
    rng, made, known, entries, listed = np.random.default_rng(0), {}, {}, [], []
    folder.mkdir()
    for number in range(songs):
        name, split = f"song-{number}", "validation" if number % 4 == 3 else "train"
        length = int(rng.integers(20, 36))
        for copy in range(2 if copies and split == "train" else 1):
            beats = np.arange(rng.integers(length), SECONDS * 50 - 4, length)
            if copy:
                beats = 2 * known[name]
                beats = beats[beats < SECONDS * 50 - 4]
            units = rng.integers(1, VOCAB - 1, SECONDS * 50)
            for offset in range(4):
                units[beats + offset] = 0
                units[beats[::4] + offset] = VOCAB - 1
            called = name + "+1" * copy
            made[called] = {"semantic/vocal": units, "semantic/all": units}
            known[called] = beats
            entry = {"id": called, "split": split, "blocks": SECONDS * 25, "licence": "none"}
            entries.append(entry | ({"song": name, "copy": 1, "changes": {"speed": 0.5}} if copy else {}))
        times = [[float((beat + 0.5) / 50), index % 4 + 1] for index, beat in enumerate(known[name])]
        (folder / f"{name}.json").write_text(json.dumps({"beats": times}))
        tracks = Tracks(vocal=folder / "v.wav", accompaniment=folder / "a.wav")
        listed.append(Song(name, split, "none", SECONDS, tracks, folder / f"{name}.json"))
    path = folder / token_shards.shard_name(0)
    token_shards.write_shard(path, entries, made, "plan", {"vocab": VOCAB, "bins": 10})
    about = {"file": path.name, "bytes": path.stat().st_size, "sha256": file_hash(path)}
    about["songs"] = token_shards.read_header(path)[1]  # with the names of their arrays
    tokenizers = {"semantic": "s" * 64, "acoustic": "a" * 64}
    token_shards.write_index(folder, [about], {"tokenizers": tokenizers, "semantic_vocab": VOCAB, "bins": 10, "codebooks": 4})
    write_manifest(folder / "manifest.jsonl", listed)
    return made


def configure(folder, dropout=0.0, downbeats=True, **other):
    values = dict(steps=60, batch_size=4, window_seconds=8.0, learning_rate=1e-2, warmup_steps=5, log_every=20, ema_decay=0.9)
    values |= dict(validate_every=30, save_every=20, device="cpu", masking=0.05) | other
    model = BeatTrackerConfig(semantic_vocab=VOCAB, width=16, layers=6, dropout=dropout, downbeats=downbeats)
    return BeatTrainConfig(model, str(folder), str(folder / "manifest.jsonl"), **values)


def test_it_learns_where_the_beat_is_and_what_belongs_there(tmp_path):
    make_songs(tmp_path / "songs")
    result = train(configure(tmp_path / "songs"), tmp_path / "run")
    assert result["finished"] and result["step"] == 60
    figures = result["validation"]
    assert figures["right_phase"] > 0.9 and figures["songs"] == 2
    assert figures["beat_f1"] > 0.95 and figures["downbeat_f1"] > 0.95 and figures["right_tempo"] == 1
    config, tensors = load_component(tmp_path / "run" / "model")
    assert config["beat_tracker"]["width"] == 16 and config["tokenizers"] == {"semantic": "s" * 64}
    phases = tensors["unit_phases"]
    assert phases.shape == (VOCAB, PHASES) and phases[0].argmax() == 0 and phases[0, 0] > 4 and phases[1:-1, 0].max() < 0.7
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("loss" in line for line in lines) and sum("validation" in line for line in lines) == 2


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    make_songs(tmp_path / "songs")
    config = configure(tmp_path / "songs", dropout=0.2, steps=12, validate_every=1000, save_every=3)
    train(config, tmp_path / "whole")
    assert not train(config, tmp_path / "parts", pause_after_minutes=1e-9)["finished"]
    assert not (tmp_path / "parts" / "model").exists()
    assert train(config, tmp_path / "parts")["finished"]
    whole, parts = (load_component(tmp_path / name / "model")[1] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    lines = (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    again = train(config, tmp_path / "parts")  # nothing is left to do
    assert again["finished"] and again["validation"] == json.loads(lines[-1])["validation"]
    longer = configure(tmp_path / "songs", dropout=0.2, steps=14, validate_every=1000, save_every=3)
    assert not train(longer, tmp_path / "parts", pause_after_minutes=1e-9)["finished"]
    assert not (tmp_path / "parts" / "model").exists()  # it is not at its end any more
    with pytest.raises(ConfigError, match="was begun with masking = 0.05, the configuration says 0.5"):
        train(configure(tmp_path / "songs", dropout=0.2, steps=12, masking=0.5), tmp_path / "parts")


def test_a_tracker_begins_with_the_weights_of_another(tmp_path):
    make_songs(tmp_path / "songs")
    old = BeatTracker(BeatTrackerConfig(semantic_vocab=VOCAB, width=16, layers=6, dropout=0.0)).eval()
    about = {"beat_tracker": to_dict(old.config), "tokenizers": {"semantic": "s" * 64}}
    save_component(tmp_path / "old", about, old.state_dict())
    changes = dict(start_from=str(tmp_path / "old"), steps=1, warmup_steps=1, learning_rate=1e-9, weight_decay=0.0)
    train(configure(tmp_path / "songs", **changes), tmp_path / "run")
    config, tensors = load_component(tmp_path / "run" / "model")
    new = BeatTracker(BeatTrackerConfig(**config["beat_tracker"])).eval()
    new.load_state_dict(tensors)
    units = torch.randint(VOCAB, (2, 40), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(new(units)[..., :1], old(units), atol=1e-4, rtol=0)
    assert new(units)[..., 1].abs().max() < 1e-4 and len(config["started_from"]) == 64
    wider = configure(tmp_path / "songs", **changes)
    wider = replace(wider, model=replace(wider.model, width=20))
    with pytest.raises(CheckpointError, match="old has the sizes .*'width': 16.*; the configuration has .*width=20"):
        train(wider, tmp_path / "wider")
    save_component(tmp_path / "old", about | {"tokenizers": {"semantic": "t" * 64}}, old.state_dict(), force=True)
    with pytest.raises(CheckpointError, match="old was trained on other units than those of the shards"):
        train(configure(tmp_path / "songs", **changes), tmp_path / "other")


def test_copies_have_the_beats_of_their_speed(tmp_path):
    made = make_songs(tmp_path / "songs", copies=True)
    config = configure(tmp_path / "songs")
    songs = find_songs(config, token_shards.open_shards(tmp_path / "songs"), "train")
    assert len(songs) == 12
    for song in songs:
        at = (song.beats * 50).astype(int)
        assert np.isin(song.vocal[at[at < len(song.vocal) - 4]], (0, VOCAB - 1)).all()
    assert len(made) == 14


def test_songs_without_beats_are_named(tmp_path):
    make_songs(tmp_path / "songs")
    for path in (tmp_path / "songs").glob("*.json"):
        if path.name != "index.json":
            path.write_text("{}")
    with pytest.raises(ConfigError, match="no train song of .* has beats in it by the meta file"):
        train(configure(tmp_path / "songs"), tmp_path / "run")


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"beats": [1.0, 2.0]}', "its beats cannot be read .*expected a list of .seconds"),
        ('{"beats": ', "its beats cannot be read"),
        ('{"beats": [[2.0, 1], [1.0, 2]]}', "its beats do not rise"),
    ],
)
def test_meta_files_that_cannot_be_used_are_named(tmp_path, text, words):
    make_songs(tmp_path / "songs")
    (tmp_path / "songs" / "song-1.json").write_text(text)
    with pytest.raises(ConfigError, match=f"song-1.json: {words}"):
        train(configure(tmp_path / "songs"), tmp_path / "run")


def test_a_held_out_song_counts_where_its_first_window_has_beats(tmp_path):
    make_songs(tmp_path / "songs")
    for name in ("song-3", "song-7"):
        (tmp_path / "songs" / f"{name}.json").write_text('{"beats": [[9.0, 1], [9.5, 2]]}')  # windows are of 8 s
    with pytest.raises(ConfigError, match="no validation song of .* has beats in its first window"):
        train(configure(tmp_path / "songs"), tmp_path / "run")


def test_other_units_are_refused(tmp_path):
    make_songs(tmp_path / "songs")
    config = configure(tmp_path / "songs")
    wrong = BeatTrainConfig(BeatTrackerConfig(semantic_vocab=VOCAB + 1), config.shards, config.manifest, device="cpu")
    with pytest.raises(ConfigError, match=f"semantic_vocab is {VOCAB + 1}; .* has {VOCAB} units"):
        train(wrong, tmp_path / "run")


def test_phases_of_annotated_beats():
    phases = phases_of(np.array([0.1, 0.5, 1.1]), 60)  # 20 ms a frame: beats at frames 5, 25 and 55
    assert (phases[:5] == -1).all() and (phases[55:] == -1).all()
    assert phases[5] == 0 and phases[15] == 8 and phases[24] == 15 and phases[25] == 0 and phases[40] == 8


def test_rare_units_tell_little():
    beats = np.arange(0.0, 60.0, 0.5)
    band = np.ones(3000, dtype=np.int16)
    band[::25] = 2  # at every beat
    band[100] = 3  # once, at a beat
    table = unit_phases([BeatSong(band, band, beats, beats < 0)], 5)
    assert table[2, 0] > 5 and 1 < table[3, 0] < 1.5
    assert torch.equal(table[4], torch.ones(PHASES)) and table[2, 8] < 0.5


def test_ctrl_c_saves_at_the_end_of_the_step(tmp_path, ctrl_c):
    make_songs(tmp_path / "songs")
    ctrl_c(training)
    result = train(configure(tmp_path / "songs"), tmp_path / "run")
    assert not result["finished"] and result["step"] == 2
    assert torch.load(tmp_path / "run" / "last" / "state.pt", weights_only=True)["step"] == 2
