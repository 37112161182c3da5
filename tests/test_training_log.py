"""The log of a run: TensorBoard shows what log.jsonl says, and steps that a stopped call makes again are there once."""

import json
import sys

import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.training import loop
from accompgen.training.log import Log

pytest.importorskip("deepspeed", reason="training needs the extra `train`")
accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="the log for TensorBoard needs the extra `train`"
)


def events(run_dir):
    found = accumulator.EventAccumulator(str(run_dir / "tensorboard"))
    found.Reload()
    return found


def test_tensorboard_shows_what_the_log_says(tmp_path, capfd, monkeypatch):
    sizes = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)
    settings = TrainConfig(
        StageConfig("coarse", width=16, layers=1, heads=2, context_layers=1, **sizes),
        str(make_shards(tmp_path / "shards")), steps=6,
        batch_size=2, window_seconds=0.4, learning_rate=1e-2, device="cpu", log_every=1, validate_every=3, validation_windows=4,
        save_every=2, warmup_steps=2, peak_tflops=0.001,
    )  # fmt: skip
    run_dir, real, calls = tmp_path / "run", loop._forward, []

    def fails(engine, batch, listening_weight):
        calls.append(batch)
        if len(calls) == 6:
            raise ValueError("a fault after step 5, which was told but not saved")
        return real(engine, batch, listening_weight)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_forward", fails)
        with pytest.raises(ValueError, match="not saved"):
            loop.train(settings, run_dir)
    loop.train(settings, run_dir)  # from step 4 on
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    shown = events(run_dir)

    def scalars(name):
        return [(event.step, pytest.approx(event.value, rel=1e-5)) for event in shown.Scalars(name)]

    for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "mfu"):
        assert [(line["step"], line[name]) for line in steps] == scalars(f"train/{name}"), name
    assert [(line["step"], line["per_codebook"][1]) for line in steps] == scalars("train/codebook_2")
    assert [(line["step"], line["waited"] / line["seconds"]) for line in steps] == scalars("train/waiting")
    told = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    assert [step for step, _ in told] == [3, 6]
    for name, value in {
        "cross_entropy": lambda v: v["cross_entropy"],
        "per_codebook_2": lambda v: v["per_codebook"][1],
        "accuracy_1": lambda v: v["accuracy"][0],
        "gain_shuffled_first_second": lambda v: v["gain"]["shuffled"]["first_second"][0],
        "gain_shuffled_vocal_per_second": lambda v: v["gain"]["shuffled_vocal"]["per_second"][0],
        "vocal_late_0.24": lambda v: v["vocal_late"]["0.24"][0],
    }.items():
        assert [(step, value(figures)) for step, figures in told] == scalars(f"validation/{name}"), name
    printed = [line for line in capfd.readouterr().err.splitlines() if line.startswith("step 6 ")]
    assert len(printed) == 2  # one line a step, one a validation
    for part in ("loss", "norm", "waiting", "tokens/s", "MFU"):
        assert part in printed[0]
    assert steps[-1]["mfu"] > 0 and f"MFU {100 * steps[-1]['mfu']:.1f} %" in printed[0]


def test_sounds_are_shown(tmp_path):
    log = Log(tmp_path, 0, True, tensorboard=True)
    log.sound(3, "truth/1", torch.sin(torch.arange(2400) * 0.1), 24000)
    log.close()
    sound = events(tmp_path).Audio("truth/1")[0]
    assert sound.step == 3 and sound.sample_rate == 24000 and sound.length_frames == 2400


def test_other_processes_write_nothing(tmp_path, capfd):
    log = Log(tmp_path, 0, False, tensorboard=True)
    log.say("nothing")
    log.step(1, 0.5, {})
    log.validation(1, {})
    log.close()
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr().err == ""


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"accompgen\[train\].* or set tensorboard = false"):
        Log(tmp_path, 0, True, tensorboard=True)
    Log(tmp_path, 0, True, tensorboard=False).close()
