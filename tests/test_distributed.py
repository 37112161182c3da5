"""Two processes on gloo, started by torchrun: the same losses as one process with twice the batch, and the same faults named.

The two processes of one start run all the trainings of this file, one after the other; what they are compared with is trained
here by one.
"""

import dataclasses
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen.component import load_component
from accompgen.config import ConfigError, StageConfig, TrainConfig, to_dict
from accompgen.training import loop

pytest.importorskip("deepspeed", reason="training needs the extra `train`")
STEPS = 6


def config(shards, **values):
    sizes = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)
    model = StageConfig("coarse", width=16, layers=1, heads=2, context_layers=1, **sizes)
    settings = dict(steps=STEPS, batch_size=2, window_seconds=0.4, warmup_steps=2, learning_rate=1e-2, clip_norm=0.3)
    settings |= dict(log_every=1, validate_every=4, validation_windows=5, save_every=1000, device="cpu", tensorboard=False)
    return TrainConfig(model, str(shards), **{**settings, **values})


ALIKE = {  # what two processes do with batches of 2; one process does the same with batches of 4
    "zero0": {},
    "zero2": {"zero_stage": 2},
    "accumulated": {"accumulation": 2, "batch_size": 1},
    "average": {"zero_stage": 1, "ema_decay": 0.8},
    "bfloat16 zero2": {"dtype": "bfloat16", "zero_stage": 2},
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("data") / "shards")


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    """The folder of the trainings of two processes; `<name>.rank<r>.error` where one ended with an error."""
    folder = tmp_path_factory.mktemp("runs")
    listed = [[folder / name, config(shards, **values), 0] for name, values in ALIKE.items()]
    # stopped by two and by one process, gone on with by two
    loop.train(config(shards, batch_size=4), folder / "from one", pause_after_steps=3)
    loop.train(config(shards, zero_stage=2, batch_size=4), folder / "zero2 from one", pause_after_steps=3)
    listed += [[folder / "from one", config(shards), 0], [folder / "zero2 from one", config(shards, zero_stage=2), 0]]
    listed += [[folder / "to one", config(shards), 3], [folder / "zero2 to one", config(shards, zero_stage=2), 3]]
    # dropout draws from each rank's own numbers: stopped and gone on with, against the same without a stop
    dropout = config(shards, zero_stage=1)
    dropout = dataclasses.replace(dropout, model=dataclasses.replace(dropout.model, dropout=0.3))
    listed += [[folder / name, dropout, pause] for name, pause in (("dropout", 0), ("stopped", 3), ("stopped", 0))]
    listed += [[folder / "diverges", config(shards, learning_rate=1e6, clip_norm=1e6, warmup_steps=0), 0]]
    listed += [[folder / "broken", config(shards, save_every=2), 0, 1]]  # the last, since it ends the processes
    start(2, listed, folder)
    return folder


def start(processes, listed, folder):
    plan = folder / "runs.json"
    plan.write_text(json.dumps([[str(run_dir), to_dict(settings), *how, None][:4] for run_dir, settings, *how in listed]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    worker = Path(__file__).with_name("training_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", str(port)]
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(worker.parents[1])}
    done = subprocess.run([*command, worker, plan], env=env, capture_output=True, text=True, timeout=1800)
    assert (folder / "broken").exists() and done.returncode, done.stderr[-3000:]
    (folder / "stderr").write_text(done.stderr)


def lines(run_dir):
    found = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [line for line in found if "loss" in line]


def weights(run_dir):
    return load_component(run_dir / "model")[1]


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory):
    """The same training by this one process, with batches of 4."""
    folder = tmp_path_factory.mktemp("alone")
    made = {}

    def train(**values):
        key = json.dumps(values, sort_keys=True)
        if key not in made:
            made[key] = folder / str(len(made))
            loop.train(config(shards, **{**values, "batch_size": 4, "accumulation": 1, "zero_stage": 0}), made[key])
        return made[key]

    return train


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_train_as_one_with_twice_the_batch(runs, alone, name):
    values = {key: value for key, value in ALIKE[name].items() if key in ("ema_decay", "dtype")}
    expected = alone(**values)
    tolerance = 1e-5 if "bfloat16" not in name else 1e-2  # bfloat16 sums in another order: 8 bits of mantissa
    for key in ("loss", "per_codebook", "gradient_norm", "learning_rate"):
        ours, theirs = ([line[key] for line in lines(run)] for run in (runs / name, expected))
        assert len(ours) == STEPS
        assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), rtol=tolerance), key
    about, _ = load_component(runs / name / "model")
    theirs = load_component(expected / "model")[0]["validation"]
    assert about["validation"]["cross_entropy"] == pytest.approx(theirs["cross_entropy"], rel=tolerance)
    assert about["validation"]["windows"] == 5 and set(about["validation"]["gain"]) == set(theirs["gain"])
    if "bfloat16" not in name:
        for key, tensor in weights(expected).items():
            assert torch.allclose(weights(runs / name)[key], tensor, atol=1e-4), key


def test_the_norm_is_of_the_whole_gradient_and_clipping_acts_on_it(runs, alone):
    norms = [line["gradient_norm"] for line in lines(runs / "zero2")]
    assert min(norms) > 0.3  # every step of these runs is clipped; the test above found the same losses
    free = alone(clip_norm=1e6)
    assert lines(free)[0]["gradient_norm"] == pytest.approx(norms[0], rel=1e-4)
    assert lines(free)[-1]["loss"] != pytest.approx(lines(runs / "zero2")[-1]["loss"], rel=1e-4)


def test_the_number_of_processes_may_change_with_zero_0(runs, alone, shards):
    loop.train(config(shards, batch_size=4), runs / "to one")
    for name in ("from one", "to one"):
        assert [line["step"] for line in lines(runs / name)] == list(range(1, STEPS + 1))
        for ours, theirs in zip(lines(runs / name), lines(alone())):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5), name


def test_with_zero_2_another_number_of_processes_is_refused(runs, shards):
    with pytest.raises(ConfigError, match=r"among 2 processes \(zero_stage = 2\), and this call has 1; start it with 2"):
        loop.train(config(shards, zero_stage=2, batch_size=4), runs / "zero2 to one")
    for rank in range(2):
        text = (runs / f"zero2 from one.rank{rank}.error").read_text()
        assert text.startswith("ConfigError: ") and "among 1 processes (zero_stage = 2), and this call has 2" in text
    with pytest.raises(ConfigError, match="2 x accumulation = 1 x 2 processes = 4 windows a step, now it is 2 x 1 x 1 = 2"):
        loop.train(config(shards), runs / "zero0")


def test_each_rank_goes_on_with_its_own_random_numbers(runs, alone):
    whole, stopped = lines(runs / "dropout"), lines(runs / "stopped")
    assert [line["loss"] for line in whole] == [line["loss"] for line in stopped] and len(whole) == STEPS
    assert whole[0]["loss"] != lines(alone())[0]["loss"]  # dropout acts


def test_a_loss_that_is_not_finite_ends_every_process_and_the_windows_are_named(runs):
    texts = [(runs / f"diverges.rank{rank}.error").read_text() for rank in range(2)]
    assert all(text.startswith("TrainingError: the ") for text in texts)
    assert any("the batch was song-" in text for text in texts)
    assert all("the batch was song-" in text or "in another process, which names" in text for text in texts)
    assert not (runs / "diverges" / "last").exists() and not math.isnan(lines(runs / "zero0")[-1]["loss"])


def test_an_error_of_one_process_ends_all_and_the_last_save_stays(runs, shards):
    text = (runs / "stderr").read_text()  # that torchrun came to its end says that both processes did
    assert ".safetensors was altered" in text and "rank      : 1 (local_rank: 1)" in text
    assert (runs / "broken" / "last" / "latest").read_text() == "step-00000002\n"
    assert [line["step"] for line in lines(runs / "broken")] == [1, 2]
    loop.train(config(shards, batch_size=4), runs / "broken")
    assert [line["loss"] for line in lines(runs / "broken")] == pytest.approx([line["loss"] for line in lines(runs / "zero0")])


def test_the_first_process_alone_writes_and_prints(runs):
    text = (runs / "stderr").read_text()
    starts = [line for line in text.splitlines() if "training songs" in line]
    assert starts and all("2 processes" in line for line in starts)
    assert len(starts) == len(ALIKE) + 8  # each training that started, once; "zero2 from one" was refused before
    assert {path.name for path in (runs / "zero2").iterdir()} == {"config.json", "log.jsonl", "last", "snapshot", "model"}
