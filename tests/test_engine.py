"""TrainConfig -> DeepSpeed."""

import math

import pytest
import torch

from accompgen.config import ConfigError, StageConfig, TrainConfig
from accompgen.model.stage_lm import StageLM
from accompgen.training import engine
from accompgen.training.average import make_average
from accompgen.training.loss import stage_loss


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
    assert engine.update(made) == pytest.approx(math.sqrt(30**2 + 40**2 + 10**2))  # the norm before clipping
    # with both betas 0 a step is lr * g / (|g| + eps), whatever the size of g; eps shows the clipping to 1e-8 / (40 * clipped)
    assert clipped < 1
    assert torch.allclose(model.bias, start["bias"] - 0.01, atol=1e-6)
    assert torch.allclose(model.weight, start["weight"] * (1 - 0.01 * 0.1) - 0.01, atol=1e-6)


def test_gains_and_the_relative_bias_do_not_decay():
    pytest.importorskip("deepspeed", reason="training needs the extra `train`")
    model = StageLM(StageConfig("semantic", width=16, layers=1, heads=2, context_layers=1, semantic_vocab=20))
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    made = engine.start(model, config(weight_decay=0.1))
    engine.set_learning_rate(made, 0.5)
    made.backward(sum(p.sum() * 0.0 for p in model.parameters()))  # gradients of 0: decay alone moves a weight
    engine.update(made)
    kept = {name for name, p in model.named_parameters() if p.min() == 1.0}
    assert kept == {name for name, _ in model.named_parameters() if name.endswith(("gain", "relative_bias.table", ".bias"))}
    assert all(p.max() < 0.96 for name, p in model.named_parameters() if name not in kept)


def test_blocks_that_are_computed_again_give_the_same_loss_and_gradients_and_keep_less():
    pytest.importorskip("deepspeed", reason="training needs the extra `train`")
    sizes = StageConfig("coarse", width=16, layers=3, heads=2, context_layers=1, dropout=0.2, semantic_vocab=20, bins=10)
    ids = torch.Generator().manual_seed(0)
    context = {name: torch.randint(0, 20, (2, 1, 20), generator=ids) for name in ("vocal", "semantic")}
    target = torch.randint(0, 10, (2, 4, 30), generator=ids)
    found = {}
    for again in (False, True):
        torch.manual_seed(0)
        settings = TrainConfig(sizes, "shards", device="cpu", activation_checkpointing=again)
        made = engine.start(StageLM(sizes), settings)
        calls, kept = [], []
        for block in made.module.decoder.blocks:
            block.attention.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(1)  # dropout: what is computed again must drop the same
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.numel()) or x, lambda x: x):
            loss = stage_loss(made(context, target), target).loss
        assert len(calls) == 3
        made.backward(loss)
        assert len(calls) == (6 if again else 3)
        gradients = {name: p.grad for name, p in made.module.named_parameters()}
        average = make_average(made.module, 0.9)  # its blocks must be its own
        average.module.decoder.blocks[0].feed_forward.contract.weight.data.zero_()
        assert made.module.decoder.blocks[0].feed_forward.contract.weight.abs().sum() > 0
        with torch.no_grad():
            assert not torch.equal(average.module.eval()(context, target), made.module.eval()(context, target))
        found[again] = loss.item(), gradients, sum(kept)
    assert found[True][0] == found[False][0]
    for name, gradient in found[False][1].items():
        assert torch.allclose(found[True][1][name], gradient, atol=1e-7), name
    assert found[True][2] < 0.5 * found[False][2]


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
