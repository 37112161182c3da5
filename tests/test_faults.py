"""What goes wrong in a training: it is killed, the disk is full, a shard was altered. The last good save outlives all of it."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen.component import load_component
from accompgen.config import StageConfig, TrainConfig, to_dict
from accompgen.data.shards import ShardError
from accompgen.training import log, loop, state, stops

pytest.importorskip("deepspeed", reason="training needs the extra `train`")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("data") / "shards")


def config(shards, **values):
    sizes = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)
    model = StageConfig("semantic", width=16, layers=1, heads=2, context_layers=1, dropout=0.1, **sizes)
    settings = dict(steps=8, batch_size=2, window_seconds=0.4, warmup_steps=2, device="cpu", tensorboard=False)
    settings |= dict(log_every=1, validate_every=4, validation_windows=2, save_every=2)
    return TrainConfig(model, str(shards), **{**settings, **values})


def losses(run_dir):
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks its processes")
def test_killed_at_any_moment_a_run_goes_on_from_its_last_save(shards, tmp_path):
    settings = config(shards, ema_decay=0.9)
    (tmp_path / "settings.json").write_text(json.dumps(to_dict(settings)))
    worker = Path(__file__).with_name("killed_worker.py")
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    (tmp_path / "tmp").mkdir()
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(worker.parents[1]), "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, worker, tmp_path / "settings.json", tmp_path, "1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    children = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert sum(child["status"] == signal.SIGKILL for child in children) >= 4 and children[-1]["status"] == 0
    assert all(later["saved"] >= child["saved"] for child, later in zip(children, children[1:]))
    assert all(0 <= child["made"] - child["saved"] <= settings.save_every for child in children)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    ours, theirs = (load_component(tmp_path / name / "model")[1] for name in ("killed", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [path.name for path in (tmp_path / "killed" / "last").glob("step-*")] == ["step-00000008"]
    assert not list((tmp_path / "tmp").glob("*accompgen*"))  # nor did those that were killed leave anything there


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_when_the_state_is_written_is_named(shards, tmp_path, monkeypatch):
    loop.train(config(shards), tmp_path / "run", pause_after_steps=2)
    good = {path: path.read_bytes() for path in sorted((tmp_path / "run" / "last").rglob("*")) if path.is_file()}
    real = torch.save

    def half(values, path, **kwargs):  # as torch's own writer puts it
        real(values, path, **kwargs)
        os.truncate(path, 100)
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    def latest_without_room(file):
        if Path(file.name).match("last/.accompgen-*.part"):
            full()

    for place, name, fault in ((torch, "save", full), (torch, "save", half), (state, "_to_disk", latest_without_room)):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fault)
            with pytest.raises(stops.TrainingError, match="the state of step 4 cannot be written to .*-00000004: .* MB are"):
                loop.train(config(shards), tmp_path / "run")
        assert {path: path.read_bytes() for path in sorted((tmp_path / "run" / "last").rglob("*")) if path.is_file()} == good
    with monkeypatch.context() as patch:
        patch.setattr(state, "_to_disk", full)
        with pytest.raises(stops.TrainingError, match="cannot write .*config.json: No space left on device; make room"):
            loop.train(config(shards), tmp_path / "run")
    assert loop.train(config(shards), tmp_path / "run")["finished"]
    loop.train(config(shards), tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_disk_that_is_full_for_the_log_or_the_weights_is_named(shards, tmp_path, monkeypatch):
    class NoRoom(log.Log):
        def _write(self, values):
            self._named(self.path.name, full)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Log", NoRoom)
        with pytest.raises(stops.TrainingError, match="cannot write .*log.jsonl: No space left on device; make room"):
            loop.train(config(shards), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(stops.TrainingError, match="the weights of step 4 cannot be written to .*snapshot.*No space left"):
            loop.train(config(shards), tmp_path / "run")
    assert not (tmp_path / "run" / "snapshot").exists()
    assert loop.train(config(shards), tmp_path / "run")["finished"]


def test_a_shard_that_is_missing_or_was_altered_is_named_and_the_state_stays(tmp_path):
    folder = make_shards(tmp_path / "shards")
    loop.train(config(folder), tmp_path / "run", pause_after_steps=2)
    good = {path: path.read_bytes() for path in sorted((tmp_path / "run" / "last").rglob("*")) if path.is_file()}
    shard = folder / "shard-00001.safetensors"
    whole = shard.read_bytes()
    altered = bytearray(whole)
    altered[-3] ^= 1  # one bit of one token
    shard.write_bytes(altered)
    with pytest.raises(ShardError, match="shard-00001.safetensors was altered"):
        loop.train(config(folder), tmp_path / "run")
    shard.unlink()
    with pytest.raises(ShardError, match="shard-00001.safetensors is missing"):
        loop.train(config(folder), tmp_path / "run")
    assert {path: path.read_bytes() for path in sorted((tmp_path / "run" / "last").rglob("*")) if path.is_file()} == good
    shard.write_bytes(whole)
    assert loop.train(config(folder), tmp_path / "run")["finished"]


def test_a_second_signal_at_once_is_the_same_wish_and_a_later_one_acts(monkeypatch):
    clock, ours = [100.0], signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
    monkeypatch.setattr(stops.time, "monotonic", lambda: clock[0])
    with stops.stop_signals() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        clock[0] += 1.0
        signal.raise_signal(signal.SIGINT)  # the launcher passes on what the terminal sent to all
        assert stopped()
        clock[0] += 5.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, ours) is signal.default_int_handler
