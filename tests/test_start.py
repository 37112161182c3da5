"""Embeddings that start from the tokenizers' vectors."""

import pytest
import torch

from accompgen.component import CheckpointError, save_component
from accompgen.config import StageConfig, to_dict
from accompgen.model.attention import RelativeBias
from accompgen.model.stage_lm import StageLM
from accompgen.training.start import start_embeddings, start_weights

UNITS, BINS, BOOKS = 12, 16, 4


@pytest.fixture
def tokenizers(tmp_path):
    """Tokenizers whose even ids 0, 2, 4 ... lie close to the odd ones behind them."""
    torch.manual_seed(0)
    pairs = torch.randn(UNITS // 2, 24).repeat_interleave(2, 0)
    centres = 5 + pairs + 0.01 * torch.randn(UNITS, 24)
    save_component(tmp_path / "semantic", {"kind": "semantic_tokenizer"}, {"centres": centres})
    books = torch.randn(BOOKS, BINS // 2, 24).repeat_interleave(2, 1) + 0.01 * torch.randn(BOOKS, BINS, 24)
    named = {f"quantizer.layers.{q}.codebook.embed": book / 3**q for q, book in enumerate(books)}
    save_component(tmp_path / "acoustic", {"kind": "acoustic_tokenizer"}, named)
    return {kind: str(tmp_path / kind) for kind in ("semantic", "acoustic")}


def model(stage, **values):
    torch.manual_seed(1)
    sizes = dict(semantic_vocab=UNITS, bins=BINS, coarse_codebooks=2, fine_codebooks=2, context_layers=1)
    return StageLM(StageConfig(stage, width=32, layers=1, heads=2, **{**sizes, **values}))


def similarity(rows):
    rows = torch.nn.functional.normalize(rows - rows.mean(0), dim=-1)
    return rows @ rows.T


@pytest.mark.parametrize("stage", ["semantic", "coarse", "fine"])
def test_tokens_that_sound_alike_start_as_neighbours(stage, tokenizers):
    lm = model(stage)
    start_embeddings(lm, tokenizers)
    for stream, offset in zip(lm.layout.streams, lm.layout.offsets):
        for book in range(stream.codebooks):
            first = offset + book * stream.vocab
            alike = similarity(lm.token_embedding.weight.detach()[first : first + stream.vocab])
            nearest = alike[::2, 1::2].argmax(1)  # of the odd ids, to each even one
            assert (nearest == torch.arange(stream.vocab // 2)).all(), (stream.name, book)
    for head in lm.heads.detach():
        assert (similarity(head)[::2, 1::2].argmax(1) == torch.arange(len(head) // 2)).all()


def test_the_voice_and_the_band_share_the_vectors_of_a_unit(tokenizers):
    lm = model("semantic")
    start_embeddings(lm, tokenizers)
    voice, band = (lm.token_embedding.weight.detach()[offset : offset + UNITS] for offset in lm.layout.offsets)
    cosine = torch.nn.functional.cosine_similarity(voice, band)
    assert cosine.min() > 0.5 and not torch.equal(voice, band)


def test_the_ids_of_a_chart_have_no_vectors_and_stay_random(tokenizers):
    lm, before = model("semantic", graph="band"), model("semantic", graph="band").token_embedding.weight.detach()
    start_embeddings(lm, tokenizers)
    for name, rows in rows_of(lm.layout).items():
        same = torch.equal(lm.token_embedding.weight[rows], before[rows])
        assert same == (name in ("special", "beat", "chord", "prefix")), name
    chart = model("chart", graph="band")
    heads = chart.heads.clone()
    start_embeddings(chart, tokenizers)
    assert torch.equal(chart.heads, heads)


def test_the_scale_of_a_start_stays(tokenizers):
    lm, before = model("coarse"), model("coarse").token_embedding.weight.std()
    start_embeddings(lm, tokenizers)
    assert 0.8 < lm.token_embedding.weight.std() / before < 1.5


def test_other_sizes_and_other_components_are_refused(tokenizers):
    with pytest.raises(CheckpointError, match="1 x 12 codebooks x ids; the model's stream vocal has 1 x 13"):
        start_embeddings(model("semantic", semantic_vocab=UNITS + 1), tokenizers)
    with pytest.raises(CheckpointError, match="is no semantic tokenizer"):
        start_embeddings(model("semantic"), {"semantic": tokenizers["acoustic"]})
    with pytest.raises(CheckpointError, match="is no acoustic tokenizer"):
        start_embeddings(model("fine"), {"acoustic": tokenizers["semantic"]})


def trained(directory, lm):
    hashes = {"semantic": "s", "acoustic": "a"}
    values = {"stage": to_dict(lm.config), "tokenizers": {kind: hashes[kind] for kind in lm.config.tokenizers}}
    del values["stage"]["pattern"]  # as components were written before there were patterns
    save_component(directory, values, lm.state_dict())
    return str(directory), hashes


def test_a_stage_goes_on_with_the_weights_of_a_trained_one(tmp_path):
    before = model("semantic")
    directory, hashes = trained(tmp_path / "stage", before)
    torch.manual_seed(2)
    after = StageLM(before.config)
    assert not torch.equal(after.heads, before.heads)
    assert start_weights(after, directory, hashes)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in after.state_dict().items())


def test_a_context_encoder_of_other_sizes_begins_anew(tmp_path):
    before = model("semantic")
    directory, hashes = trained(tmp_path / "stage", before)
    after = model("semantic", context_width=32, context_pool=2)
    fresh = {name: value.clone() for name, value in after.state_dict().items()}
    assert not start_weights(after, directory, hashes)
    for name, value in after.state_dict().items():
        source = fresh if name.startswith(("listener.", "heard.")) else before.state_dict()
        assert torch.equal(value, source[name]), name


@pytest.mark.parametrize("context_width", [0, 32])
def test_other_buckets_begin_with_what_their_distances_had(tmp_path, context_width):
    before, after = (
        model("semantic", context_width=context_width, relative_buckets=buckets, relative_max_distance=reach)
        for buckets, reach in ((8, 32), (128, 80))
    )
    for module in before.modules():
        if isinstance(module, RelativeBias):
            torch.nn.init.normal_(module.table)
    directory, hashes = trained(tmp_path / "stage", before)
    assert start_weights(after, directory, hashes)
    at = torch.arange(32)  # of the new buckets each holds one of these distances
    for stack in ("decoder", "listener.encoder" if context_width else "encoder"):
        old, new = before.get_submodule(stack).relative_bias, after.get_submodule(stack).relative_bias
        torch.testing.assert_close(new(at, at), old(at, at))
    assert torch.equal(after.heads, before.heads)


def test_a_listener_starts_from_the_vectors_too(tokenizers):
    lm = model("semantic", context_width=32)
    before = lm.listener.heads.clone(), lm.listener.embedding.weight.clone()
    start_embeddings(lm, tokenizers)
    assert not torch.equal(lm.listener.heads, before[0])
    assert torch.equal(lm.listener.embedding.weight[:3], before[1][:3]) and lm.listener.embedding.weight.shape[0] == 3 + UNITS
    assert not torch.equal(lm.listener.embedding.weight[3:], before[1][3:])


@pytest.mark.parametrize("stage, text", [("semantic", {}), ("coarse", {}), ("semantic", dict(text_vocab=9, text_pieces=2))])
def test_a_stage_of_another_graph_keeps_by_name_what_both_know(tmp_path, stage, text):
    before = model(stage)
    directory, hashes = trained(tmp_path / "stage", before)
    after = model(stage, graph="band", **text)
    fresh = {name: value.clone() for name, value in after.state_dict().items()}
    assert start_weights(after, directory, hashes)
    for part, unlike in (("token_embedding.weight", rows_of), ("stream_embedding.weight", places_of)):
        old, new, first = before.state_dict()[part], after.state_dict()[part], fresh[part]
        known, taken = unlike(before.layout), unlike(after.layout)
        shared = {name for name in known if name in taken}
        assert {"semantic"} < shared | {"coarse"} and set(taken) - shared, "some streams are new"
        for name, rows in taken.items():
            assert torch.equal(new[rows], old[known[name]] if name in shared else first[rows]), (part, name)
    named = {"token_embedding.weight", "stream_embedding.weight"}
    for name, value in after.state_dict().items():
        if name not in named:
            assert torch.equal(value, before.state_dict()[name]), name


def rows_of(layout):
    """Rows of the embedding table by name: of the special tokens, of each stream, of each part of the prefix."""
    rows = {"special": slice(0, 3)}
    for stream, offset in zip(layout.streams, layout.offsets):
        rows[stream.name] = slice(offset, offset + stream.codebooks * stream.vocab)
    return rows | ({"prefix": slice(layout.stream_rows, layout.rows)} if layout.prefix_length else {})


def places_of(layout):
    """Rows of the embedding of streams by name."""
    return {stream.name: slice(index, index + 1) for index, stream in enumerate(layout.streams)}


def test_a_listener_of_another_graph_keeps_its_streams_by_name(tmp_path):
    before = model("semantic", context_width=32)
    directory, hashes = trained(tmp_path / "stage", before)
    after = model("semantic", context_width=32, graph="band")
    fresh = after.listener.embedding.weight.clone()
    assert start_weights(after, directory, hashes)
    old, new = before.listener.embedding.weight, after.listener.embedding.weight
    assert torch.equal(new[: 3 + UNITS], old[: 3 + UNITS]) and torch.equal(new[3 + UNITS :], fresh[3 + UNITS :])


def test_weights_that_do_not_fit_are_refused(tmp_path, tokenizers):
    directory, hashes = trained(tmp_path / "stage", model("semantic"))
    with pytest.raises(CheckpointError, match="has pattern = .interleave., the model to train .delay."):
        start_weights(model("semantic", pattern="delay"), directory, hashes)
    with pytest.raises(CheckpointError, match="tokens of another semantic tokenizer"):
        start_weights(model("semantic"), directory, {"semantic": "other", "acoustic": "a"})
    with pytest.raises(CheckpointError, match="is no trained stage"):
        start_weights(model("semantic"), tokenizers["semantic"], hashes)
    with pytest.raises(CheckpointError, match="has stage = .semantic., the model to train .chart."):
        start_weights(model("chart", graph="band"), directory, hashes)
