"""What is before the first stroke: silence, that is told to the stages and cut off again."""

import json
import shutil

import pytest
import torch
from tiny import sing

import accompgen
from accompgen.generation.cascade import Tokens, cascade
from accompgen.generation.lead_in import LEAD, begun, silence_of, stays_silent, without_lead_in
from accompgen.generation.schedule import Part, Schedule
from accompgen.stages import ALL
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.semantic import SemanticTokenizer
from accompgen.tokens.silence import frames_of_silence

BLOCKS = 25


@pytest.fixture(scope="module")
def model(band_checkpoint):
    return accompgen.load(band_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def silence(model):
    return silence_of(model.system.graph, frames_of_silence(model.system.graph, model.tokenizer_of))


@pytest.fixture(scope="module")
def units():
    return torch.randint(20, (1, 2 * BLOCKS), generator=torch.Generator().manual_seed(0))


def test_silence_has_the_ids_that_the_tokenizers_give_it(model, silence, band_checkpoint):
    graph = model.system.graph
    assert {stream: ids.shape for stream, ids in silence.items()} == {
        graph.vocal.name: (1, 1, 10), graph.others.name: (1, 1, 10), graph.units.name: (1, 1, 10),
        **{stream.name: (1, stream.codebooks, 15) for stream in graph.codes},
    }  # fmt: skip
    semantic, acoustic = (
        tokenizer.load(band_checkpoint / folder)
        for tokenizer, folder in ((SemanticTokenizer, "semantic_tokenizer"), (AcousticTokenizer, "acoustic_tokenizer"))
    )
    assert silence[graph.units.name].unique().tolist() == [semantic.encode(torch.zeros(1, 16_000))[0, 20].item()]
    codes = acoustic.encode(torch.zeros(1, 24_000))[0, :, 40]
    assert torch.equal(torch.cat([silence[stream.name] for stream in graph.codes], dim=1)[0, :, 7], codes)


def test_all_that_is_known_moves_behind_the_silence(model, silence, units):
    graph = model.system.graph
    chord = torch.arange(BLOCKS)[None, None] % 100
    texts = []
    given = {"chord": chord, graph.others.name: units[None]}
    vocal, part = begun(graph, silence, units, Part("drums", given, lambda *blocks: texts.append(blocks) or [1]))
    assert vocal.shape == (1, 10 + 2 * BLOCKS) and torch.equal(vocal[:, 10:], units)
    assert part.given["chord"][0, 0, : LEAD + 2].tolist() == [-1] * LEAD + [0, 1]
    others = part.given[graph.others.name]
    assert torch.equal(others[..., :10], silence[graph.others.name]) and torch.equal(others[0, :, 10:], units)
    assert part.span == (LEAD, LEAD + BLOCKS) and torch.equal(part.kept[graph.units.name], silence[graph.units.name])
    part.text(0, LEAD + 3), part.text(LEAD + 2, LEAD + 9)
    assert texts == [(0, 3), (2, 9)]


def test_a_part_of_a_take_stays_where_it_is(model, silence, units):
    graph = model.system.graph
    kept = {stream.name: torch.ones(1, stream.codebooks, stream.hz, dtype=torch.long) for stream in (graph.units, *graph.codes)}
    _, part = begun(graph, silence, units, Part("drums", kept=kept, span=(5, 9)))
    assert part.span == (LEAD + 5, LEAD + 9)
    assert all(part.kept[name].shape[-1] == silence[name].shape[-1] + ids.shape[-1] for name, ids in kept.items())
    assert torch.equal(part.kept[graph.units.name][..., 10:], kept[graph.units.name])


def test_the_stages_go_on_from_it_and_it_is_cut_off(model, silence, units):
    """The first window of each stage has the silence as its prompt, and another silence makes another song."""
    graph, found = model.system.graph, {}
    for name, frames in (("silence", silence), ("noise", {name: (ids + 1) % 10 for name, ids in silence.items()})):
        vocal, part = begun(graph, frames, units, Part("drums"))
        schedule = Schedule(model.system, model.sampling, 0, part)
        schedule.add_vocal(vocal)
        schedule.end_vocal()
        job = schedule.next_job(["semantic"])
        assert torch.equal(job.prompt, frames[graph.units.name])
        found[name] = without_lead_in(graph, cascade(model.system, vocal, model.sampling, 0, part=part), part)
        assert found[name].semantic.shape == (1, 2 * BLOCKS) and found[name].codes.shape[1] == 3 * BLOCKS
    assert not torch.equal(found["silence"].codes, found["noise"].codes)


def test_silence_of_most_of_a_song_is_no_drumming(model, silence):
    graph, quiet = model.system.graph, silence["semantic"][0, 0, 0].item()

    def silent(first, part):
        """Of a song whose drums come in at frame `first` of 100."""
        ids = torch.full((1, 100), quiet + 1)
        ids[:, :first] = quiet
        return stays_silent(graph, silence, Tokens(ids, torch.zeros(8, 150), {}), part)

    assert silent(100, Part("drums")) and silent(60, Part("drums")) and not silent(40, Part("drums"))
    assert not silent(60, Part("drums", rests=((0, 15),)))  # asked to rest for 30 of these frames
    assert not silent(100, Part("drums", rests=((0, 50),)))  # for all of them
    assert not silent(100, Part("bass"))
    assert not silent(100, Part("drums", kept={"semantic": torch.zeros(1, 1, 100)}))


def test_drums_that_stay_silent_are_drawn_again_without_the_silence(model, monkeypatch):
    begins = []
    drawn = model._drawn

    def spied(vocal, units, sampling, seed, part, report):
        tokens = drawn(vocal, units, sampling, seed, part, report)
        begins.append(part.stem if part.span is None else f"{part.stem} behind silence")
        if part.span is not None:
            tokens.semantic[:] = model._silence["semantic"][0, 0, 0]
        return tokens

    monkeypatch.setattr(model, "_drawn", spied)
    steps = []
    song = model.accompany((sing(1.0), 44_100), stems=("drums", "bass"), on_progress=lambda *step: steps.append(step))
    assert begins == ["drums behind silence", "drums", "bass"]
    assert song.tokens["drums"].semantic.shape[1] == song.tokens["bass"].semantic.shape[1]
    done = [step[1] for step in steps]
    assert done == sorted(done) and done[-1] == steps[-1][2], "a bar never goes back"


@pytest.mark.parametrize("stem", [ALL, "bass", "harmony"])
def test_others_begin_without(model, units, stem):
    part = Part(stem, {"chord": torch.zeros(1, 1, BLOCKS)})
    assert begun(model.system.graph, {}, units, part) == (units, part)
    tokens = Tokens(units, units, {})
    assert without_lead_in(model.system.graph, tokens, part) is tokens


def test_a_checkpoint_says_it_and_an_older_one_is_listened_to(model, band_checkpoint, tmp_path, monkeypatch):
    shutil.copytree(band_checkpoint, tmp_path / "band")
    config = json.loads((band_checkpoint / "config.json").read_text(encoding="utf-8"))
    assert "silence" not in config
    config["silence"] = frames_of_silence(model.system.graph, model.tokenizer_of)
    (tmp_path / "band" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    vocal = sing(1.0), 44_100
    older = model.accompany(vocal, stems=("drums",))
    again = accompgen.load(tmp_path / "band", device="cpu")
    monkeypatch.setattr(again, "tokenizer_of", None)  # it need not listen
    assert torch.equal(again.accompany(vocal, stems=("drums",)).tokens["drums"].codes, older.tokens["drums"].codes)
