"""The model of a stage: what each token may know, what it must not, and a stored loss that no rewrite may move.

`python tests/test_stage_lm.py` writes tests/golden/stage_lm_loss.json anew: do so only for a change that is meant to change
the numbers, and say so in the commit.
"""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from accompgen.config import ConfigError, StageConfig
from accompgen.layout import MASK, SPECIALS, interleave
from accompgen.model.stage_lm import StageLM, parameters

GOLDEN = Path(__file__).parent / "golden" / "stage_lm_loss.json"
VARIANTS = list(itertools.product(("semantic", "coarse", "fine"), ("prefix", "aligned"), ("interleave",)))
VARIANTS += list(itertools.product(("coarse", "fine"), ("prefix", "aligned"), ("delay",)))
every_variant = pytest.mark.parametrize("stage, context, pattern", VARIANTS)
LENGTHS = {"vocal": 6, "others": 6, "beat": 6, "given": 3, "chord": 3, "semantic": 6, "coarse": 9, "fine": 9}  # 0.12 s


def config(stage="coarse", context="aligned", pattern="interleave", **sizes):
    sizes = dict(width=16, layers=2, heads=2, context_layers=1, relative_buckets=8, relative_max_distance=20) | sizes
    sizes = dict(semantic_vocab=11, bins=13, coarse_codebooks=3, fine_codebooks=2) | sizes
    return StageConfig(stage, context=context, pattern=pattern, **sizes)


def build(stage="coarse", context="aligned", pattern="interleave", seed=0, **sizes):
    """A small model whose weights are large enough for everything to matter."""
    torch.manual_seed(seed)
    model = StageLM(config(stage, context, pattern, **sizes)).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def ids(model, rows=2, seed=1):
    """Random context and target of a model."""
    generator = torch.Generator().manual_seed(seed)
    grids = {
        s.name: torch.randint(s.vocab, (rows, s.codebooks, LENGTHS[s.name]), generator=generator) for s in model.layout.streams
    }
    return {s.name: grids[s.name] for s in model.layout.context}, grids[model.layout.target.name]


def tokens(logits):
    """[B, F, Q, V] -> [B, F * Q, V] in the order of the sequence."""
    return logits.flatten(1, 2)


def input_gradients(model, context, target, frame, codebook, prefix_ids=None):
    """Gradient sizes of the logits of a token at what the target's steps receive [N, W], and at the positions of each context
    and of what is told.
    """
    inputs = []
    model.token_embedding.register_forward_hook(lambda module, args, output: inputs.append((args[0], output)))
    logits = model(context, target, prefix_ids=prefix_ids)
    sizes = torch.autograd.grad(logits[0, frame, codebook].square().sum(), [output for _, output in inputs])
    sizes = [(rows, grad[0].abs().sum(-1)) for (rows, _), grad in zip(inputs, sizes)]
    history = [grad for rows, grad in sizes if rows.ndim == 3]
    return history[0], [grad for rows, grad in sizes if rows.ndim == 2]


@every_variant
def test_no_token_knows_itself_or_later_ones(stage, context, pattern):
    model = build(stage, context, pattern)
    grids, target = ids(model, rows=1)
    codebooks, frames = target.shape[1:]
    for frame, codebook in [(0, 0), (0, codebooks - 1), (2, 0), (frames - 1, codebooks - 1)]:
        history, heard = input_gradients(build(stage, context, pattern), grids, target, frame, codebook)
        step = model.layout.step_of(frames)[frame, codebook]  # it receives the slots of the step before
        assert (history[: step + 1] > 0).all(), "a token of the past is not heard"
        assert (history[step + 1 :] == 0).all(), "a token hears itself or the future"
        assert all((frames > 0).all() for frames in heard), "the context is known beforehand: all of it may be heard"


def test_a_delayed_token_knows_the_lower_codebooks_of_its_frame_but_not_the_higher_ones():
    model = build(pattern="delay")
    grids, target = ids(model)
    before = model(grids, target)[:, 4]  # [B, Q, V]
    for changed, hear in ((0, [1, 2]), (1, [2]), (2, [])):
        other = target.clone()
        other[:, changed, 4] = (other[:, changed, 4] + 1) % 13
        moved = (model(grids, other)[:, 4] != before).any(-1).any(0)
        assert moved.nonzero().flatten().tolist() == hear


@pytest.mark.parametrize("context", ["aligned", "prefix"])
def test_parts_of_a_context_can_be_dropped(context):
    """All parts dropped: as the whole; a part dropped: what stands there is not heard."""
    model = build("coarse", context)
    grids, target = ids(model)
    blocks = target.shape[-1] // 3
    drop = torch.zeros(2, blocks, dtype=torch.bool)
    drop[0] = True
    drop[1, 1] = True
    with torch.no_grad():
        logits = model(grids, target, drop=drop)
        torch.testing.assert_close(logits[:1], model(grids, target, drop=torch.tensor([True, False]))[:1])
        other = {name: grid.clone() for name, grid in grids.items()}
        for grid in other.values():
            grid[1, :, 2:4] = (grid[1, :, 2:4] + 1) % 5
        torch.testing.assert_close(logits[1], model(other, target, drop=drop)[1])
        assert not torch.allclose(logits[1], model(other, target)[1])


def check_steps(model, grids, target, prompts, prefix_ids=None):
    """Cached steps behind prompts of so many frames give the logits of the whole pass; the first row hears nothing."""
    flat, drop, layout = interleave(target), torch.tensor([True, False]), model.layout
    frames = target.shape[-1]
    slots = layout.slots_of(frames)
    with torch.no_grad():
        whole = tokens(model(grids, target, prefix_ids=prefix_ids, drop=drop))  # [B, F * Q, V]
        for given in prompts:
            state, logits = model.start(grids, target[..., :given], frames, drop, prefix_ids)
            first = layout.steps_before(given)
            for step in range(first, layout.steps(frames)):
                if step > first:
                    logits = model.step(state, flat[:, slots[step - 1]])
                full = slots[step] >= 0
                torch.testing.assert_close(logits[:, full], whole[:, slots[step][full]], rtol=1e-4, atol=2e-5)


@every_variant
def test_cached_logits_equal_uncached(stage, context, pattern):
    model = build(stage, context, pattern)
    grids, target = ids(model)
    check_steps(model, grids, target, (0, 4))


def test_bias_blocks_of_a_long_sequence_join():
    model = build("semantic", "prefix")
    generator = torch.Generator().manual_seed(0)
    vocal, target = (torch.randint(11, (1, 1, 150), generator=generator) for _ in range(2))
    with torch.no_grad():
        whole = tokens(model({"vocal": vocal}, target))
        state, logits = model.start({"vocal": vocal}, target[..., :0], 150)
        for token in range(1, 150):
            logits = model.step(state, target[:, :, token - 1])
            torch.testing.assert_close(logits[:, 0], whole[:, token], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("stage, first_that_hears", [("semantic", [0, 1, 2, 3]), ("coarse", [0, 2 * 3, 3 * 3, 5 * 3])])
def test_a_token_is_added_the_frame_that_sounds_with_it(stage, first_that_hears):
    """Without encoder blocks nothing looks ahead, so a changed context frame is first heard by the token of its own time."""
    model = build(stage, "aligned", context_layers=0)
    grids, target = ids(model)
    with torch.no_grad():
        before = tokens(model(grids, target))
        for frame, first in enumerate(first_that_hears):
            changed = {name: grid.clone() for name, grid in grids.items()}
            changed["vocal"][..., frame] = (changed["vocal"][..., frame] + 1) % 11
            moved = (tokens(model(changed, target)) != before).any(-1)  # [B, N]
            assert not moved[:, :first].any() and moved[:, first].all()


@every_variant
def test_drop_hides_the_whole_context_from_its_rows_alone(stage, context, pattern):
    model = build(stage, context, pattern)
    (grids, target), (others, _) = ids(model), ids(model, seed=2)
    drop = torch.tensor([False, True])
    with torch.no_grad():
        logits, same_target = model(grids, target, drop=drop), model(others, target, drop=drop)
        assert torch.equal(logits[1], same_target[1])
        assert not torch.equal(logits[0], same_target[0])
        torch.testing.assert_close(logits[0], model(grids, target)[0], rtol=1e-5, atol=1e-5)


@every_variant
def test_hidden_history_is_not_heard_but_still_predicted(stage, context, pattern):
    model = build(stage, context, pattern)
    (grids, target), (_, other) = ids(model), ids(model, seed=2)
    hide = torch.rand(2, target[0].numel(), generator=torch.Generator().manual_seed(3)) < 0.5
    keep = torch.where(hide, interleave(other), interleave(target))  # differs from target where hidden
    altered = keep.unflatten(1, (-1, target.shape[1])).transpose(1, 2)
    assert not torch.equal(altered, target)
    with torch.no_grad():
        assert torch.equal(model(grids, target, hide=hide), model(grids, altered, hide=hide))
        assert not torch.equal(model(grids, target), model(grids, altered))
        plain, masked = tokens(model(grids, target)), tokens(model(grids, target, hide=hide))
    steps = model.layout.step_of(target.shape[-1]).flatten()  # of each token
    first = int(steps[hide[0]].min())
    same = (plain[0] == masked[0]).all(-1)
    assert same[steps <= first].all(), "a hidden token changes what follows it, not itself"
    assert not same[steps == first + 1].any()


@pytest.mark.parametrize("stage, pattern", [("semantic", "interleave"), ("coarse", "delay")])
def test_a_pooled_context_is_heard_by_all_frames_of_its_pool_and_decodes_as_it_is_trained(stage, pattern):
    # 6 frames: the second pool is half empty
    model = build(stage, "aligned", pattern, context_pool=4, context_width=24)
    grids, target = ids(model)
    frames, steps = target.shape[-1], model.layout.steps(target.shape[-1])
    with torch.no_grad():
        logits, heard = model(grids, target, listen=True)
        changed = {name: grid.clone() for name, grid in grids.items()}
        changed["vocal"][:, :, 5] = (changed["vocal"][:, :, 5] + 1) % 11
        assert not torch.isclose(heard, model(changed, target, listen=True)[1]).all(-1).any()
        state, step = model.start(grids, target[:, :, :0], frames)
        found = [step]
        for n in range(1, steps):
            slots = model.layout.slots_of(frames)[n - 1].clamp(min=0)
            found.append(model.step(state, interleave(target)[:, slots]))
    at = model.layout.step_of(frames)  # [F, Q]
    slot = torch.arange(target.shape[1]) if pattern == "delay" else torch.zeros(target.shape[1], dtype=torch.long)
    assert torch.allclose(torch.stack(found, 1)[:, at, slot.expand_as(at)], logits, atol=1e-4)


def test_a_pool_of_frames_needs_an_encoder():
    with pytest.raises(ConfigError, match="context_pool is 4, but context_width is 0"):
        config(context="aligned", context_pool=4)
    with pytest.raises(ConfigError, match="context_width is 24, but context is 'prefix'"):
        config(context="prefix", context_width=24)


@pytest.mark.parametrize("pattern", ["interleave", "delay"])
def test_what_the_context_encoder_says_follows_from_the_context_alone(pattern):
    model = build("coarse", "aligned", pattern=pattern)
    (grids, target), (_, other) = ids(model), ids(model, seed=2)
    with torch.no_grad():
        logits, heard = model(grids, target, listen=True)
        assert heard.shape == logits.shape and torch.equal(logits, model(grids, target))
        assert torch.equal(heard, model(grids, other, listen=True)[1])
        changed = grids | {"vocal": (grids["vocal"] + 1) % 11}
        assert not torch.allclose(heard, model(changed, target, listen=True)[1])


@pytest.mark.parametrize("context", ["prefix", "aligned"])
def test_the_order_of_streams_and_codebooks_matters(context):
    model = build("coarse", context)
    grids, target = ids(model)
    swapped = {"vocal": grids["semantic"], "semantic": grids["vocal"]}
    with torch.no_grad():
        assert not torch.allclose(model(grids, target), model(swapped, target))
        assert not torch.allclose(model(grids, target)[:, -1], model(grids, target.flip(1))[:, -1])


def test_what_lies_behind_the_target_is_heard():
    model = build("semantic", "aligned")
    grids, target = ids(model)
    with torch.no_grad():
        short = model(grids, target[..., :4])
        grids["vocal"][..., 5] = (grids["vocal"][..., 5] + 1) % 11
        assert not torch.equal(model(grids, target[..., :4]), short)


def test_a_context_that_does_not_cover_the_target_is_refused():
    model = build("coarse")
    grids, target = ids(model)
    with pytest.raises(ValueError, match="'vocal' has shape .*covers 9 frames"):
        model(grids | {"vocal": grids["vocal"][..., :5]}, target)


# ---- a graph whose streams have three rates, and stages that are told something ----

BAND = dict(graph="band", text_vocab=7, text_pieces=3)
BAND_VARIANTS = [*itertools.product(("chart", "semantic", "coarse"), ("prefix", "aligned"), ("interleave",))]
BAND_VARIANTS += [("coarse", "prefix", "delay"), ("coarse", "aligned", "delay")]
every_band_variant = pytest.mark.parametrize("stage, context, pattern", BAND_VARIANTS)


def prefix_ids_of(model, rows=2, seed=4):
    """Random ids of all that a model is told."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randint(vocab, (rows, length), generator=draw) for name, vocab, length in model.layout.prefix}


@every_band_variant
def test_in_a_band_no_token_knows_later_ones_and_each_hears_all_it_is_told(stage, context, pattern):
    model = build(stage, context, pattern, **BAND)
    grids, target = ids(model, rows=1)
    codebooks, frames = target.shape[1:]
    prefix_ids = prefix_ids_of(model, rows=1)
    for frame, codebook in [(0, 0), (frames - 1, codebooks - 1)]:
        model = build(stage, context, pattern, **BAND)
        history, others = input_gradients(model, grids, target, frame, codebook, prefix_ids)
        step = model.layout.step_of(frames)[frame, codebook]
        assert (history[: step + 1] > 0).all() and (history[step + 1 :] == 0).all()
        assert len(others) == len(grids) + 1 and all((found > 0).all() for found in others)
        assert (model.layout.prefix_length,) in [found.shape for found in others]


@every_band_variant
def test_in_a_band_cached_logits_equal_uncached(stage, context, pattern):
    model = build(stage, context, pattern, **BAND)
    (grids, target), prefix_ids = ids(model), prefix_ids_of(model)
    check_steps(model, grids, target, (0, 2), prefix_ids)


@every_band_variant
def test_what_is_not_known_is_as_if_it_were_dropped(stage, context, pattern):
    model = build(stage, context, pattern, **BAND)
    (grids, target), prefix_ids = ids(model), prefix_ids_of(model)
    unknown = {name: torch.full_like(values, -1) for name, values in (grids | prefix_ids).items()}
    with torch.no_grad():
        logits = model(grids, target, prefix_ids=prefix_ids)
        dropped = model(grids, target, prefix_ids=prefix_ids, drop=torch.tensor([True, True]))
        assert torch.equal(dropped, model({name: unknown[name] for name in grids}, target))
        for name in grids:  # and each by itself matters
            assert not torch.allclose(logits, model(grids | {name: unknown[name]}, target, prefix_ids=prefix_ids))
        for name in prefix_ids:
            alone = model(grids, target, prefix_ids=prefix_ids | {name: unknown[name]})
            assert not torch.allclose(logits, alone)
            without = {other: ids for other, ids in prefix_ids.items() if other != name}
            assert torch.equal(alone, model(grids, target, prefix_ids=without))


def test_streams_of_several_rates_are_heard_where_they_sound():
    """Without encoder blocks nothing looks ahead: of the chart, a block of 40 ms is heard from its first frame on."""
    model = build("semantic", "aligned", context_layers=0, **BAND)
    (grids, target), prefix_ids = ids(model), prefix_ids_of(model)
    with torch.no_grad():
        before = tokens(model(grids, target, prefix_ids=prefix_ids))
        for name, frames_of_one in (("vocal", 1), ("others", 1), ("beat", 1), ("chord", 2)):
            for frame in range(grids[name].shape[-1]):
                changed = grids | {name: grids[name].clone()}
                changed[name][..., frame] = (changed[name][..., frame] + 1) % 11
                moved = (tokens(model(changed, target, prefix_ids=prefix_ids)) != before).any(-1)
                first = frame * frames_of_one
                assert not moved[:, :first].any() and moved[:, first].all(), name


@every_variant
def test_an_untrained_model_knows_nothing(stage, context, pattern):
    torch.manual_seed(0)
    model = StageLM(config(stage, context, pattern, width=64, heads=4, semantic_vocab=500, bins=1024))
    logits = model(*ids(model))
    vocab = logits.shape[-1]
    loss = F.cross_entropy(logits.flatten(0, 2), ids(model)[1].transpose(1, 2).flatten())
    assert loss.item() == pytest.approx(math.log(vocab), rel=0.02)


@pytest.mark.parametrize("context, pattern", [("prefix", "interleave"), ("aligned", "interleave"), ("aligned", "delay")])
def test_overfits_one_batch(context, pattern):
    torch.manual_seed(0)
    model = StageLM(config("coarse", context, pattern, width=32))
    grids, target = ids(model, rows=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = F.cross_entropy(model(grids, target).flatten(0, 2), target.transpose(1, 2).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # ln 13 = 2.56 at the start


def test_every_parameter_learns():
    for variant in VARIANTS:
        model = build(*variant)
        grids, target = ids(model)
        hide = torch.zeros(2, target[0].numel(), dtype=torch.bool)
        hide[0, 1] = True
        model(grids, target, drop=torch.tensor([True, False]), hide=hide).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.any(), f"{variant}: {name} has no gradient"
        assert model.token_embedding.weight.grad[:SPECIALS].any(1).all() and MASK < SPECIALS


def test_published_size_is_about_250_million_in_three_stages():
    """12 blocks of width 640 and 10 heads, the published vocabularies, context as a prefix."""
    published = [StageConfig(stage, width=640, heads=10, context="prefix") for stage in ("semantic", "coarse", "fine")]
    with torch.device("meta"):
        semantic, coarse, fine = (parameters(StageLM(sizes)) for sizes in published)
    assert 240e6 < semantic + coarse + fine < 265e6
    assert fine > coarse > semantic


# ---- the stored loss ----


def closed_form(model):
    """Weights and ids that no random generator, and so no version of torch, can change."""
    for number, (name, parameter) in enumerate(model.named_parameters()):
        wave = torch.sin(0.37 * torch.arange(parameter.numel(), dtype=torch.float64) ** 2 + number).reshape(parameter.shape)
        parameter.data = 1.0 * name.endswith("gain") + 0.3 * wave
    grids = {}
    for number, stream in enumerate(model.layout.streams):
        shape = (2, stream.codebooks, LENGTHS[stream.name])
        grids[stream.name] = ((torch.arange(math.prod(shape)) ** 2 + 7 * number) % stream.vocab).reshape(shape)
    return {s.name: grids[s.name] for s in model.layout.context}, grids[model.layout.target.name]


def golden_loss(stage, context, pattern):
    model = StageLM(config(stage, context, pattern)).double().eval()
    grids, target = closed_form(model)
    hide = torch.arange(target[0].numel()).expand(2, -1) % 5 == 3
    with torch.no_grad():
        logits = model(grids, target, drop=torch.tensor([False, True]), hide=hide).double()
    return F.cross_entropy(logits.flatten(0, 2), target.transpose(1, 2).flatten()).item()


@every_variant
def test_the_stored_loss_stands(stage, context, pattern):
    stored = json.loads(GOLDEN.read_text())
    loss = golden_loss(stage, context, pattern)
    assert loss == pytest.approx(stored[f"{stage} {context} index {pattern}"], abs=1e-6)


if __name__ == "__main__":
    losses = {" ".join((*variant[:2], "index", variant[2])): golden_loss(*variant) for variant in VARIANTS}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")
    print(GOLDEN.read_text())
