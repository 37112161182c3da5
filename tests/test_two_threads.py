"""A song by two threads: the codes of one, an end before its end, and when a song is made so."""

import importlib.util
import threading

import pytest
import torch
from tiny import VOCAB, sing

from accompgen import threads
from accompgen.engines import NEEDS
from accompgen.generation import pipeline
from accompgen.generation.cascade import cascade, whole_song
from accompgen.generation.sampling import Sampling
from accompgen.generation.schedule import Part
from accompgen.generation.two_threads import StageThread, _Stopped, cascade_by_threads

missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed (extra `fast`)")
SETTINGS = Sampling(guidance=2.0, top_k=8)


@pytest.fixture
def model(tiny_checkpoint, two_threads):
    return pipeline.load(tiny_checkpoint, "cpu", engine="onnx")


def settings_of(model):
    return dict.fromkeys(model.system.graph.stage_names, SETTINGS) | {"semantic": Sampling(guidance=2.0, top_k=8, pulse=1.0)}


def test_the_codes_are_those_of_one_thread(model):
    assert StageThread(model.system, ("semantic", "coarse", "fine")).names == ("semantic", "fine")
    units = torch.randint(VOCAB, (1, 5 * 50), generator=torch.Generator().manual_seed(0))  # 21 fine windows: three batches
    shown, sampling, threads = [], settings_of(model), threading.active_count()
    found = cascade_by_threads(model.system, units, sampling, 3, lambda *step: shown.append(step))
    assert torch.get_num_threads() == 2 and threading.active_count() == threads
    plain = cascade(model.system, units, sampling, 3)
    assert torch.equal(found.semantic, plain.semantic) and torch.equal(found.codes, plain.codes)
    assert {name for name, _, _ in shown} == set(sampling) and shown[-1][1] == shown[-1][2], "progress ends at its end"
    assert [done for _, done, _ in shown] == sorted(done for _, done, _ in shown)
    assert set(found.seconds) == set(sampling) and all(seconds >= 0 for seconds in found.seconds.values())


def test_a_stem_of_a_band(band_checkpoint, two_threads):
    model = pipeline.load(band_checkpoint, "cpu", engine="onnx")
    units = torch.randint(20, (1, 100), generator=torch.Generator().manual_seed(0))
    part = Part("bass", {"chord": torch.arange(50)[None, None] % 109, "others": units[None] // 2})
    found, plain = (play(model.system, units, model.sampling, 3, part=part) for play in (cascade_by_threads, cascade))
    assert torch.equal(found.semantic, plain.semantic) and torch.equal(found.codes, plain.codes)


def test_an_interruption_ends_both_threads(model):
    units, threads = torch.zeros(1, 40 * 50, dtype=torch.long), threading.active_count()

    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cascade_by_threads(model.system, units, settings_of(model), 3, stop)
    assert threading.active_count() == threads and torch.get_num_threads() == 2


def test_what_a_thread_is_at_does_not_go_on_when_its_song_has_ended(model):
    schedule = whole_song(model.system, torch.zeros(1, 200 * 50, dtype=torch.long), settings_of(model), 3)
    with StageThread(model.system, schedule.stages) as helper:
        future = helper.submit(schedule.next_job(("semantic",)))
        while not future.running():
            pass
    assert isinstance(future.exception(), _Stopped)


def test_when_songs_are_made_so(model, tiny_checkpoint, monkeypatch):
    used, vocal = [], (sing(0.5), 44_100)
    monkeypatch.setattr(pipeline, "cascade_by_threads", lambda *args: used.append("two") or cascade_by_threads(*args))
    song = model.accompany(vocal, seed=1)
    torch.set_num_threads(1)
    assert torch.equal(model.accompany(vocal, seed=1).codes, song.codes) and used == ["two"]
    torch.set_num_threads(2)
    pipeline.load(tiny_checkpoint, "cpu", engine="torch").accompany(vocal)
    assert used == ["two"], "torch's steps wait for each other's lock"
    monkeypatch.setattr(threads, "SMALL_STEP", 1)  # a step of a large stage has all threads already
    assert not pipeline.suits_two_threads(model.system)
    monkeypatch.undo()
    assert pipeline.load(tiny_checkpoint, "cpu", helper=True, engine="onnx").helper is None, "threads need no second process"
