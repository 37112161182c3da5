"""The three stages in order: prompts, contexts and seams by a recording stand-in for `decode`; seeds by real tiny models."""

from types import SimpleNamespace

import pytest
import torch
from tiny import VOCAB, make_system

from accompgen.generation import cascade as module
from accompgen.generation import schedule
from accompgen.generation.cascade import cascade, cascade_in_pieces
from accompgen.generation.sampling import Sampling
from accompgen.generation.schedule import LoadedStage, System
from accompgen.layout import Layout
from accompgen.model.logit_bias import EARLIER_VOCAL
from accompgen.seeding import make_generator
from accompgen.stages import accompgen

STAGES = accompgen().stage_names
SAMPLING = dict.fromkeys(STAGES, Sampling(guidance=2.0))


@pytest.fixture(scope="module")
def system():
    return make_system()


def vocal(seconds, seed=0):
    return torch.randint(VOCAB, (1, round(seconds * 50)), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def calls(monkeypatch):
    """A stand-in for `decode` that records its calls and gives the number of the call as every code, which tells its origin."""
    calls = []

    def decode(model, context, frames, sampling, generators, prompt, progress, prefix_ids, engine):
        assert (EARLIER_VOCAL in context) == bool(sampling.pulse) and prefix_ids == {}
        earlier = context.pop(EARLIER_VOCAL)[0, 0].tolist() if sampling.pulse else None
        call = {"context": context, "frames": frames, "rows": len(generators), "prompt": prompt, "earlier": earlier}
        calls.append(SimpleNamespace(name=model.name, **call))
        result = torch.full((len(generators), model.layout.target.codebooks, frames), len(calls))
        given = 0
        if prompt is not None:
            given = prompt.shape[-1]
            result[..., :given] = -1  # the cascade must keep the earlier window's frames, not take these
        for frame in range(given, frames if progress else 0):
            progress(frame + 1, frames)
        return result

    monkeypatch.setattr(module, "decode", decode)
    return calls


def stand_ins(**windows):
    graph = accompgen()
    models = {name: SimpleNamespace(name=name, layout=Layout.of(name, graph), beat_tracker="there") for name in STAGES}
    return System(graph, {name: LoadedStage(models[name], windows[name]) for name in STAGES})


def test_windows_prompts_and_contexts_of_a_song(calls, monkeypatch):
    monkeypatch.setattr(schedule, "EARLIER_SECONDS", 0.2)
    units = torch.arange(100)[None]  # 2 s
    sampling = SAMPLING | {"semantic": Sampling(pulse=1.0)}
    tokens = cascade(stand_ins(semantic=1.2, coarse=1.2, fine=0.8), units, sampling, seed=0)
    semantic, coarse, fine = ([call for call in calls if call.name == name] for name in STAGES)
    # semantic: windows of 1.2 s, prompt 0.6 s: 0-1.2, 0.6-1.8, and 0.8-2.0 moved left
    assert [call.context["vocal"][0, 0, 0].item() for call in semantic] == [0, 30, 40]
    assert [call.prompt.shape[-1] for call in semantic] == [0, 30, 50]
    assert [call.earlier for call in semantic] == [[], list(range(20, 30)), list(range(30, 40))]  # five blocks
    assert [call.earlier for call in coarse + fine] == [None] * 3
    assert tokens.semantic[0].tolist() == [1] * 60 + [2] * 30 + [3] * 10
    assert (semantic[2].prompt[0, 0].tolist()) == [1] * 20 + [2] * 30  # what the windows before it gave
    # coarse: prompt 0.4 s; the context is what belongs to the window, vocal and semantic
    assert [call.prompt.shape[-1] for call in coarse] == [0, 30]
    assert coarse[1].context["vocal"][0, 0].tolist() == list(range(40, 100))
    assert torch.equal(coarse[1].context["semantic"][0, 0], tokens.semantic[0, 40:])
    assert tokens.codes[:4].tolist() == [[4] * 90 + [5] * 60] * 4
    # fine: no prompts, one batch, every window sees its own coarse codes
    assert [(call.rows, call.frames, call.prompt) for call in fine] == [(3, 60, None)]
    assert torch.equal(fine[0].context["coarse"][2], tokens.codes[:4, 90:])
    assert tokens.codes.shape == (8, 150) and set(tokens.codes[4:].unique().tolist()) == {6}


def test_a_long_song_is_decoded_in_batches_of_bounded_size(calls):
    cascade(stand_ins(semantic=10.0, coarse=3.0, fine=3.0), torch.zeros(1, 240 * 50, dtype=torch.long), SAMPLING, seed=0)
    assert [call.rows for call in calls if call.name == "fine"] == [8] * 10
    assert sum(call.name == "semantic" for call in calls) == 47 and sum(call.name == "coarse" for call in calls) == 120
    assert max(call.frames for call in calls) == 500  # nothing grows with the song


@pytest.mark.parametrize("seconds", [0.2, 3.0, 7.32, 40.0])
def test_progress_ends_at_its_total(calls, seconds):
    seen = []
    system = stand_ins(semantic=2.0, coarse=1.0, fine=0.6)
    units = torch.zeros(1, round(seconds * 50), dtype=torch.long)
    cascade(system, units, SAMPLING, 0, lambda *state: seen.append(state))
    assert [stage for stage in dict.fromkeys(stage for stage, _, _ in seen)] == ["semantic", "coarse", "fine"]
    done = [done for _, done, _ in seen]
    assert done == sorted(done) and done[-1] == seen[-1][2] and len({total for _, _, total in seen}) == 1


def test_the_same_seed_gives_the_same_codes_and_another_seed_others(system):
    units = vocal(1.2)
    first = cascade(system, units, SAMPLING, seed=7)
    torch.manual_seed(123)  # nothing outside may matter
    cascade(system, vocal(0.4, seed=5), SAMPLING, seed=3)
    again, other = cascade(system, units, SAMPLING, seed=7), cascade(system, units, SAMPLING, seed=8)
    assert torch.equal(first.semantic, again.semantic) and torch.equal(first.codes, again.codes)
    assert (first.semantic != other.semantic).float().mean() > 0.3 and (first.codes != other.codes).float().mean() > 0.3


def test_settings_of_a_stage_leave_earlier_stages_alone(system):
    units = vocal(0.8)
    usual = cascade(system, units, SAMPLING, seed=0)
    fine = cascade(system, units, SAMPLING | {"fine": Sampling(temperature=0.5, guidance=1.0)}, seed=0)
    coarse = cascade(system, units, SAMPLING | {"coarse": Sampling(temperature=0.5)}, seed=0)
    assert torch.equal(usual.codes[:2], fine.codes[:2]) and not torch.equal(usual.codes[2:], fine.codes[2:])
    assert torch.equal(usual.semantic, coarse.semantic) and not torch.equal(usual.codes[:2], coarse.codes[:2])


@pytest.mark.parametrize(
    "setting, word",
    [
        ("consonance", "what its ids sound like"), ("pulse", "no beat tracker"), ("melody", "neither makes nor plays"),
        ("reading", "reads no texts"),
    ],
)
def test_what_the_last_stage_cannot_follow_is_refused_before_the_first_begins(system, monkeypatch, setting, word):
    monkeypatch.setattr(module, "decode", lambda *args: pytest.fail("a stage began"))
    wrong = SAMPLING | {"fine": Sampling(**{setting: 1.0})}
    with pytest.raises(ValueError, match=f"the fine stage .*{word}"):
        cascade(system, vocal(0.4), wrong, seed=0)
    with pytest.raises(ValueError, match=f"the fine stage .*{word}"):
        next(cascade_in_pieces(system, [vocal(0.4)], wrong, 0, {}))


def test_a_song_of_any_length_is_covered(system):
    for blocks in (1, 5, 9, 10, 21, 26):
        tokens = cascade(system, vocal(blocks * 0.04), SAMPLING, seed=0)
        assert tokens.semantic.shape == (1, 2 * blocks) and tokens.codes.shape == (4, 3 * blocks)


def test_what_was_sung_later_changes_nothing_before_its_windows(system):
    units = vocal(2.4)
    changed = units.clone()
    changed[:, 90:] = (changed[:, 90:] + 1) % VOCAB  # from 1.8 s on; the semantic windows are of 0.8 s
    first, second = cascade(system, units, SAMPLING, seed=0), cascade(system, changed, SAMPLING, seed=0)
    assert torch.equal(first.semantic[:, :50], second.semantic[:, :50])
    assert torch.equal(first.codes[:, :75], second.codes[:, :75])
    assert not torch.equal(first.codes[:, 75:], second.codes[:, 75:])


def test_generators_differ_by_seed_stage_and_window():
    keys = [(0, "fine", 0), (0, "fine", 1), (0, "coarse", 0), (1, "fine", 0), (-1, "fine", 0), (2**70, "fine", 0)]
    draws = [torch.rand(4, generator=make_generator(*key)).tolist() for key in keys]
    assert len({tuple(draw) for draw in draws}) == len(keys)
    assert draws[1] == torch.rand(4, generator=make_generator(0, "fine", 1)).tolist()


def test_units_that_are_not_whole_blocks_are_refused(system):
    for shape in ((1, 3), (2, 4), (4,), (1, 0)):
        with pytest.raises(ValueError, match="S even and at least 2"):
            cascade(system, torch.zeros(shape, dtype=torch.long), SAMPLING, seed=0)
