"""TrainConfig -> DeepSpeed."""

import math

import pytest
import torch

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.training import engine


def config(**values):
    return TrainConfig(StageConfig("semantic", width=16, layers=1, heads=2), "shards", device="cpu", **values)


def test_the_settings_are_those_of_the_configuration():
    settings = engine.deepspeed_settings(config(batch_size=3, accumulation=2, clip_norm=0.5, zero_stage=1, dtype="bfloat16"), 4)
    assert settings["train_micro_batch_size_per_gpu"] == 3 and settings["gradient_accumulation_steps"] == 2
    assert settings["train_batch_size"] == 24  # 3 windows x 2 micro-steps x 4 ranks
    assert settings["gradient_clipping"] == 0.5 and settings["zero_optimization"]["stage"] == 1
    assert settings["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert not engine.deepspeed_settings(config(), 1)["torch_autocast"]["enabled"]


def test_one_step_is_clipped_adamw_without_decay_of_vectors():
    pytest.importorskip("deepspeed", reason="training needs the extra `train`")
    model = torch.nn.Linear(2, 1)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    made = engine.start(model, config(learning_rate=1.0, weight_decay=0.1, clip_norm=0.5, betas=(0.0, 0.0)))
    engine.set_learning_rate(made, 0.01)
    made.backward(made(torch.tensor([[3.0, 4.0]])).sum() * 10)  # gradients 30, 40 and 10: the norm is clipped to 0.5
    clipped = 0.5 / math.sqrt(30**2 + 40**2 + 10**2)
    assert made.module.weight.grad is not None
    made.step()
    # with both betas 0 a step is lr * g / (|g| + eps), whatever the size of g; eps shows the clipping to 1e-8 / (40 * clipped)
    assert clipped < 1
    assert torch.allclose(model.bias, start["bias"] - 0.01, atol=1e-6)
    assert torch.allclose(model.weight, start["weight"] * (1 - 0.01 * 0.1) - 0.01, atol=1e-6)


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert engine.pick_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="torch finds no GPU"):
        engine.pick_device("cuda")
    with pytest.raises(ConfigError, match="'tpu'"):
        engine.pick_device("tpu")


def test_without_deepspeed_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "deepspeed", None)
    with pytest.raises(ConfigError, match=r"accompgen\[train\]"):
        engine.start(torch.nn.Linear(1, 1), config())
