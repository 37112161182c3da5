"""Decoding against the slow way: the whole sequence again for every token, one row, one condition at a time."""

import dataclasses

import pytest
import torch

from accompgen.config import StageConfig
from accompgen.generation import sampling as settings
from accompgen.generation.decode import decode, decoding_dtype, prepare_for_decoding
from accompgen.generation.sampling import PUBLISHED, guide, sample
from accompgen.layout import deinterleave, frames_covering, interleave
from accompgen.model.attention import Linear
from accompgen.model.beat_tracker import PHASES, BeatTracker, BeatTrackerConfig
from accompgen.model.logit_bias import EARLIER_VOCAL, chroma_score, text_score
from accompgen.model.packed import can_pack
from accompgen.model.stage_lm import StageLM

FRAMES = 6
every_context = pytest.mark.parametrize("context", ["prefix", "aligned"])
every_pattern = pytest.mark.parametrize("pattern", ["interleave", "delay"])
plain_and_grouped = pytest.mark.parametrize("kv_heads", [0, 2], ids=["plain", "grouped"])


def Sampling(**given):  # noqa: N802, as the class: what is not given is as published
    return settings.Sampling(**given).over(PUBLISHED)


def build(context="aligned", stage="coarse", pattern="interleave", kv_heads=0, **graph):
    torch.manual_seed(0)
    sizes = dict(width=16, layers=2, heads=4, context_layers=1, relative_buckets=8, relative_max_distance=20)
    sizes |= dict(kv_heads=kv_heads) | graph
    vocabularies = dict(semantic_vocab=11, bins=13, coarse_codebooks=3, fine_codebooks=2)
    config = StageConfig(stage, context=context, pattern=pattern, **sizes, **vocabularies)
    model = StageLM(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def vocals(rows=3):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randint(11, (rows, 1, 4), generator=generator) for name in ("vocal", "semantic")}


def seeds(*numbers):
    return [torch.Generator().manual_seed(number) for number in numbers]


@torch.no_grad()
def slowly(model, context, row, sampling, generator, prompt, prefix_ids=None):
    """One row without cache: two whole passes a token under guidance, one without."""
    context = {name: grid[row : row + 1] for name, grid in context.items()}
    prefix_ids = {name: values[row : row + 1] for name, values in (prefix_ids or {}).items()}
    codebooks = model.layout.target.codebooks
    given, total = prompt.shape[-1] * codebooks, FRAMES * codebooks
    tokens = torch.zeros(1, total, dtype=torch.long)
    tokens[:, :given] = interleave(prompt[row : row + 1])
    chances = torch.rand(total - given, generator=generator, dtype=torch.float64)
    order = model.layout.step_of(FRAMES).flatten().argsort(stable=True).tolist()  # a token hears those of earlier steps only
    if sampling.listening or sampling.consonance:  # what the context alone tells: the ids before it change nothing
        grid = deinterleave(tokens, codebooks)
        with_context, without = (
            model(context, grid, drop=torch.tensor([drop]), listen=True)[1] for drop in (False, True)
        )
        context_score = with_context.log_softmax(-1) - without.log_softmax(-1)
        likely = with_context.softmax(-1)
    for n in (place for place in order if place >= given):
        grid = deinterleave(tokens, codebooks)  # zeros in what is not drawn yet
        logits = model(context, grid, prefix_ids=prefix_ids).flatten(1, 2)[:, n]
        if sampling.guidance != 1:
            null = model(context, grid, prefix_ids=prefix_ids, drop=torch.tensor([True])).flatten(1, 2)[:, n]
            logits = guide(logits, null, sampling.guidance)
        if sampling.listening:
            logits = logits + sampling.listening * context_score.flatten(1, 2)[:, n]
        if sampling.consonance:
            gain, size = likely @ (model.unit_chroma @ model.unit_chroma.T), model.unit_chroma.norm(dim=1)
            gain = gain - size * ((likely * gain) @ size / (likely @ size**2))[..., None]
            logits = logits + sampling.consonance * gain.flatten(1, 2)[:, n]
        if sampling.pulse:
            logits = logits + sampling.pulse * model.beat_tracker.unit_log_odds(context["vocal"][:, 0])[:, n]
        tokens[:, n] = sample(logits, chances[n - given], sampling)
    return deinterleave(tokens, codebooks)[0]


@every_context
@every_pattern
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("given", [0, 2])
@plain_and_grouped
def test_equals_plain_sampling_of_single_rows(context, pattern, guidance, given, kv_heads):
    """Guidance 1 is plain sampling; under guidance the batch of two is two passes."""
    model, sampling = build(context, pattern=pattern, kv_heads=kv_heads), Sampling(guidance=guidance, top_k=8)
    prompt = torch.randint(13, (3, 3, given), generator=torch.Generator().manual_seed(2))
    codes = decode(model, vocals(), FRAMES, sampling, seeds(5, 6, 7), prompt)
    assert codes.shape == (3, 3, FRAMES) and torch.equal(codes[..., :given], prompt)
    for row, generator in enumerate(seeds(5, 6, 7)):
        assert torch.equal(codes[row], slowly(model, vocals(), row, sampling, generator, prompt))


def heard_by_band(model, rows, frames):
    """Ids of all that a stage of a band hears, each stream at its rate."""
    draw, target = torch.Generator().manual_seed(3), model.layout.target
    shapes = {stream: (rows, stream.codebooks, frames_covering(target, frames, stream)) for stream in model.layout.context}
    return {stream.name: torch.randint(stream.vocab, shape, generator=draw) for stream, shape in shapes.items()}


@every_context
@pytest.mark.parametrize("stage, pattern", [("chart", "interleave"), ("semantic", "interleave"), ("coarse", "delay")])
def test_streams_of_several_rates_and_what_is_told_are_decoded_by(context, stage, pattern):
    """Each row by what it is told itself, and what one of them does not know is no less than what is dropped in guidance."""
    model = build(context, stage, pattern, graph="band", text_vocab=7, text_pieces=3)
    target, draw = model.layout.target, torch.Generator().manual_seed(3)
    heard = heard_by_band(model, 3, FRAMES)
    heard[model.layout.context[-1].name][1] = -1
    prefix_ids = {name: torch.randint(vocab, (3, length), generator=draw) for name, vocab, length in model.layout.prefix}
    if "text" in prefix_ids:
        prefix_ids["text"][2, 1:] = -1
    sampling = Sampling(guidance=2.0, top_k=8)
    prompt = torch.randint(target.vocab, (3, target.codebooks, 2), generator=draw)
    codes = decode(model, heard, FRAMES, sampling, seeds(5, 6, 7), prompt, prefix_ids=prefix_ids)
    for row, generator in enumerate(seeds(5, 6, 7)):
        assert torch.equal(codes[row], slowly(model, heard, row, sampling, generator, prompt, prefix_ids))
    assert not torch.equal(codes, decode(model, heard, FRAMES, sampling, seeds(5, 6, 7), prompt))


@every_pattern
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("telling", [{"listening": 2.0}, {"consonance": 3.0}, {"listening": 2.0, "consonance": 3.0}])
def test_what_the_context_alone_tells_is_added(pattern, guidance, telling):
    model, sampling = build("aligned", pattern=pattern), Sampling(guidance=guidance, top_k=8, **telling)
    model.unit_chroma = torch.randn(model.layout.target.vocab, 12, generator=torch.Generator().manual_seed(1))
    prompt = torch.randint(13, (3, 3, 2), generator=torch.Generator().manual_seed(2))
    codes = decode(model, vocals(), FRAMES, sampling, seeds(5, 6, 7), prompt)
    assert not torch.equal(codes, decode(model, vocals(), FRAMES, Sampling(guidance=guidance, top_k=8), seeds(5, 6, 7), prompt))
    for row, generator in enumerate(seeds(5, 6, 7)):
        assert torch.equal(codes[row], slowly(model, vocals(), row, sampling, generator, prompt))


def test_consonance_prefers_what_goes_with_what_is_expected():
    """Of units of one pitch class each, those of the one that is likely gain, however little likely they are themselves; one
    without pitch, as a drum, neither gains nor loses."""
    model = build("aligned")
    model.unit_chroma = torch.zeros(model.layout.target.vocab, 12)
    model.unit_chroma[0, 0] = model.unit_chroma[1, 0] = model.unit_chroma[2, 6] = 1.0
    likely = torch.tensor([0.7, 0.2, 0.1] + [0.0] * 10)
    gain = chroma_score(model, likely.log()[None, None, None])[0, 0, 0]
    torch.testing.assert_close(gain[:4], torch.tensor([0.08, 0.08, -0.72, 0.0]))


def test_consonance_needs_to_know_what_units_sound_like():
    with pytest.raises(ValueError, match="the coarse stage does not know what its ids sound like; .* exported with --songs"):
        decode(build("aligned"), vocals(), FRAMES, Sampling(consonance=1.0), seeds(1, 2, 3))


@pytest.mark.parametrize("context, telling", [("prefix", {}), ("aligned", {}), ("aligned", {"listening": 0.2})])
def test_what_goes_with_the_beat_is_added(context, telling):
    model, sampling = build(context, stage="semantic"), Sampling(guidance=3.0, top_k=8, pulse=9.0, **telling)
    model.beat_tracker = BeatTracker(BeatTrackerConfig(11, width=8, layers=2)).eval()
    model.beat_tracker.unit_phases[:] = (2 * torch.randn(11, PHASES, generator=torch.Generator().manual_seed(1))).exp()
    vocal = {"vocal": torch.randint(11, (3, 1, FRAMES + 2), generator=torch.Generator().manual_seed(2))}
    prompt = torch.randint(11, (3, 1, 2), generator=torch.Generator().manual_seed(3))
    codes = decode(model, vocal, FRAMES, sampling, seeds(5, 6, 7), prompt)
    plain = dataclasses.replace(sampling, pulse=0.0)
    assert not torch.equal(codes, decode(model, vocal, FRAMES, plain, seeds(5, 6, 7), prompt))
    for row, generator in enumerate(seeds(5, 6, 7)):
        assert torch.equal(codes[row], slowly(model, vocal, row, sampling, generator, prompt))


def test_the_beat_of_what_was_sung_before_goes_on(monkeypatch):
    model = build(stage="semantic")
    model.beat_tracker = BeatTracker(BeatTrackerConfig(11, width=8, layers=2)).eval()
    odds = torch.zeros(1, 10, 11)
    odds[0, torch.arange(10), torch.arange(10)] = 100.0  # of frame n, unit n
    heard = []
    monkeypatch.setattr(BeatTracker, "unit_log_odds", lambda self, units: heard.append(units) or odds[:, : units.shape[1]])
    vocal = torch.randint(11, (1, 1, 10), generator=torch.Generator().manual_seed(2))
    context = {"vocal": vocal[..., 4:], EARLIER_VOCAL: vocal[..., :4]}
    codes = decode(model, context, FRAMES, Sampling(pulse=1.0), seeds(5))
    assert torch.equal(heard[0], vocal[:, 0]) and codes[0, 0].tolist() == [4, 5, 6, 7, 8, 9]


def band_prefix_ids(model, rows):
    """A stem and a text for each row; the last one knows no text."""
    draw = torch.Generator().manual_seed(4)
    prefix_ids = {name: torch.randint(vocab, (rows, length), generator=draw) for name, vocab, length in model.layout.prefix}
    prefix_ids["text"][-1] = -1
    return prefix_ids


@pytest.mark.parametrize("stage, pattern", [("semantic", "interleave"), ("coarse", "delay")])
def test_what_a_text_alone_tells_is_added(stage, pattern):
    """It is the gain by the text where all of the history is hidden; a row without a text has none."""
    model, frames = build("aligned", stage, pattern, graph="band", text_vocab=7, text_pieces=3), 6
    context = heard_by_band(model, 3, frames)
    prefix_ids, target = band_prefix_ids(model, 3), model.layout.target
    score = text_score(model, context, frames, prefix_ids)
    assert score.shape == (3, frames, target.codebooks, target.vocab)
    assert score[:2].abs().amax((1, 2, 3)).min() > 1e-4 and score[2].abs().max() == 0
    other = torch.randint(target.vocab, (3, target.codebooks, frames), generator=torch.Generator().manual_seed(5))
    hidden = torch.ones(3, target.codebooks * frames, dtype=torch.bool)
    likely = [
        model(context, other, prefix_ids=prefix_ids | {"text": text}, hide=hidden).log_softmax(-1)
        for text in (prefix_ids["text"], 0 * prefix_ids["text"] - 1)
    ]
    torch.testing.assert_close(score, likely[0] - likely[1])
    mute = prefix_ids | {"text": 0 * prefix_ids["text"] - 1}
    ids, read, muted = (
        decode(model, dict(context), frames, Sampling(guidance=2.0, reading=weight), seeds(5, 6, 7), prefix_ids=texts)
        for weight, texts in ((0.0, prefix_ids), (300.0, prefix_ids), (300.0, mute))
    )
    assert not torch.equal(ids[:2], read[:2]) and torch.equal(ids[2], read[2]) and torch.equal(ids[2], muted[2])
    best = score[:2].argmax(-1).transpose(1, 2)
    assert (read[:2] == best).float().mean() > 0.9, "of such a weight the text decides"


def test_there_is_no_pulse_without_a_beat_tracker():
    with pytest.raises(ValueError, match="the coarse stage has no beat tracker to go by; pulse is for stages of units"):
        decode(build(), vocals(), FRAMES, Sampling(pulse=1.0), seeds(1, 2, 3))


def test_a_prefix_cannot_be_listened_to():
    with pytest.raises(ValueError, match="the coarse stage has no context encoder to listen to"):
        decode(build("prefix"), vocals(), FRAMES, Sampling(listening=1.0), seeds(1, 2, 3))


def test_guidance_matters_and_one_leaves_the_null_rows_out(monkeypatch):
    model, rows = build(), []
    start = StageLM.start
    monkeypatch.setattr(StageLM, "start", lambda self, c, p, *rest: rows.append(len(p)) or start(self, c, p, *rest))
    plain, guided, ignored = (decode(model, vocals(), FRAMES, Sampling(guidance=g), seeds(1, 2, 3)) for g in (1.0, 3.0, 0.0))
    assert rows == [3, 6, 6]
    assert not torch.equal(plain, guided)
    other = {name: (grid + 1) % 11 for name, grid in vocals().items()}
    assert torch.equal(ignored, decode(model, other, FRAMES, Sampling(guidance=0.0), seeds(1, 2, 3)))
    assert not torch.equal(guided, decode(model, other, FRAMES, Sampling(guidance=3.0), seeds(1, 2, 3)))


@every_context
def test_the_same_seed_gives_the_same_codes_alone_in_a_batch_and_in_any_order(context):
    model, grids = build(context), vocals()
    together = decode(model, grids, FRAMES, Sampling(), seeds(5, 6, 7))
    order = [2, 0, 1]
    shuffled = decode(model, {n: g[order] for n, g in grids.items()}, FRAMES, Sampling(), seeds(7, 5, 6))
    assert torch.equal(shuffled, together[order])
    for row, seed in enumerate((5, 6, 7)):
        alone = decode(model, {n: g[row : row + 1] for n, g in grids.items()}, FRAMES, Sampling(), seeds(seed))
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(decode(model, grids, FRAMES, Sampling(), seeds(8, 9, 10)), together)


@every_pattern
def test_a_carried_prompt_continues_what_was_begun(pattern):
    model, sampling = build(pattern=pattern), Sampling(temperature=2.0, top_k=0)
    whole = decode(model, vocals(1), FRAMES, sampling, seeds(4))
    generator = seeds(4)[0]
    torch.rand(2 * 3, generator=generator, dtype=torch.float64)  # the numbers that drew the first two frames
    continued = decode(model, vocals(1), FRAMES, sampling, [generator], prompt=whole[..., :2])
    assert torch.equal(continued, whole)


def test_greedy_needs_no_chance():
    model = build()
    first, second = (decode(model, vocals(), FRAMES, Sampling(temperature=0), seeds(*s)) for s in ((1, 2, 3), (4, 5, 6)))
    assert torch.equal(first, second)


@every_pattern
def test_a_full_prompt_comes_back_and_progress_counts_frames(pattern):
    model, seen = build(pattern=pattern), []
    codes = decode(model, vocals(), FRAMES, Sampling(), seeds(1, 2, 3), progress=lambda *done: seen.append(done))
    assert seen == [(frame, FRAMES) for frame in range(1, FRAMES + 1)]
    for given in (1, 3, FRAMES - 1):
        seen.clear()
        prompt = codes[..., :given]
        decode(model, vocals(), FRAMES, Sampling(), seeds(1, 2, 3), prompt, progress=lambda *done: seen.append(done))
        assert seen == [(frame, FRAMES) for frame in range(given + 1, FRAMES + 1)]
    assert torch.equal(decode(model, vocals(), FRAMES, Sampling(), seeds(1, 2, 3), prompt=codes), codes)


@every_context
@every_pattern
def test_prepared_in_float32_it_decodes_the_same_codes(context, pattern):
    model = build(context, pattern=pattern)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    prepared = prepare_for_decoding(model, torch.float32)
    codes = [decode(m, vocals(), FRAMES, Sampling(), seeds(1, 2, 3)) for m in (model, prepared)]
    assert torch.equal(*codes)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("dtype, error", [(torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_prepared_in_half_precision_the_logits_stay_close_and_the_cache_exact(dtype, error):
    model = build()
    prepared = prepare_for_decoding(model, dtype)
    prompt = torch.zeros(3, 3, 2, dtype=torch.long)
    with torch.no_grad():
        for exact, rounded in zip(first_logits(model, prompt), first_logits(prepared, prompt)):
            assert rounded.dtype == torch.float32
            assert 0 < (exact - rounded).abs().max() < error
    state, _ = prepared.start(vocals(), prompt, FRAMES)
    assert state.cache.keys.dtype == prepared.decoder.norm.gain.dtype == torch.float32


def first_logits(model, prompt):
    """Logits behind the prompt, and behind one more token."""
    state, logits = model.start(vocals(), prompt, FRAMES)
    return logits, model.step(state, torch.ones(3, 1, dtype=torch.long))


@pytest.mark.skipif(not can_pack("cpu"), reason="this processor or this torch cannot unpack float16 for FBGEMM")
@every_pattern
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0)], ids=["sampled", "greedy"])
@plain_and_grouped
def test_packed_it_decodes_the_codes_of_the_plain_path_with_the_same_rounded_weights(pattern, sampling, kv_heads):
    model = build(pattern=pattern, kv_heads=kv_heads)
    packed = prepare_for_decoding(model, torch.float16)
    for layer in model.decoder.modules():
        if isinstance(layer, Linear):
            layer.weight.data = layer.weight.half().float()
    model.heads.data = model.heads.half().float()
    assert torch.equal(*(decode(m, vocals(), FRAMES, sampling, seeds(1, 2, 3)) for m in (model, packed)))


def test_the_decoding_type_is_a_type_this_machine_has():
    assert decoding_dtype("cuda") == torch.bfloat16
    assert decoding_dtype("cpu") == (torch.float16 if can_pack("cpu") else torch.float32)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(prompt=torch.zeros(2, 3, 1, dtype=torch.long)), r"shape \(2, 3, 1\); expected \[3, 3, at most 6\]"),
        (dict(prompt=torch.zeros(3, 3, 7, dtype=torch.long)), r"shape \(3, 3, 7\)"),
        (dict(context=vocals(2)), "'vocal' has 2 rows for 3 generators"),
        (dict(frames=9), "covers 9 frames"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, words):
    usual = dict(context=vocals(), frames=FRAMES, prompt=None) | change
    with pytest.raises(ValueError, match=words):
        decode(build(), usual["context"], usual["frames"], Sampling(), seeds(1, 2, 3), usual["prompt"])
