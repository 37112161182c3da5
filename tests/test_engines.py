"""Engines beside torch: the same ids, whatever a decoding is asked for; and they say what they cannot do."""

import importlib.util
import json

import pytest
import torch
from tiny import sing

from accompgen import audio, cli, engines
from accompgen.checkpoint import read_checkpoint
from accompgen.config import StageConfig
from accompgen.engines import EngineError, choose_engine
from accompgen.generation.cascade import cascade, cascade_in_pieces
from accompgen.generation.decode import decode, prepare_for_decoding
from accompgen.generation.load import load_stages
from accompgen.generation.sampling import PUBLISHED, Sampling, sample
from accompgen.layout import frames_covering
from accompgen.model.stage_lm import StageLM
from accompgen.seeding import make_generator

missing = [name for name in engines.NEEDS if importlib.util.find_spec(name) is None]
compiled = pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")
FRAMES = 20
GREEDY = Sampling(temperature=0.0)


def build(stage="coarse", seed=0, **sizes):
    torch.manual_seed(seed)
    settings = dict(width=32, layers=2, heads=4, context_layers=1, relative_buckets=8, relative_max_distance=16)
    settings |= dict(semantic_vocab=11, bins=16, coarse_codebooks=3, fine_codebooks=2)
    model = StageLM(StageConfig(stage, **settings | sizes))
    for name, weight in model.named_parameters():  # biases and gains that matter
        if name.endswith("bias") or "gain" in name or "table" in name:
            weight.data += 0.3 * torch.randn_like(weight)
    torch.nn.init.normal_(model.heads, std=0.5)
    return model.eval().requires_grad_(False)


def context_of(model, rows, seed=1):
    draw, target = torch.Generator().manual_seed(seed), model.layout.target
    shapes = {stream: (rows, stream.codebooks, frames_covering(target, FRAMES, stream)) for stream in model.layout.context}
    return {stream.name: torch.randint(stream.vocab, shape, generator=draw) for stream, shape in shapes.items()}


def both(model, rows, sampling, int8=False, given=0, prefix_ids=None, context=None):
    """The ids of a decoding by torch and by the engine."""
    from accompgen.engines.onnx_steps import OnnxSteps

    context, target = context or context_of(model, rows), model.layout.target
    prompt = torch.randint(target.vocab, (rows, target.codebooks, given), generator=torch.Generator().manual_seed(2))
    return [
        decode(
            model, dict(context), FRAMES, sampling, [make_generator(5, "test", row) for row in range(rows)], prompt,
            prefix_ids=prefix_ids, engine=engine,
        )
        for engine in (None, OnnxSteps(model, int8=int8))
    ]  # fmt: skip


@compiled
@pytest.mark.parametrize("context", ["prefix", "aligned"])
@pytest.mark.parametrize("pattern", ["interleave", "delay"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("kv_heads", [0, 2])
def test_greedy_ids_are_those_of_torch(context, pattern, guidance, kv_heads):
    model = build(context=context, pattern=pattern, kv_heads=kv_heads)
    for rows, given in ((1, 0), (3, 4)):
        slow, quick = both(model, rows, Sampling(temperature=0.0, guidance=guidance), given=given)
        assert torch.equal(slow, quick)


@compiled
@pytest.mark.parametrize(
    "settings", [dict(top_k=0), dict(top_k=5, guidance=1.0), dict(top_k=5, top_p=0.8)]
)
def test_sampled_ids_are_those_of_torch_for_a_seed(settings):
    """top_p is torch's own, behind the engine's logits."""
    slow, quick = both(build(pattern="delay"), 2, Sampling(**settings), given=3)
    assert torch.equal(slow, quick) and len(slow.unique()) > 4


@compiled
@pytest.mark.parametrize("pattern", ["interleave", "delay"])
@pytest.mark.parametrize(
    "settings", [{}, dict(temperature=0.4, top_k=1), dict(temperature=2.0, top_k=9), dict(temperature=0)]
)
@pytest.mark.parametrize("biased", [False, True])
def test_the_graph_draws_what_sampling_does(pattern, settings, biased):
    """Of the very logits that it has, for numbers of both ends, too."""
    from accompgen.engines.onnx_steps import OnnxSteps

    songs, model, draw = 12, build(pattern=pattern), torch.Generator().manual_seed(6)
    engine, chosen = OnnxSteps(model), Sampling(**settings).over(Sampling(1.3, 0, 1.0, 2.5))
    context = {name: grid.repeat(2, 1, 1) for name, grid in context_of(model, songs).items()}
    drop, nothing = torch.arange(2 * songs) >= songs, torch.zeros(2 * songs, 3, 0, dtype=torch.long)
    states = [model.start(context, nothing, FRAMES, drop)[0] for _ in range(2)]
    steps, slots = model.layout.steps(FRAMES) - 1, model.layout.slots
    chances = torch.rand(steps, songs, slots, generator=draw, dtype=torch.float64)
    chances[:, 0], chances[:, 1] = 0.0, 1 - 2**-53
    at = torch.randint(40, (steps, slots), generator=draw)
    bias = torch.randn(songs, 40, model.layout.target.vocab, generator=draw) if biased else None
    settings = chosen.guidance, chosen.temperature, chosen.top_k
    quick = engine.draw(states[0], chances, *settings, bias, at)
    logits_of = engine.logits(states[1], songs, chosen.guidance)
    ids, seen = torch.zeros(songs, slots, dtype=torch.long), []
    for n in range(steps):
        logits, before, ids = logits_of(ids), ids, torch.empty_like(ids)
        quick(before.numpy(), ids.numpy())
        logits = logits if bias is None else logits + bias[:, at[n]]
        assert torch.equal(ids, sample(logits, chances[n], chosen))
        seen.append(ids)
    assert len(torch.cat(seen).unique()) > 8


@compiled
@pytest.mark.parametrize("int8", [False, True])
def test_what_is_given_of_a_step_stays(int8):
    """In the delay pattern the first steps behind a prompt have slots of its frames."""
    from accompgen.engines.onnx_steps import OnnxSteps

    model, generators = build(pattern="delay"), [make_generator(5, "test", row) for row in range(2)]
    prompt = torch.randint(16, (2, 3, 7), generator=torch.Generator().manual_seed(2))
    engine = OnnxSteps(model, int8=int8)
    context = context_of(model, 2)
    ids = decode(model, context, FRAMES, PUBLISHED, generators, prompt, engine=engine)
    assert torch.equal(ids[..., :7], prompt)


@compiled
def test_a_single_step_is_left():
    model = build("semantic")
    slow, quick = both(model, 2, GREEDY, given=FRAMES - 1)
    assert torch.equal(slow, quick)


@compiled
def test_what_the_context_alone_tells_is_added():
    model = build("semantic", context="aligned", context_width=32, context_layers=1, context_pool=5)
    torch.nn.init.normal_(model.listener.heads, std=0.5)
    plain, prefix_ids = both(model, 2, GREEDY), both(model, 2, Sampling(temperature=0.0, listening=4.0))
    assert torch.equal(*plain) and torch.equal(*prefix_ids) and not torch.equal(plain[0], prefix_ids[0])


@compiled
@pytest.mark.parametrize("stage, pattern", [("chart", "interleave"), ("semantic", "interleave"), ("coarse", "delay")])
def test_streams_of_several_rates_missing_ones_and_what_is_told(stage, pattern):
    model = build(stage, context="aligned", pattern=pattern, graph="band", text_vocab=7, text_pieces=3)
    context, draw = context_of(model, 2), torch.Generator().manual_seed(3)
    context[model.layout.context[-1].name][1] = -1
    prefix_ids = {name: torch.randint(vocab, (2, length), generator=draw) for name, vocab, length in model.layout.prefix}
    slow, quick = both(model, 2, GREEDY, given=2, prefix_ids=prefix_ids, context=context)
    assert torch.equal(slow, quick)


@compiled
def test_a_row_does_not_depend_on_its_batch():
    from accompgen.engines.onnx_steps import OnnxSteps

    model = build(pattern="delay")
    for int8 in (False, True):
        engine, context = OnnxSteps(model, int8=int8), context_of(model, 3)
        seeds = [make_generator(7, "test", row) for row in range(3)]
        together = decode(model, context, FRAMES, PUBLISHED, seeds, engine=engine)
        for row in range(3):
            alone = {name: grid[row : row + 1] for name, grid in context.items()}
            own = decode(model, alone, FRAMES, PUBLISHED, [make_generator(7, "test", row)], engine=engine)
            assert torch.equal(together[row : row + 1], own)


@compiled
def test_weights_of_8_bits_are_near():
    """One step's logits: nearer to torch's than 3 % of their spread, and not the same."""
    from accompgen.engines.onnx_steps import OnnxSteps

    model, states = build(pattern="delay"), []
    for _ in range(2):
        states.append(model.start(context_of(model, 2), torch.zeros(2, 3, 0, dtype=torch.long), FRAMES)[0])
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    engine = OnnxSteps(model, int8=True)
    exact, near = model.step(states[0], ids), engine.logits(states[1], songs=2)(ids)
    assert 0 < (exact - near).square().mean().sqrt() < 0.03 * exact.std()


@compiled
def test_a_song_is_the_same_whole_and_in_pieces(tiny_checkpoint):
    system = load_stages(read_checkpoint(tiny_checkpoint), "cpu", engine="onnx")
    assert all(stage.engine.name == "onnx float32" for stage in system.stages.values())
    vocal = torch.randint(5, (1, 100), generator=torch.Generator().manual_seed(0))
    sampling = dict.fromkeys(system.graph.stage_names, PUBLISHED)
    whole = cascade(system, vocal, sampling, 3)
    pieces = list(cascade_in_pieces(system, [vocal[:, :40], vocal[:, 40:]], sampling, 3, {}))
    assert torch.equal(whole.codes, torch.cat([piece.codes for piece in pieces], dim=-1))
    slow = load_stages(read_checkpoint(tiny_checkpoint), "cpu", engine="torch")
    assert all(stage.engine is None for stage in slow.stages.values())
    greedy = dict.fromkeys(sampling, GREEDY)
    assert torch.equal(cascade(system, vocal, greedy, 3).codes, cascade(slow, vocal, greedy, 3).codes)


@compiled
def test_the_command_line_reaches_the_steps(tiny_checkpoint, tmp_path, capsys):
    """What is asked for with --engine stands in the song's report, stage by stage; what cannot be is said."""
    audio.write(tmp_path / "voice.wav", sing(0.5), 44_100)
    command = ["generate", str(tmp_path / "voice.wav"), "--checkpoint", str(tiny_checkpoint), "--quiet", "--engine"]
    for engine, steps in (("torch", "torch"), ("onnx", "onnx float32")):
        assert cli.main([*command, engine, "-o", str(tmp_path / engine)]) == 0
        used = json.loads((tmp_path / engine / "voice.json").read_text())["engines"]
        assert set(used) == {"semantic", "coarse", "fine"} and all(name.startswith(steps) for name in used.values())
    assert cli.main([*command, "onnx-int8", "-o", str(tmp_path)]) == 1
    assert "stage has a width of 16, and the engine 'onnx-int8' needs a multiple of 32" in capsys.readouterr().err


def test_what_is_chosen(monkeypatch):
    assert choose_engine("auto", "cuda") == "torch" and choose_engine("torch", "cpu") == "torch"
    with pytest.raises(EngineError, match="no engine 'tpu'; expected one of auto, torch"):
        choose_engine("tpu", "cpu")
    with pytest.raises(EngineError, match="works on the CPU; on cuda"):
        choose_engine("onnx", "cuda")
    monkeypatch.setattr(engines, "NEEDS", ("onnxruntime_that_is_not_there",))
    assert choose_engine("auto", "cpu") == "torch"
    with pytest.raises(EngineError, match=r"needs onnxruntime_that_is_not_there: pip install 'accompgen\[fast\]'"):
        choose_engine("onnx", "cpu")
    monkeypatch.setattr(engines, "NEEDS", ("torch",))
    assert choose_engine("auto", "cpu") == "onnx"


@compiled
def test_sizes_that_the_operators_do_not_take_are_refused():
    from accompgen.engines.onnx_steps import OnnxSteps

    with pytest.raises(EngineError, match="coarse stage has heads of 4 values, .* a multiple of 8; use --engine torch"):
        OnnxSteps(build(width=16))
    with pytest.raises(EngineError, match="coarse stage has a width of 48, .* a multiple of 32"):
        OnnxSteps(build(width=48, heads=2), int8=True)


@compiled
def test_layers_without_a_graph_are_refused():
    """Whatever is added to the model later is refused until the graph has nodes for it."""
    from accompgen.engines.onnx_steps import OnnxSteps

    with pytest.raises(EngineError, match="coarse stage has a layer DecodingNorm, for which the engine 'onnx' builds no"):
        OnnxSteps(prepare_for_decoding(build()))
    other = build()
    other.decoder.norm = torch.nn.LayerNorm(32)
    with pytest.raises(EngineError, match="a layer LayerNorm"):
        OnnxSteps(other)
