"""Minute MusicGens with random weights as their publishers' programs write them.

    python tests/musicgen_like.py DIR

writes DIR/musicgen-small (transformers), DIR/audiocraft, DIR/t5-base, and of STAGE
DIR/stage-drums.safetensors and DIR/stage-bass.safetensors.
"""

import io
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from accompgen.model.single_stage import SingleStageLM
from accompgen.stages import ACOUSTIC, STEM, Stream

BINS, CODEBOOKS, WIDTH = 16, 4, 64
XP_CFG = """
lm_model: transformer_lm
transformer_lm:
  dim: {width}
  num_heads: {heads}
  num_layers: 2
  hidden_scale: 4
  n_q: 4
  card: 16
  norm_first: true
  cross_attention: false
  bias_proj: false
  positional_embedding: sin
codebooks_pattern:
  modeling: delay
  delay: {{delays: [0, 1, 2, 3], flatten_first: 0}}
"""
CODEC_CFG = """
sample_rate: 32000
channels: 1
compression_model: encodec
encodec: {sample_rate: '${sample_rate}', causal: false, renormalize: false}
seanet: {causal: '${encodec.causal}', ratios: [8, 5, 4, 4], pad_mode: constant}
"""


def spiece(texts=("drums and bass", "a soft ballad", "Genres: rock, pop. Moods: happy.")) -> bytes:
    """A sentencepiece model whose special pieces have the numbers of a T5's."""
    from sentencepiece import SentencePieceTrainer

    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=written, vocab_size=60, model_type="unigram", hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return written.getvalue()


def make_musicgen(folder, width: int = WIDTH, heads: int = 2, **more):
    """A transformers.MusicgenForConditionalGeneration with random weights, and the directory that
    it writes, with a
    spiece.model."""
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    codec = EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=BINS, num_lstm_layers=1, sampling_rate=32000, audio_channels=1,
        upsampling_ratios=[8, 5, 4, 4], use_causal_conv=False, use_conv_shortcut=False, target_bandwidths=[0.8],
        pad_mode="constant",
    )  # fmt: skip
    t5 = T5Config(vocab_size=64, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=3)
    decoder = MusicgenDecoderConfig(
        vocab_size=BINS, hidden_size=width, ffn_dim=4 * width, num_hidden_layers=2, num_attention_heads=heads,
        num_codebooks=CODEBOOKS, pad_token_id=BINS, bos_token_id=BINS, max_position_embeddings=64, **more,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = MusicgenForConditionalGeneration(
            MusicgenConfig(
                text_encoder=t5.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict()
            )
        ).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.startswith(("decoder.", "enc_to_dec")):
                    weight.normal_(1.0 if "norm.weight" in name else 0.0, 0.3)
            for module in model.audio_encoder.modules():
                if isinstance(
                    module, torch.nn.Conv1d
                ):  # beside biases the signal would hardly count
                    torch.nn.init.zeros_(module.bias)
            model.audio_encoder.decoder.layers[-1].conv.parametrizations.weight.original0.mul_(
                1000
            )  # else it is silence
            spread = (
                model.audio_encoder.encoder(0.1 * torch.randn(1, 1, 8000)).std(-1).mean().item()
            )
            for depth, layer in enumerate(model.audio_encoder.quantizer.layers):
                layer.codebook.embed.normal_(std=spread * 0.7**depth)
    model.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(spiece())
    return model


def packages_codec(state):
    """The weights of an EnCodec of transformers by the names of `encodec` and `audiocraft`."""
    renamed = {}
    for name, value in state.items():
        name = name.replace("quantizer.layers", "quantizer.vq.layers").replace(
            ".codebook.", "._codebook."
        )
        name = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)
        name = name.replace(".parametrizations.weight.original0", ".weight_g")
        name = name.replace(".parametrizations.weight.original1", ".weight_v")
        kind = "convtr" if re.match(r"decoder\.model\.(3|6|9|12)\.(conv|norm)\.", name) else "conv"
        renamed[re.sub(r"\.conv\.(weight|bias)", rf".{kind}.{kind}.\1", name)] = value
    return renamed


def inside(folder, prefix):
    """The weights of a part of a MusicGen directory."""
    state = load_file(folder / "model.safetensors")
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def write_audiocraft(theirs, folder, width: int = WIDTH, heads: int = 2, dtype=torch.float32):
    """audiocraft's two files of the MusicGen in `theirs`, by the published names."""
    decoder, state = inside(theirs, "decoder."), {}
    for name, value in decoder.items():
        if ".embed_positions." in name or ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            value = torch.cat([decoder[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            name = name.replace("q_proj.weight", "in_proj_weight")
        name = name.replace("model.decoder.layers", "transformer.layers").replace(
            "encoder_attn_layer_norm", "norm_cross"
        )
        name = name.replace("self_attn_layer_norm", "norm1").replace("final_layer_norm", "norm2")
        name = (
            name.replace("encoder_attn", "cross_attention")
            .replace("fc1", "linear1")
            .replace("fc2", "linear2")
        )
        name = name.replace("model.decoder.layer_norm", "out_norm").replace(
            "model.decoder.embed_tokens", "emb"
        )
        state[name.replace("lm_heads", "linears")] = value.to(dtype)
    for name, value in inside(theirs, "enc_to_dec_proj.").items():
        state[f"condition_provider.conditioners.description.output_proj.{name}"] = value.to(dtype)
    folder.mkdir()
    cfg = XP_CFG.format(width=width, heads=heads)
    torch.save(
        {"best_state": state, "xp.cfg": cfg, "version": "1.0.0", "exported": True},
        folder / "state_dict.bin",
    )
    codec = packages_codec(inside(theirs, "audio_encoder."))
    torch.save(
        {"best_state": codec, "xp.cfg": CODEC_CFG, "exported": True},
        folder / "compression_state_dict.bin",
    )
    return state


def stage_state(theirs, seed: int = 0, heads: int = 2, with_t5: bool = True) -> dict:
    """The state of a STAGE by its published names: random weights, the codec and the T5 of the
    MusicGen in `theirs`.
    """
    generator = torch.Generator().manual_seed(seed)
    width = 64 * heads  # heads of 64, as its are
    shapes = {
        **{f"lm.decoder.token_emb.emb.{k}.weight": (BINS + 2, width) for k in range(CODEBOOKS)},
        **{f"lm.decoder.to_logits.linears.{k}.weight": (BINS, width) for k in range(CODEBOOKS)},
        **{f"lm.decoder.attn_layers.final_norm.{part}": (width,) for part in ("weight", "bias")},
        "condition_provider.embedders.description.output_proj.weight": (width, 24),
        "condition_provider.embedders.description.output_proj.bias": (width,),
    }
    for branch in range(6):  # two blocks
        row = f"lm.decoder.attn_layers.layers.{branch}"
        shapes |= {f"{row}.0.0.{part}": (width,) for part in ("weight", "bias")}
        if branch % 3 < 2:
            shapes |= {
                f"{row}.1.to_{part}.weight": (width, width) for part in ("q", "k", "v", "out")
            }
        else:
            shapes |= {
                f"{row}.1.ff.0.0.weight": (4 * width, width),
                f"{row}.1.ff.2.weight": (width, 4 * width),
            }
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name in state:  # so that codes depend on what was heard, and do not settle on one
        if "token_emb" in name:
            state[name] *= 5
        elif name.endswith("final_norm.bias"):
            state[name] *= 0.1
        elif ".0.0.weight" in name and ".ff." not in name or name.endswith("final_norm.weight"):
            state[name] += 1
    for k in range(CODEBOOKS):
        state[f"lm.decoder.token_emb.emb.{k}.weight"][BINS] = 0
    codec = packages_codec(inside(theirs, "audio_encoder."))
    state |= {f"encodec_model.{name}": value for name, value in codec.items()}
    if with_t5:
        t5 = inside(theirs, "text_encoder.")
        state |= {
            f"condition_provider.embedders.description.t5.{name}": value
            for name, value in t5.items()
        }
    return state


def write_stage(theirs, path, seed: int = 0, dtype=torch.float32, **more):
    """STAGE's own file."""
    save_file(
        {
            name: value.to(dtype).contiguous()
            for name, value in stage_state(theirs, seed, **more).items()
        },
        path,
    )
    return path


def network_of(weights) -> SingleStageLM:
    """The model of what `read_single_stage` gave."""
    sizes = weights.config
    target = Stream("stem", ACOUSTIC, STEM, sizes.bins, sizes.codebooks, rate=50)
    context = (
        (Stream("mixture", ACOUSTIC, "others", sizes.bins, sizes.codebooks, rate=50),)
        if sizes.context
        else ()
    )
    model = SingleStageLM(sizes, target, context).eval()
    model.load_state_dict(weights.state)
    return model


def write_all(folder: Path) -> Path:
    """All of them under the names of docs/published.md."""
    folder.mkdir(parents=True, exist_ok=True)
    theirs = folder / "musicgen-small"
    model = make_musicgen(theirs)
    write_audiocraft(theirs, folder / "audiocraft")
    model.text_encoder.save_pretrained(folder / "t5-base")
    (folder / "t5-base" / "spiece.model").write_bytes(spiece())
    for seed, stem in enumerate(("drums", "bass")):
        write_stage(theirs, folder / f"stage-{stem}.safetensors", seed)
    return folder


if __name__ == "__main__":
    print(write_all(Path(sys.argv[1])))
