"""The training loop: exact resume, clean stops, errors that name the step, and a model that learns and listens."""

import dataclasses
import json
import math
import os
import signal

import pytest
import torch
from fake_shards import BINS, VOCAB, make_shards

from accompgen.component import load_component
from accompgen.config import ConfigError, StageConfig, TrainConfig, from_dict
from accompgen.data.batches import Batches
from accompgen.data.shards import open_shards
from accompgen.model.stage_lm import StageLM
from accompgen.training import listening, loop, state
from accompgen.training.loss import stage_loss

pytest.importorskip("deepspeed", reason="training needs the extra `train`")
SIZES = dict(semantic_vocab=VOCAB, bins=BINS, coarse_codebooks=2, fine_codebooks=2)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("data") / "shards")


def config(shards, stage="semantic", **values):
    model = StageConfig(stage, width=16, layers=1, heads=2, context_layers=1, dropout=0.1, **SIZES)
    settings = dict(steps=6, batch_size=2, window_seconds=0.4, warmup_steps=2, learning_rate=1e-2, device="cpu")
    settings |= dict(log_every=1, validate_every=4, validation_windows=4, save_every=1000)
    return TrainConfig(model, str(shards), **{**settings, **values})


def losses(run_dir):
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.mark.parametrize("values", [{}, {"accumulation": 2, "ema_decay": 0.9, "dtype": "bfloat16"}, {"optimizer": "muon"}])
def test_n_plus_m_steps_are_those_of_one_run(shards, tmp_path, values):
    settings = config(shards, **values)
    loop.train(settings, tmp_path / "whole")
    first = loop.train(settings, tmp_path / "parts", pause_after_steps=3)
    assert not first["finished"] and first["step"] == 3 and not (tmp_path / "parts" / "model").exists()
    torch.rand(7)  # whatever the process did in between
    second = loop.train(settings, tmp_path / "parts")
    assert second["finished"] and second["step"] == 6
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts") and len(losses(tmp_path / "parts")) == 6
    (about, one), (_, other) = load_component(tmp_path / "whole" / "model"), load_component(tmp_path / "parts" / "model")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert about["step"] == 6 and about["tokenizers"]["semantic"] == "s" * 64 and about["stage"]["width"] == 16
    assert loop.train(settings, tmp_path / "parts")["step"] == 6  # nothing more to do


def test_the_average_of_the_weights_is_what_is_validated_and_kept(shards, tmp_path, monkeypatch):
    real, seen = loop.deepspeed_engine.update, []

    def noted(engine):
        norm = real(engine)
        seen.append({name: p.detach().clone() for name, p in engine.module.named_parameters()})
        return norm

    monkeypatch.setattr(loop.deepspeed_engine, "update", noted)
    settings = config(shards, ema_decay=0.3, validate_every=3)
    loop.train(settings, tmp_path / "run", pause_after_steps=2)
    loop.train(settings, tmp_path / "run")
    expected = seen[0]
    for count, weights in enumerate(seen[1:], 1):
        keep = min(0.3, (1 + count) / (10 + count))
        expected = {name: keep * expected[name] + (1 - keep) * weights[name] for name in expected}
    held_out = listening.prepare(open_shards(shards), settings)

    def cross_entropy(weights):
        model = StageLM(settings.model).eval()
        model.load_state_dict(weights)

        def logits_of(context, target, prefix_ids):
            return model(context, target, prefix_ids=prefix_ids)

        return listening.validate(logits_of, "cpu", held_out, 4)["cross_entropy"]

    for name in ("model", "snapshot"):
        about, kept = load_component(tmp_path / "run" / name)
        assert all(torch.allclose(kept[key], expected[key], atol=1e-6) for key in expected)
        assert about["validation"]["cross_entropy"] == pytest.approx(cross_entropy(kept), abs=1e-6)
        assert abs(about["validation"]["cross_entropy"] - cross_entropy(seen[-1])) > 1e-4


@pytest.mark.parametrize("stage", ["chart", "semantic", "coarse"])
def test_a_stage_of_a_band_is_trained_and_goes_on(tmp_path, stage):
    """Streams of three rates, one muted by itself, a chart that is not known everywhere."""
    shards = make_shards(tmp_path / "shards", songs=8, band=True)
    sizes = SIZES | dict(width=16, layers=1, heads=2, context_layers=1, text_vocab=9, text_pieces=2)
    model = StageConfig(stage, graph="band", **sizes)
    muted = {"semantic": {"others": 0.5, "stem": 0.3}, "chart": {"given": 0.9}}.get(stage, {})
    settings = dataclasses.replace(config(shards), model=model, stream_dropout=muted, steps=3)
    loop.train(settings, tmp_path / "whole")
    loop.train(settings, tmp_path / "parts", pause_after_steps=1)
    done = loop.train(settings, tmp_path / "parts")
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert all(math.isfinite(loss) for _, loss in losses(tmp_path / "parts")) and done["validation"]["windows"] == 4
    about, _ = load_component(tmp_path / "parts" / "model")
    assert from_dict(StageConfig, about["stage"]).rows.name == "band"


def test_sigterm_saves_and_ends_the_call(shards, tmp_path, monkeypatch):
    real, calls = loop._forward, []

    def kills(engine, batch, listening_weight):
        calls.append(batch)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(engine, batch, listening_weight)

    monkeypatch.setattr(loop, "_forward", kills)
    before = signal.getsignal(signal.SIGTERM)
    done = loop.train(config(shards), tmp_path / "run")
    assert (done["step"], done["finished"]) == (2, False)
    assert signal.getsignal(signal.SIGTERM) is before
    loop.train(config(shards), tmp_path / "run", pause_after_steps=1)
    assert [step for step, _ in losses(tmp_path / "run")] == [1, 2, 3]


def test_the_context_encoder_alone_learns_to_name_the_target(shards, tmp_path):
    def named(run, weight):  # cross-entropy of what the encoder says after training
        loop.train(config(shards, steps=30, learning_rate=1e-2, listening_weight=weight), tmp_path / run)
        about, kept = load_component(tmp_path / run / "model")
        model = StageLM(from_dict(StageConfig, about["stage"]))
        model.load_state_dict(kept)
        held_out = listening.prepare(open_shards(shards), config(shards))
        with torch.no_grad():
            heard = model.eval()(held_out.contexts["true"], held_out.target, listen=True)[1]
        return stage_loss(heard, held_out.target).loss.item()

    assert named("with", 1.0) < 0.8 * named("without", 0.0)


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_last_state(shards, tmp_path, monkeypatch):
    settings = config(shards)
    loop.train(settings, tmp_path / "run", pause_after_steps=2)
    real = loop.stage_loss

    def broken(logits, target):
        return dataclasses.replace(real(logits, target), loss=logits.sum() * math.nan)

    monkeypatch.setattr(loop, "stage_loss", broken)
    with pytest.raises(loop.TrainingError, match=r"the loss at step 3 is nan; the batch was song-\d at \d"):
        loop.train(settings, tmp_path / "run")
    monkeypatch.setattr(loop, "stage_loss", real)
    assert loop.train(settings, tmp_path / "run", pause_after_steps=1)["step"] == 3


def test_a_gradient_that_is_not_finite_stops_before_it_is_saved(shards, tmp_path, monkeypatch):
    settings = config(shards, save_every=1)
    loop.train(settings, tmp_path / "run", pause_after_steps=2)
    real = loop.deepspeed_engine.update
    monkeypatch.setattr(loop.deepspeed_engine, "update", lambda engine: real(engine) * math.inf)
    with pytest.raises(loop.TrainingError, match=r"the gradient's norm at step 3 is inf; the batch was song-\d at \d"):
        loop.train(settings, tmp_path / "run")
    monkeypatch.setattr(loop.deepspeed_engine, "update", real)
    assert loop.train(settings, tmp_path / "run", pause_after_steps=1)["step"] == 3


def test_a_run_that_is_made_longer_has_no_model_until_its_new_end(shards, tmp_path):
    loop.train(config(shards, steps=2), tmp_path / "run")
    assert (tmp_path / "run" / "model").exists()
    loop.train(config(shards, steps=4), tmp_path / "run", pause_after_steps=1)
    assert not (tmp_path / "run" / "model").exists()
    loop.train(config(shards, steps=4), tmp_path / "run")
    assert (tmp_path / "run" / "model").exists()


def test_a_run_does_not_go_on_with_other_tokens(shards, tmp_path, monkeypatch):
    loop.train(config(shards), tmp_path / "run", pause_after_steps=1)
    monkeypatch.setattr(state, "shards_digest", lambda shards: "other")
    with pytest.raises(ConfigError, match="was trained on other tokens than .* holds now"):
        loop.train(config(shards), tmp_path / "run")


def test_a_save_that_was_cut_off_leaves_the_state_before(shards, tmp_path, monkeypatch):
    settings = config(shards)
    loop.train(settings, tmp_path / "run", pause_after_steps=2)
    half = tmp_path / "run" / "last" / "step-00000003"
    half.mkdir()
    (half / "mp_rank_00_model_states.pt").write_bytes(b"half")
    assert loop.train(settings, tmp_path / "run", pause_after_steps=1)["step"] == 3
    assert [path.name for path in (tmp_path / "run" / "last").glob("step-*")] == ["step-00000003"]


def test_a_run_directory_belongs_to_one_configuration(shards, tmp_path):
    state.claim(tmp_path / "run", config(shards))
    state.claim(tmp_path / "run", config(shards, steps=9, log_every=3))
    with pytest.raises(ConfigError, match="= 2 windows a step, now it is 4 x 1 x 1 = 4"):
        state.claim(tmp_path / "run", config(shards, batch_size=4))
    wider = dataclasses.replace(config(shards).model, width=32)
    with pytest.raises(ConfigError, match=r"run was started with model.width = 16, now it is model.width = 32; "):
        state.claim(tmp_path / "run", dataclasses.replace(config(shards), model=wider))


def test_the_learning_rate_warms_up_and_follows_the_share_of_the_run(shards):
    settings = config(shards, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [loop.learning_rate(settings, step, share) for step, share in ((0, 0.0), (4, 0.0), (50, 0.0), (50, 0.5), (50, 1.0))]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 0.55, 0.1])


def test_a_budget_of_minutes_ends_the_run(shards, tmp_path):
    done = loop.train(config(shards, steps=10**6, minutes=0.01), tmp_path / "run")  # 0.6 s
    assert done["finished"] and 0 < done["step"] < 10**6
    rates = [json.loads(line)["learning_rate"] for line in (tmp_path / "run" / "log.jsonl").open() if "learning_rate" in line]
    assert len(rates) < 4 or rates[-1] < max(rates)


def test_it_learns_the_songs_and_listens_to_them(shards, tmp_path):
    settings = config(shards, "coarse", steps=150, batch_size=8, learning_rate=2e-2, validate_every=1000, history_masking=0.5)
    settings = dataclasses.replace(settings, validation_windows=12, log_every=50)
    result = loop.train(settings, tmp_path / "run")["validation"]
    assert result["cross_entropy"] < 0.7 * result["bigram"]  # the codes follow the context, which the bigram does not know
    gain, error = result["gain"]["shuffled"]["all"]
    assert gain > 5 * error and gain > 0.2
    assert result["gain"]["shuffled_semantic"]["all"][0] > result["gain"]["shuffled_vocal"]["all"][0]


def test_a_listener_is_trained_by_itself_and_then_apart_from_the_decoder(shards, tmp_path):
    model = StageConfig(
        "semantic", width=16, layers=1, heads=2, context_layers=1, context_width=24, context_pool=3, dropout=0.0, **SIZES
    )
    settings = dataclasses.replace(config(shards, listening_weight=0.5, steps=40), model=model)
    alone = loop.train(dataclasses.replace(settings, encoder_learns="alone"), tmp_path / "alone")
    torch.manual_seed(settings.seed)
    start = StageLM(model).state_dict()
    _, tensors = load_component(tmp_path / "alone" / "model")
    moved = {name for name in start if not torch.equal(start[name], tensors[name])}
    assert moved and all(name.startswith("listener.") for name in moved)
    assert alone["validation"]["gain"]["shuffled"]["all"][0] > 0  # of what the encoder alone names

    settings = dataclasses.replace(settings, encoder_learns="apart", start_from=str(tmp_path / "alone" / "model"))
    loop.train(settings, tmp_path / "apart")
    _, tensors = load_component(tmp_path / "apart" / "model")
    assert not torch.equal(tensors["heard.weight"], start["heard.weight"])
    # the decoder's loss does not reach the listener: without the other one it would stay as it is
    lm = StageLM(model)
    loop._choose_learners(lm, "apart")
    batch = Batches(open_shards(shards), settings).next()
    stage_loss(lm(batch.context, batch.target), batch.target).loss.backward()
    assert lm.heard.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in lm.listener.parameters())
    with pytest.raises(ConfigError, match="encoder_learns is 'alone', which needs an encoder of its own"):
        dataclasses.replace(config(shards), encoder_learns="alone")


def test_a_graph_of_ones_own_stands_in_a_file(shards, tmp_path):
    """A stage of a graph that the code does not know trains, and its component carries the graph."""
    graph = tmp_path / "mine.toml"
    graph.write_text(
        'name = "mine"\n'
        '[[streams]]\nname = "sung"\ntokenizer = "semantic"\ntrack = "vocal"\nvocab = 20\n'
        '[[streams]]\nname = "played"\ntokenizer = "semantic"\ntrack = "stem"\nvocab = 20\n'
        '[[stages]]\nname = "answer"\ncontext = ["sung"]\ntarget = "played"\nprompt_share = 0.5\n'
    )
    file = tmp_path / "answer.toml"
    file.write_text(
        f'shards = "{shards}"\nsteps = 2\nbatch_size = 2\nwindow_seconds = 0.4\nvalidation_windows = 2\ntensorboard = false\n'
        f'device = "cpu"\n[model]\nstage = "answer"\ngraph = "{graph}"\nwidth = 16\nlayers = 1\nheads = 2\ncontext_layers = 1\n'
    )
    done = loop.train_file(file, run_dir=tmp_path / "run")
    assert done["finished"]
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["stage"]["own_graph"]["stages"][0]["name"] == "answer" and list(config["tokenizers"]) == ["semantic"]
