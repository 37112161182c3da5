"""A song by two processes: the codes of one, a helper that dies, and when the command line asks for one."""

import os
import signal

import pytest
import torch
from tiny import VOCAB, sing

from accompgen import audio
from accompgen.checkpoint import read_checkpoint
from accompgen.engines import NEEDS
from accompgen.generation import pipeline
from accompgen.generation.cascade import cascade
from accompgen.generation.load import load_stages
from accompgen.generation.sampling import Sampling
from accompgen.generation.two_process import StageWorker, StageWorkerError, cascade_by_two
from accompgen.stages import accompgen

STAGES = accompgen().stage_names
SAMPLING = dict.fromkeys(STAGES, Sampling(guidance=2.0, top_k=8)) | {"semantic": Sampling(guidance=2.0, top_k=8, pulse=1.0)}


@pytest.fixture
def model(tiny_checkpoint, two_threads):
    model = pipeline.load(tiny_checkpoint, "cpu", helper=True, engine="torch")
    yield model
    model.helper.close()


def test_the_codes_are_those_of_one_process(model):
    assert model.helper.names == ("semantic", "fine")  # the coarse stage has the most steps
    units = torch.randint(VOCAB, (1, 5 * 50), generator=torch.Generator().manual_seed(0))  # 21 fine windows: three batches
    shown, plainly = [], []
    found = cascade_by_two(model.system, units, SAMPLING, 3, model.helper, lambda *step: shown.append(step))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    plain = cascade(model.system, units, SAMPLING, 3, lambda *step: plainly.append(step))
    assert torch.equal(found.semantic, plain.semantic) and torch.equal(found.codes, plain.codes)
    other = cascade_by_two(model.system, units, SAMPLING, 4, model.helper)
    assert not torch.equal(other.semantic, plain.semantic) and not torch.equal(other.codes, plain.codes)
    assert {name for name, _, _ in shown} == set(STAGES) and shown[-1][1] == shown[-1][2], "progress ends at its end"
    assert [done for _, done, _ in shown] == sorted(done for _, done, _ in shown)
    assert set(found.seconds) == set(STAGES) and all(seconds >= 0 for seconds in found.seconds.values())


def test_its_stages_are_loaded_for_the_engine_asked_for(tiny_checkpoint):
    for package in NEEDS:
        pytest.importorskip(package, reason=f"{package} is not installed (extra `fast`)")
    verified = read_checkpoint(tiny_checkpoint)
    helper = StageWorker(verified, load_stages(verified, "cpu", engine="onnx"), "onnx")
    there = "[stage.engine.name for stage in __import__('sys').modules[NAME]._systems[0].stages.values()]"
    try:
        found = helper.pool.submit(eval, there, {"NAME": StageWorker.__module__}).result()
    finally:
        helper.close()
    assert found == ["onnx float32"] * 2


def test_long_vocals_alone_are_made_so(model, monkeypatch):
    vocal, used = (sing(2.0), 44_100), []
    monkeypatch.setattr(pipeline, "cascade_by_two", lambda *args: used.append("two") or cascade_by_two(*args))
    short = model.accompany(vocal)
    monkeypatch.setattr(pipeline, "LONG_SECONDS", 2.0)
    song = model.accompany(vocal)
    assert used == ["two"] and song.codes.shape == short.codes.shape
    assert song.report["seconds"]["total"] == pytest.approx(
        sum(song.timings[name] for name in song.timings if name != "total"), abs=0.01
    )


def test_a_helper_that_dies_is_told_of(model):
    model.helper.pool.submit(int).result()
    (process,) = model.helper.pool._processes.values()
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(StageWorkerError, match="the process that decodes beside this one died"):
        cascade_by_two(model.system, torch.zeros(1, 100, dtype=torch.long), SAMPLING, 0, model.helper)
    assert torch.get_num_threads() == 2


def test_one_thread_has_no_helper(tiny_checkpoint, two_threads):
    torch.set_num_threads(1)
    assert pipeline.load(tiny_checkpoint, "cpu", helper=True, engine="torch").helper is None


@pytest.mark.parametrize("seconds, options, expected", [(0.3, [], False), (1.2, [], True), (1.2, ["--stream"], False)])
def test_the_command_line_asks_for_it_where_a_vocal_is_long(tiny_checkpoint, monkeypatch, tmp_path, seconds, options, expected):
    from accompgen import cli

    asked, load = [], pipeline.load

    def watched(checkpoint, device, helper, engine):
        asked.append(helper)
        return load(checkpoint, device, engine=engine)

    monkeypatch.setattr(pipeline, "load", watched)
    monkeypatch.setattr(pipeline, "LONG_SECONDS", 1.0)
    audio.write(tmp_path / "voice.wav", sing(seconds), 44_100)
    (tmp_path / "no-sound.wav").write_text("words")
    files = [str(tmp_path / "no-sound.wav"), str(tmp_path / "voice.wav")]
    status = cli.main(
        ["generate", *files, "-o", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint), "--quiet", *options]
    )
    assert status == 1 and asked == [expected] and (tmp_path / "out" / "voice.mix.wav").exists()
