"""MusicGen and STAGE: the logits and ids of transformers' and x-transformers' classes, the key names
of every file, bad files, and songs through the command line.
"""

import json
import re
import shlex

import numpy as np
import pytest
import torch
from musicgen_like import (
    BINS,
    CODEBOOKS,
    inside,
    make_musicgen,
    network_of,
    stage_state,
    write_all,
    write_audiocraft,
    write_stage,
)
from safetensors.torch import load_file, save_file
from tiny import make_checkpoint, sing

from accompgen import audio
from accompgen.chart_input import ChartRequest
from accompgen.checkpoint import read_checkpoint
from accompgen.cli import main
from accompgen.config import ConfigError, SingleStageConfig
from accompgen.engines import EngineError
from accompgen.generation.decode import decode, prepare_for_decoding
from accompgen.generation.sampling import Sampling
from accompgen.generation.single_stage import load, load_any
from accompgen.model.single_stage import TEXT
from accompgen.prompts import PromptError
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.single_stage_names import shapes_of
from accompgen.tokens.single_stage_weights import read_single_stage
from accompgen.tokens.t5 import T5Encoder

pytest.importorskip("transformers", reason="the reference networks come from transformers")
GREEDY = Sampling(temperature=0.0, guidance=3.0, top_k=0, top_p=1.0)


@pytest.fixture(scope="module")
def musicgen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("musicgen") / "theirs"
    return make_musicgen(folder), folder


@pytest.fixture(scope="module")
def stage_file(musicgen, tmp_path_factory):
    return write_stage(musicgen[1], tmp_path_factory.mktemp("stage") / "stage-drums.safetensors")


@pytest.fixture(scope="module")
def stage_checkpoint(musicgen, stage_file, tmp_path_factory):
    """A checkpoint of two stems through the command line, with windows of a second, so that a short
    song has several.
    """
    folder = tmp_path_factory.mktemp("adopted")
    bass = write_stage(musicgen[1], folder / "stage-bass.safetensors", seed=1)
    out = folder / "stage"
    assert (
        main(
            [
                "adopt",
                "musicgen",
                str(stage_file),
                str(bass),
                "--t5",
                str(musicgen[1]),
                "-o",
                str(out),
                "--quiet",
            ]
        )
        == 0
    )
    return out


def codes(frames, rows=1, seed=0):
    return torch.randint(
        BINS, (rows, CODEBOOKS, frames), generator=torch.Generator().manual_seed(seed)
    )


def delayed(grid, total):
    """Ids [B, Q, total], codebook q of frame f in column f + q + 1, BINS elsewhere."""
    ids = torch.full((*grid.shape[:2], total), BINS)
    for q in range(grid.shape[1]):
        for f in range(grid.shape[2]):
            if f + q + 1 < total:
                ids[:, q, f + q + 1] = grid[:, q, f]
    return ids


def stepped(model, context, grid, given, drop, prefix_ids):
    """Logits [B, Q, N, V] of the steps from the first behind `given` frames on, each from cached
    ones before it.
    """
    frames, layout = grid.shape[-1], model.layout
    state, logits = model.start(context, grid[..., :given], frames, drop, prefix_ids)
    found, slots = [logits], layout.slots_of(frames)
    flat = torch.cat(
        [grid.transpose(1, 2).flatten(1), torch.zeros(len(grid), 1, dtype=torch.long)], dim=1
    )
    for n in range(layout.steps_before(given), layout.steps(frames) - 1):
        found.append(model.step(state, flat[:, slots[n]]))
    return torch.stack(found, dim=2)


# ---- the model ----


@torch.no_grad()
@pytest.mark.parametrize("given", [0, 1, 5])
def test_cached_logits_are_those_of_transformers(musicgen, given):
    theirs, folder = musicgen
    ours, frames = network_of(read_single_stage(folder)), 9
    states = torch.randn(1, 7, 24, generator=torch.Generator().manual_seed(1))
    drop = torch.tensor([False, True])
    grid = codes(frames, 2)
    got = stepped(ours, {}, grid, given, drop, {TEXT: states.flatten(1).repeat(2, 1)})
    seen = theirs.enc_to_dec_proj(states.repeat(2, 1, 1)) * ~drop[:, None, None]
    columns = ours.layout.steps(frames)
    ids = delayed(grid, columns)
    expected = theirs.decoder(ids.flatten(0, 1), encoder_hidden_states=seen).logits.unflatten(
        0, (2, CODEBOOKS)
    )
    torch.testing.assert_close(got, expected[:, :, given:], atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.5, "logits that say something"
    without = stepped(ours, {}, grid, given, None, None)
    torch.testing.assert_close(without[1], got[1], atol=1e-4, rtol=1e-4)  # a dropped text is none


@torch.no_grad()
def test_greedy_ids_are_those_of_transformers(musicgen, monkeypatch):
    theirs, folder = musicgen
    weights, caught = read_single_stage(folder), {}
    encoder = T5Encoder(weights.t5, (folder / "spiece.model").read_bytes())
    ids = torch.tensor([[*encoder._processor.encode("a soft ballad"), 1]])

    def catch(audio_codes, audio_scales=None, **_):
        caught["codes"] = audio_codes[0]
        return theirs.audio_encoder.__class__.decode(
            theirs.audio_encoder, audio_codes, audio_scales, return_dict=True
        )

    monkeypatch.setattr(theirs.audio_encoder, "decode", catch)
    theirs.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, guidance_scale=3.0, max_new_tokens=20,
        pad_token_id=BINS, decoder_start_token_id=BINS,
    )  # fmt: skip
    prefix_ids = {TEXT: encoder.encode("a soft ballad").flatten()[None]}
    frames, generator = caught["codes"].shape[-1], torch.Generator().manual_seed(0)
    made = decode(network_of(weights), {}, frames, GREEDY, [generator], prefix_ids=prefix_ids)
    assert frames > 12 and made.unique().numel() > 4
    assert torch.equal(made, caught["codes"])


def reference_of_stage(state, ids, mask, text):
    """Logits [B, Q, N, V] of STAGE's network, built of x-transformers as its authors do."""
    xt = pytest.importorskip("x_transformers", reason="STAGE's network is built of x-transformers")
    width = state["lm.decoder.token_emb.emb.0.weight"].shape[1]
    layers = xt.Decoder(
        dim=width, depth=2, heads=width // 64, attn_dim_head=64, ff_no_bias=True, cross_attend=True
    )
    own, prefix = layers.state_dict(), "lm.decoder.attn_layers."
    theirs = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    # this version's LayerNorm calls its weight gamma, less one in some; and it has no bias of its
    # own
    for module in list(layers.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "LayerNorm":
                setattr(module, name, torch.nn.LayerNorm(width))
    own = layers.state_dict()
    assert set(own) == set(theirs)
    layers.load_state_dict(theirs)
    valid = mask.long().argmax(-1, keepdim=True)
    places = (torch.arange(ids.shape[-1]) - valid).clamp(min=0)[..., None]
    rates = 10_000 ** (torch.arange(width // 2) / (width // 2 - 1))
    x = sum(state[f"lm.decoder.token_emb.emb.{q}.weight"][ids[:, q]] for q in range(CODEBOOKS))
    x = x + torch.cat([torch.cos(places / rates), torch.sin(places / rates)], dim=-1)
    y = layers.eval()(
        x, mask=mask, context=text, context_mask=torch.ones(text.shape[:2], dtype=torch.bool)
    )
    return torch.stack(
        [y @ state[f"lm.decoder.to_logits.linears.{q}.weight"].T for q in range(CODEBOOKS)], dim=1
    )


@torch.no_grad()
@pytest.mark.parametrize("heard, given", [(6, 0), (6, 3), (0, 2)])
def test_cached_logits_are_those_of_stages_network(musicgen, stage_file, heard, given):
    state, ours, frames = stage_state(musicgen[1]), network_of(read_single_stage(stage_file)), 8
    context, grid, drop = codes(heard, 2, seed=3), codes(frames, 2), torch.tensor([False, True])
    states = torch.randn(1, 5, 24, generator=torch.Generator().manual_seed(2))
    got = stepped(
        ours, {"mixture": context}, grid, given, drop, {TEXT: states.flatten(1).repeat(2, 1)}
    )
    # by the rules of STAGE's authors: the whole is delayed; what is dropped, and the first column,
    # is masked
    before = torch.cat([context, torch.full((2, CODEBOOKS, 1), BINS + 1)], dim=-1)
    before[1, :, :heard] = BINS
    total = heard + 1 + ours.layout.steps(frames)
    ids = delayed(torch.cat([before, grid], dim=-1), total)
    valid = torch.zeros_like(ids, dtype=torch.bool)
    for q in range(CODEBOOKS):
        valid[:, q, q + 1 : heard + 1 + frames + q + 1] = True
        valid[:, q, : heard + q + 1] &= ids[:, q, : heard + q + 1] != BINS
    projection = "condition_provider.embedders.description.output_proj."
    text = states @ state[f"{projection}weight"].T + state[f"{projection}bias"]
    text = text.repeat(2, 1, 1) * ~drop[:, None, None]
    expected = reference_of_stage(state, ids, valid.any(1), text)[:, :, heard + 1 + given :]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert (got[0] - got[1]).abs().max() > 0.1, "what is heard counts"


def test_what_decodes_quickly_gives_the_same(stage_file):
    ours = network_of(read_single_stage(stage_file))
    heard, frames = {"mixture": codes(10)}, 12
    prefix_ids = {TEXT: torch.randn(1, 3 * 24, generator=torch.Generator().manual_seed(0))}
    made = [
        decode(model, heard, frames, GREEDY, [torch.Generator().manual_seed(0)], prefix_ids=prefix_ids)
        for model in (ours, prepare_for_decoding(ours, torch.float32))
    ]
    assert torch.equal(*made) and made[0].unique().numel() > 4
    prompt = made[0][..., :5]
    again = decode(
        ours, heard, frames, GREEDY, [torch.Generator().manual_seed(0)], prompt, prefix_ids=prefix_ids
    )
    assert torch.equal(again, made[0]), "what is carried over is gone on with"
    with pytest.raises(ValueError, match="this stage reads \\['mixture'\\]"):
        decode(ours, {}, frames, GREEDY, [torch.Generator().manual_seed(0)])


# ---- the files ----


def test_every_weight_of_every_layout_has_its_place(musicgen, stage_file, tmp_path):
    theirs, folder = musicgen
    write_audiocraft(folder, tmp_path / "audiocraft")
    ours = read_single_stage(folder)
    assert {name: tuple(value.shape) for name, value in ours.state.items()} == shapes_of(
        ours.config
    )
    assert set(network_of(ours).state_dict()) == set(shapes_of(ours.config))
    layer = theirs.decoder.model.decoder.layers[1]
    for name, weight in {
        "attention.q": layer.self_attn.q_proj, "attention.k": layer.self_attn.k_proj, "attention.v": layer.self_attn.v_proj,
        "attention.out": layer.self_attn.out_proj, "text_attention.v": layer.encoder_attn.v_proj,
        "text_attention.out": layer.encoder_attn.out_proj, "expand": layer.fc1, "contract": layer.fc2,
        "attention_norm": layer.self_attn_layer_norm, "text_norm": layer.encoder_attn_layer_norm,
        "feed_forward_norm": layer.final_layer_norm,
    }.items():  # fmt: skip
        assert torch.equal(ours.state[f"decoder.blocks.1.{name}.weight"], weight.weight), name
    for path in (tmp_path / "audiocraft", tmp_path / "audiocraft" / "state_dict.bin"):
        other = read_single_stage(path)
        assert (
            other.config == ours.config and set(other.state) == set(ours.state) and other.t5 is None
        )
        assert all(torch.equal(other.state[name], value) for name, value in ours.state.items())
        wav = 0.1 * torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
        assert torch.equal(other.codec.encode(wav), ours.codec.encode(wav))
    stage, own = read_single_stage(stage_file), stage_state(folder)
    assert stage.config.context and {
        name: tuple(value.shape) for name, value in stage.state.items()
    } == shapes_of(stage.config)
    rows = "lm.decoder.attn_layers.layers"
    for name, theirs in {
        "attention.q.weight": "3.1.to_q.weight", "text_attention.out.weight": "4.1.to_out.weight",
        "expand.weight": "5.1.ff.0.0.weight", "contract.weight": "5.1.ff.2.weight", "attention_norm.bias": "3.0.0.bias",
        "text_norm.weight": "4.0.0.weight", "feed_forward_norm.weight": "5.0.0.weight",
    }.items():  # fmt: skip
        assert torch.equal(stage.state[f"decoder.blocks.1.{name}"], own[f"{rows}.{theirs}"]), name
    assert torch.equal(stage.state["embedding"][2], own["lm.decoder.token_emb.emb.2.weight"])
    assert torch.equal(stage.state["heads"][3], own["lm.decoder.to_logits.linears.3.weight"])


@torch.no_grad()
def test_texts_have_the_states_of_transformers(musicgen, tmp_path):
    theirs, folder = musicgen
    encoder = T5Encoder(read_single_stage(folder).t5, (folder / "spiece.model").read_bytes())
    ids = torch.tensor([[*encoder._processor.encode("drums and bass"), 1]])
    expected = theirs.text_encoder(input_ids=ids).last_hidden_state[0]
    torch.testing.assert_close(encoder.encode("drums and bass"), expected, atol=1e-5, rtol=0)
    encoder.save(tmp_path / "t5")
    torch.testing.assert_close(
        T5Encoder.load(tmp_path / "t5").encode("drums and bass"), expected, atol=1e-5, rtol=0
    )
    with pytest.raises(ValueError, match="no sentencepiece model"):
        T5Encoder(read_single_stage(folder).t5, b"<html>")


def test_a_codec_that_is_only_named_is_given(musicgen, tmp_path, capsys):
    """Fine-tunes of MusicGen are exported with the name of the codec instead of its weights."""
    _, folder = musicgen
    state = write_audiocraft(folder, tmp_path / "tune")
    file = tmp_path / "tune" / "compression_state_dict.bin"
    file.rename(tmp_path / "codec.bin")
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.3.0"}, file)
    ask = ["adopt", "musicgen", str(tmp_path / "tune"), "-o", str(tmp_path / "out")]
    assert main(ask) == 1 and "the codec is 'facebook/encodec_32khz'" in capsys.readouterr().err
    assert main([*ask, "--codec", str(tmp_path / "codec.bin"), "--quiet"]) == 0
    stage = load_file(tmp_path / "out" / "all" / "model.safetensors")
    assert torch.equal(stage["embedding"][0], state["emb.0.weight"])


def test_a_stage_may_be_a_pickle_of_tensors(musicgen, stage_file, tmp_path):
    torch.save(stage_state(musicgen[1]), tmp_path / "stage-drums.pt")
    ours, same = read_single_stage(tmp_path / "stage-drums.pt"), read_single_stage(stage_file)
    assert ours.config == same.config and all(
        torch.equal(ours.state[name], value) for name, value in same.state.items()
    )


def test_audiocrafts_files_read_texts_by_a_t5_beside_them(musicgen, tmp_path, capsys):
    theirs, folder = musicgen
    write_audiocraft(folder, tmp_path / "audiocraft")
    theirs.text_encoder.save_pretrained(tmp_path / "t5")
    ask = ["adopt", "musicgen", str(tmp_path / "audiocraft"), "-o"]
    assert main([*ask, str(tmp_path / "none"), "--t5", str(tmp_path / "t5")]) == 1
    assert "spiece.model: No such file" in capsys.readouterr().err
    (tmp_path / "t5" / "spiece.model").write_bytes((folder / "spiece.model").read_bytes())
    assert main([*ask, str(tmp_path / "none"), "--t5", str(tmp_path / "t5" / "spiece.model")]) == 1
    assert "no directory of a t5-base" in capsys.readouterr().err
    assert (
        main([*ask, str(tmp_path / "with"), "--t5", str(tmp_path / "t5" / "model.safetensors")])
        == 0
    )
    assert main([*ask, str(tmp_path / "without")]) == 0
    assert "no text is read: give --t5" in capsys.readouterr().err
    assert main(["adopt", "musicgen", str(folder), "-o", str(tmp_path / "theirs"), "--quiet"]) == 0
    ours, same = (T5Encoder.load(tmp_path / name / "text_encoder") for name in ("with", "theirs"))
    assert torch.equal(ours.encode("a soft ballad"), same.encode("a soft ballad"))
    with pytest.raises(PromptError, match="reads no texts; adopt it with --t5"):
        load_any(tmp_path / "without", "cpu").accompany((sing(0.4), 44100), prompt="a soft ballad")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_kept(musicgen, tmp_path, dtype):
    write_audiocraft(musicgen[1], tmp_path / "half", dtype=dtype)
    found, whole = read_single_stage(tmp_path / "half"), read_single_stage(musicgen[1])
    assert found.dtype == dtype and all(
        value.dtype == torch.float32 for value in found.state.values()
    )
    torch.testing.assert_close(found.state["heads"], whole.state["heads"], atol=0.01, rtol=0.01)
    write_stage(musicgen[1], tmp_path / "stage-drums.safetensors", dtype=dtype)
    out = tmp_path / "out"
    assert (
        main(
            [
                "adopt",
                "musicgen",
                str(tmp_path / "stage-drums.safetensors"),
                "-o",
                str(out),
                "--quiet",
            ]
        )
        == 0
    )
    assert load_file(out / "drums" / "model.safetensors")["heads"].dtype == dtype
    song = load(out, "cpu").accompany((sing(0.4), 44100))
    assert song.tokens["drums"].codes.shape == (CODEBOOKS, 20)


# ---- bad files: a line each, and nothing is run ----


def cut(path, folder):
    broken = folder / path.name
    broken.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return broken


def saved(content):
    def make(theirs, folder, stage):
        torch.save(content, folder / "ckpt_best.pt")
        return folder / "ckpt_best.pt"

    return make


class _Runs:
    def __reduce__(self):
        return (eval, ("1 / 0",))


def altered(change):
    def make(theirs, folder, stage):
        state = load_file(stage)
        change(state)
        save_file(state, folder / "stage-drums.safetensors")
        return folder / "stage-drums.safetensors"

    return make


def lone(theirs, folder, stage):
    write_audiocraft(theirs, folder / "lone")
    (folder / "lone" / "compression_state_dict.bin").unlink()
    return folder / "lone"


def half_downloaded(theirs, folder, stage):
    write_audiocraft(theirs, folder / "cut")
    file = folder / "cut" / "state_dict.bin"
    file.write_bytes(file.read_bytes()[:5000])
    return folder / "cut"


def melody(theirs, folder, stage):
    config = json.loads((theirs / "config.json").read_text())
    (folder / "melody").mkdir()
    (folder / "melody" / "config.json").write_text(
        json.dumps(config | {"model_type": "musicgen_melody"})
    )
    return folder / "melody"


def codec_alone(theirs, folder, stage):
    save_file(inside(theirs, "audio_encoder."), folder / "codec.safetensors")
    return folder / "codec.safetensors"


def a_sound(theirs, folder, stage):
    """Its bytes begin like a pickle, which would name a number."""
    audio.write(folder / "v6.wav", sing(0.1), 44100)
    return folder / "v6.wav"


def empty(theirs, folder, stage):
    (folder / "nothing").mkdir()
    return folder / "nothing"


BLOCK, EMBEDDERS = "lm.decoder.attn_layers.layers", "condition_provider.embedders"
BAD = {
    "half a STAGE": (lambda theirs, folder, stage: cut(stage, folder), "damaged"),
    "half an audiocraft file": (half_downloaded, "state_dict.bin"),
    "a pickle that wants more": (saved({"best_state": _Runs()}), "eval, which is not on the list"),
    "HAFM's stages": (saved({"model_state": {"a": torch.zeros(1)}, "step": 3}), "configs/ar.yaml.* are not in its repository"),
    "another model": (saved({"encoder.layers.0.x": torch.zeros(1)}), "weights of another kind.*only a MusicGen is read"),
    "a codec": (codec_alone, "an EnCodec of one channel; only a MusicGen is read"),
    "no codec beside it": (lone, "compression_state_dict.bin is missing"),
    "a melody model": (melody, "model_type = 'musicgen_melody'; only a MusicGen is read"),
    "a sound": (a_sound, "v6.wav is not a file of torch.save, .*; only a MusicGen is [ -~]*$"),
    "an empty folder": (empty, "neither config.json nor state_dict.bin"),
    "nothing": (lambda theirs, folder, stage: folder / "none.safetensors", "is no file or directory, nor one of"),
    "a weight too few": (altered(lambda s: s.pop(f"{BLOCK}.2.1.ff.2.weight")), "contract.weight has the shape None"),
    "a weight too many": (altered(lambda s: s.update({f"{BLOCK}.0.1.to_q.lora_A": torch.zeros(2)})), "lora_A"),
    "another condition": (altered(lambda s: s.update({f"{EMBEDDERS}.beat.bias": torch.zeros(2)})), "embedders.beat"),
    "no codec": (altered(lambda s: [s.pop(name) for name in list(s) if name.startswith("encodec_")]), "holds no codec"),
    "no numbers": (altered(lambda s: s["lm.decoder.to_logits.linears.0.weight"].fill_(float("nan"))), "NaN or infinite"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_gets_one_line(musicgen, stage_file, tmp_path, kind, capsys):
    make, message = BAD[kind]
    path = make(musicgen[1], tmp_path, stage_file)
    assert main(["adopt", "musicgen", str(path), "-o", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1 and not (tmp_path / "out").exists()
    assert re.search(message, err), err


def test_files_that_do_not_belong_together_are_refused(musicgen, stage_file, tmp_path, capsys):
    def refused(*sources):
        assert (
            main(["adopt", "musicgen", *map(str, sources), "-o", str(tmp_path / "out"), "--quiet"])
            == 1
        )
        return capsys.readouterr().err

    assert "are both of drums" in refused(stage_file, stage_file)
    assert "not of one kind" in refused(stage_file, musicgen[1])
    nameless = tmp_path / "epoch.safetensors"
    nameless.write_bytes(stage_file.read_bytes())
    assert "write it before: drums=" in refused(nameless)
    state = load_file(stage_file)
    state["encodec_model.quantizer.vq.layers.0._codebook.embed"] += 1
    save_file(state, tmp_path / "other.safetensors")
    assert "have different codecs" in refused(stage_file, f"bass={tmp_path / 'other.safetensors'}")
    with pytest.raises(SystemExit):
        main(["adopt", "encodec", "one", "two", "-o", str(tmp_path / "out")])
    with pytest.raises(ConfigError, match="twice the heads"):
        SingleStageConfig(width=30, heads=16)


# ---- songs ----


def test_a_stage_plays_through_the_command_line(stage_checkpoint, tmp_path, capsys):
    graph = read_checkpoint(stage_checkpoint).graph
    assert (
        graph.stems == ("drums", "bass") and not graph.has_units and graph.stream("bass").hz == 50
    )
    vocal = tmp_path / "song.wav"
    audio.write(vocal, sing(1.3), 44100)
    audio.write(tmp_path / "guitar.wav", sing(1.3)[:, ::-1].copy(), 44100)
    common = [
        "generate",
        str(vocal),
        "--checkpoint",
        str(stage_checkpoint),
        "--device",
        "cpu",
        "--stems",
        "drums,bass",
    ]
    assert main([*common, "-o", str(tmp_path / "a")]) == 0
    assert "without a licence" in capsys.readouterr().err
    rate_and_length = set()
    for part in ("drums", "bass", "accompaniment", "mix"):
        wav, rate = audio.read(tmp_path / "a" / f"song.{part}.wav")
        rate_and_length.add((rate, wav.shape[1]))
        assert np.abs(wav).max() > 0.01
    assert rate_and_length == {(44100, round(1.3 * 44100))}
    report = json.loads((tmp_path / "a" / "song.json").read_text())
    assert (
        report["settings"]["drums"] == vars(Sampling(1.0, 250, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        and report["settings"]["noise"] == 0
    )
    assert "click" not in report["settings"]
    more = [
        "--prompt",
        "Genres: rock. ",
        "--click",
        "--bpm",
        "120",
        "--with",
        str(tmp_path / "guitar.wav"),
        "--quiet",
    ]
    assert main([*common, *more, "-o", str(tmp_path / "b")]) == 0
    report = json.loads((tmp_path / "b" / "song.json").read_text())
    assert report["settings"]["click"] is True and report["settings"]["prompts"] == [
        "Genres: rock. "
    ]
    assert report["others"]["file"].endswith("guitar.wav") and not capsys.readouterr().err


def test_all_that_is_given_is_heard(stage_checkpoint):
    model, vocal = load_any(stage_checkpoint, "cpu"), (sing(0.4), 44100)

    def made(**given):
        return model.accompany(**dict(vocal=vocal, stems=("bass",)) | given).tokens["bass"].codes

    first, request = made(), ChartRequest(bpm=120.0)
    assert torch.equal(made(), first) and first.unique().numel() > 4
    for given in (
        dict(prompt="Genres: rock. "), dict(click=True, chart=request), dict(seed=1), dict(others=(sing(0.4)[:, ::-1], 44100)),
        dict(vocal=(sing(0.4)[:, ::-1].copy(), 44100)), dict(sampling={"bass": Sampling(guidance=1.0)}),
        dict(stems=("drums", "bass")),
    ):  # fmt: skip
        assert not torch.equal(made(**given), first), given
    click = model._click(request, 2.0, 64000)
    peaks = [np.abs(click[0, start : start + 400]).max() for start in range(0, 64000, 16000)]
    assert (
        min(peaks) > 0.4 and np.abs(click).max() <= 0.5 and np.abs(click[0, 3200:16000]).max() == 0
    )


def test_windows_carry_on_and_hear_their_own_time(stage_checkpoint, monkeypatch):
    """A song of several windows: what was made is the prompt of the next, and the mixture that of
    its span.
    """
    from accompgen.generation import single_stage

    model, calls, vocal = load_any(stage_checkpoint, "cpu"), [], sing(2.5, 32000)
    for name, stage in model.system.stages.items():
        model.system.stages[name] = type(stage)(stage.model, 1.0)

    def watched(network, context, frames, sampling, generators, prompt, *rest):
        made = decode(network, context, frames, sampling, generators, prompt, *rest)
        calls.append((context["mixture"], prompt, made))
        return made

    monkeypatch.setattr(single_stage, "decode", watched)
    done = []
    song = model.accompany(
        (vocal, 32000), stems=("drums",), on_progress=lambda *row: done.append(row)
    )
    kept = song.tokens["drums"].codes
    whole = model._context(
        model._heard(single_stage.read_vocal((vocal, 32000)), None), 0.0, {}, blocks := 63
    )
    assert kept.shape == (CODEBOOKS, 2 * blocks) and len(calls) == 4
    at = 0
    for context, prompt, made in calls:
        start = at - prompt.shape[-1]
        assert (
            made.shape[-1] == 50
            and context.shape[-1] == 50
            and prompt.shape[-1] >= (20 if at else 0)
        )
        assert torch.equal(context, whole[..., start : start + 50]) and torch.equal(
            prompt[0], kept[:, start:at]
        )
        at = start + 50
    assert done[-1] == ("drums", 126 * CODEBOOKS, 126 * CODEBOOKS)


def test_a_musicgen_plays_what_the_text_says(musicgen, tmp_path, capsys):
    out = tmp_path / "musicgen"
    assert main(["adopt", "musicgen", str(musicgen[1]), "-o", str(out)]) == 0
    err = capsys.readouterr().err
    assert "CC BY-NC 4.0" in err and "follows the text alone, not the voice" in err
    model = load_any(out, "cpu")
    assert model.stems == ("all",) and model.encoder is not None
    vocal = (sing(0.5), 22050)
    plain, asked = (
        model.accompany(vocal, prompt=prompt).tokens["all"].codes
        for prompt in (None, "a soft ballad")
    )
    assert not torch.equal(plain, asked)
    for wrong, message in (
        (dict(others=vocal), "hears nothing"), (dict(click=True), "hears nothing"), (dict(noise=0.01), "leave it out"),
        (dict(sampling={"all": Sampling(listening=1.0)}), "hears no units"), (dict(stems=("bass",)), "no stem 'bass'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            model.accompany(vocal, **wrong)


def test_what_needs_units_refuses_such_a_checkpoint(stage_checkpoint, tmp_path, capsys):
    vocal, second = tmp_path / "song.wav", tmp_path / "second.wav"
    for path in (vocal, second):
        audio.write(path, sing(0.5), 44100)
    checkpoint = ["--checkpoint", str(stage_checkpoint), "--device", "cpu"]
    for verb in (["chart", str(vocal)], ["generate", str(vocal), "--stream"]):
        assert main([*verb, *checkpoint, "-o", str(tmp_path / "out"), "--quiet"]) == 1
        assert "is single-stage, as MusicGen and STAGE are" in capsys.readouterr().err
    for more, message in (
        (["--bpm", "100"], "plays without a chart"), (["--click"], "a click needs beats"),
        (["--key", "C:maj"], "plays without a chart; leave --key out; with --click it hears beats"),
        (["--noise", "0.1"], "encodes the voice as it is, without noise; leave --noise out"),
        (["--listening", "1", "--pulse", "0"], "hears no units; leave --listening out"),
        (["--stems", "horns"], "no stem 'horns'"),
        (["--prompt", "a", "--prompt", "b"], "are both for the whole song"),
    ):  # fmt: skip
        options = [*checkpoint, *more, "-o", str(tmp_path / "out"), "--quiet"]
        assert main(["generate", str(vocal), str(second), *options]) == 1
        (line,) = capsys.readouterr().err.splitlines()  # not one for each vocal
        assert message in line
    with pytest.raises(EngineError, match="decoded by torch alone"):
        load_any(stage_checkpoint, "cpu", engine="onnx")
    band = make_checkpoint(tmp_path / "band", graph="band")
    ask = [
        "generate",
        str(vocal),
        "--checkpoint",
        str(band),
        "--click",
        "--bpm",
        "100",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(ask) == 1 and "plays by beats, not by a click" in capsys.readouterr().err


def test_many_vocals_and_one_that_was_made_before(stage_checkpoint, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in" / "song.wav", sing(0.4), 44100)
    ask = [
        "generate",
        "--manifest",
        str(tmp_path / "in"),
        "--checkpoint",
        str(stage_checkpoint),
        "--device",
        "cpu",
    ]
    ask += ["--stems", "drums", "--workers", "0", "--quiet", "-o", str(tmp_path / "out")]
    assert main(ask) == 0 and main(ask) == 0
    assert main([*ask, "--click", "--bpm", "90"]) == 1
    assert "differs in settings" in capsys.readouterr().err


def test_the_codec_of_a_checkpoint_encodes_and_decodes(stage_checkpoint, tmp_path):
    codec = AcousticTokenizer.load(stage_checkpoint / "acoustic_tokenizer", any_rate=True)
    assert (codec.sample_rate, codec.codebooks, codec.bins) == (32000, CODEBOOKS, BINS)
    audio.write(tmp_path / "song.wav", sing(0.4), 44100)
    common = ["--checkpoint", str(stage_checkpoint), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["encode", str(tmp_path / "song.wav"), *common]) == 0
    assert load_file(tmp_path / "out" / "song.safetensors")["codes"].shape == (CODEBOOKS, 20)
    assert main(["decode", str(tmp_path / "out" / "song.safetensors"), *common]) == 0
    wav, rate = audio.read(tmp_path / "out" / "song.wav")
    assert rate == 32000 and wav.shape == (1, round(0.4 * 32000))


def test_the_commands_of_the_docs_run_as_printed(root, tmp_path, monkeypatch):
    """Those of docs/published.md, on files of these names."""
    page = (
        (root / "docs" / "published.md")
        .read_text(encoding="utf-8")
        .split("## MusicGen and STAGE\n")[1]
    )
    lines = page.split("```")[1].strip().splitlines()
    write_all(tmp_path)
    audio.write(tmp_path / "song.wav", sing(0.4), 44100)
    audio.write(tmp_path / "guitar.wav", sing(0.4)[:, ::-1].copy(), 44100)
    monkeypatch.chdir(tmp_path)
    assert len(lines) == 7 and all(line.startswith("accompgen ") for line in lines)
    for line in lines:
        assert main(shlex.split(line, comments=True)[1:]) == 0, line
    for folder in ("out", "clicked", "more"):
        assert (tmp_path / folder / "song.bass.wav").is_file() and (
            tmp_path / folder / "song.drums.wav"
        ).is_file()
    assert (tmp_path / "text" / "song.accompaniment.wav").is_file()
