"""The log of a training in one process: means of steps, the time left, and steps that a stopped
call makes again."""

import json
from types import SimpleNamespace

import pytest

from accompgen.training import run_log
from accompgen.training.run_log import RunLog

CONFIG = SimpleNamespace(steps=10, log_every=2)


def records(run_dir):
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def clock(monkeypatch):
    """Seconds that `time.monotonic` says, to be moved by hand."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(run_log.time, "monotonic", lambda: now.seconds)
    return now


def test_a_line_has_the_means_since_the_one_before(tmp_path, clock, capsys):
    log = RunLog(tmp_path / "run", CONFIG, 0, sound_seconds=9.0)
    log.start(50.0)  # that an earlier call took
    for step, loss in enumerate((1.0, 2.0, 4.0), 1):
        clock.seconds += 5
        log.step(step, step / 10, {"loss": loss, "lr": 1 / 3}, now=step == 3)
    first, last = records(tmp_path / "run")
    assert first == {
        "step": 2, "loss": 1.5, "lr": 0.333333,
        "realtime": 1.8, "minutes": 1.0, "minutes_left": 4.0,
    }  # fmt: skip
    assert last["step"] == 3 and last["loss"] == 4.0 and last["realtime"] == 1.8
    assert log.seconds == 65.0
    log("resumed at step 3")
    log(step=3, validation={"a": 0.123456789})
    assert records(tmp_path / "run")[2:] == [
        {"message": "resumed at step 3"},
        {"step": 3, "validation": {"a": 0.123456789}},
    ]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "step 2/10 | loss 1.5 | lr 0.3333 | realtime 1.8 | minutes 1 | minutes_left 4"
    assert said[2:] == ["resumed at step 3", 'step 3/10 | validation {"a": 0.123456789}']


def test_steps_that_come_again_are_there_once(tmp_path, capsys):
    log = RunLog(tmp_path, CONFIG, 0, 1.0)
    log("begun")
    for step in (2, 4, 6):
        log(step=step)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 4, "los')  # killed while it wrote
    RunLog(tmp_path, CONFIG, 4, 1.0)(step=5)
    assert records(tmp_path) == [{"message": "begun"}, {"step": 2}, {"step": 4}, {"step": 5}]
