"""The text tokenizer: ids of any prompt, the component on disk, and its training from captions."""

import json
import warnings

import pytest
import torch

from accompgen.cli import main
from accompgen.component import CheckpointError, load_component, save_component
from accompgen.config import ConfigError
from accompgen.files import SoundWarning
from accompgen.tokens.text import UNKNOWN, TextTokenizer
from accompgen.training.text_tokenizer import TextTokenizerConfig, train

TEXTS = [
    "soft ballad, piano and brushes", "a slow funk groove in C# minor at 96 BPM", "full band, no drums", "fast waltz",
    "soft strings", "piano trio, 120 bpm", "brushes, slow, swung", "a ballad with piano and strings",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return TextTokenizer.train(TEXTS, 128)


def test_the_same_texts_give_the_same_bytes(tokenizer):
    assert TextTokenizer.train(TEXTS, 128).model == tokenizer.model
    assert tokenizer.vocab == 128 and 60 < len(tokenizer.pieces) <= 128


def test_words_of_the_captions_are_pieces_and_come_back(tokenizer):
    ids = tokenizer.encode("Soft  BALLAD, piano", 64)
    assert tokenizer.decode(ids) == "soft ballad, piano" and len(ids) == 4
    assert ids == tokenizer.encode("soft ballad, piano", 64) and all(0 < i < tokenizer.vocab for i in ids)
    assert len(tokenizer.encode("c# 72", 64)) > 3, "numbers are read digit by digit"


ODD_TEXTS = ["xylophone, 7/8!?", "quick JIG", "", "   ", "a\nb\tc", "Café ♯ ♭ “quoted”", "🎸 バンド", "é" * 500]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_no_prompt_fails(tokenizer, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SoundWarning)
        ids = tokenizer.encode(text, 16)
    assert len(ids) <= 16 and all(UNKNOWN < i < tokenizer.vocab for i in ids)


def test_accents_and_signs_are_read(tokenizer, recwarn):
    assert tokenizer.encode("Bállàd in C♯ minor", 64) == tokenizer.encode("ballad in c# minor", 64)
    assert not recwarn.list


def test_what_is_not_known_is_left_out_and_named(tokenizer):
    with pytest.warns(SoundWarning, match="prompt 'soft 🎸 ballad': this checkpoint knows no '🎸', which is left out"):
        assert tokenizer.encode("soft 🎸 ballad", 64) == tokenizer.encode("soft ballad", 64)
    with pytest.warns(SoundWarning, match="'バド'"):
        assert tokenizer.encode("バド", 64) == []


def test_what_is_too_long_is_cut_between_words_and_named(tokenizer):
    whole = tokenizer.encode("soft ballad, piano and brushes", 64)
    for length in range(1, len(whole)):
        with pytest.warns(SoundWarning, match=rf"pieces, and this checkpoint takes {length}; '.*brushes' is left out"):
            ids = tokenizer.encode("soft ballad, piano and brushes", length)
        assert 0 < len(ids) <= length and ids == whole[: len(ids)]
        assert "soft ballad, piano and brushes".startswith(tokenizer.decode(ids))
    with pytest.warns(SoundWarning, match="'piano and brushes' is left out"):
        tokenizer.encode("soft ballad, piano and brushes", 3)
    with pytest.warns(SoundWarning):
        assert len(tokenizer.encode("q" * 40, 5)) == 5, "a word that is too long for all is cut within"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tokenizer.encode("soft ballad, piano and brushes", len(whole)) == whole


def test_a_component_is_read_as_it_was_written(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "text")
    config, tensors = load_component(tmp_path / "text")
    assert config["kind"] == "text_tokenizer" and config["vocab"] == 128 and config["pieces"] == len(tokenizer.pieces)
    assert tensors["sentencepiece"].dtype == torch.uint8
    again = TextTokenizer.load(tmp_path / "text")
    assert (again.vocab, again.model, again.pieces) == (tokenizer.vocab, tokenizer.model, tokenizer.pieces)
    with pytest.raises(CheckpointError, match="exists; choose another directory"):
        tokenizer.save(tmp_path / "text")
    again.about = {"training": {"seed": 3}}
    again.save(tmp_path / "text", force=True)
    assert TextTokenizer.load(tmp_path / "text").about == {"training": {"seed": 3}}


@pytest.mark.parametrize(
    "config, tensors, says",
    [
        ({"kind": "semantic_tokenizer"}, None, "holds 'semantic_tokenizer'; expected a text_tokenizer"),
        ({"kind": "text_tokenizer"}, None, "no complete text_tokenizer: expected a number `vocab`"),
        ({"kind": "text_tokenizer", "vocab": 128}, torch.zeros(9), "no complete text_tokenizer"),
        ({"kind": "text_tokenizer", "vocab": 128}, torch.zeros(9, dtype=torch.uint8), "9 bytes are no sentencepiece model"),
        ({"kind": "text_tokenizer", "vocab": 20}, None, "pieces, the unknown one at 0; expected 2 to 20"),
    ],
)
def test_a_component_that_cannot_be_used_is_named(tokenizer, tmp_path, config, tensors, says):
    model = torch.frombuffer(bytearray(tokenizer.model), dtype=torch.uint8) if tensors is None else tensors
    save_component(tmp_path / "text", config, {"sentencepiece": model})
    with pytest.raises(CheckpointError, match=says):
        TextTokenizer.load(tmp_path / "text")


def test_what_cannot_be_trained_says_why():
    with pytest.raises(ValueError, match="there is no text to train a text tokenizer on"):
        TextTokenizer.train(["", "  "], 128)
    with pytest.raises(ValueError, match="cannot make 20 pieces of 8 texts; every character of them needs one"):
        TextTokenizer.train(TEXTS, 20)


META = {
    "key": "C:min", "bpm": 72.0, "metre": "4/4", "style": "ballad", "comping": "block", "bass_line": "long",
    "instruments": {"keys": "acoustic grand piano", "bass": "acoustic bass", "drums": "brushed drum kit"},
}  # fmt: skip


@pytest.fixture
def manifest(tmp_path):
    """Two songs to train on and one that is held out, their sound absent: captions need none."""
    songs = []
    for number, split in enumerate(["train", "train", "validation"]):
        meta = META | {"bpm": 72.0 + 20 * number}
        (tmp_path / f"{number}.json").write_text(json.dumps(meta), encoding="utf-8")
        songs.append({"id": f"s{number}", "split": split, "licence": "none", "seconds": 30.0, "meta": f"{number}.json"})
        songs[-1] |= {"vocal": "v.wav", "accompaniment": "a.wav"}
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(song) + "\n" for song in songs), encoding="utf-8")
    return tmp_path / "manifest.jsonl"


def test_a_manifest_becomes_a_component(manifest, root, tmp_path, capsys):
    path = root / "recipes" / "synthetic" / "conf" / "tiny" / "text_tokenizer.toml"
    command = ["train", str(path), "--run-dir", str(tmp_path / "run"), "--set", f"manifest={manifest}"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "songs: 2" in said and "captions: 24" in said and said.endswith(f"{tmp_path / 'run'}\n")
    tokenizer = TextTokenizer.load(tmp_path / "run" / "model")
    assert tokenizer.vocab == 128 and tokenizer.about["training"] == {"vocab": 128, "captions": 12, "seed": 0}
    assert tokenizer.about["validation"]["songs"] == 1 and tokenizer.about["validation"]["unknown"] == 0
    assert len(tokenizer.encode("piano and brushes", 64)) < 8
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert main(command) == 0 and capsys.readouterr().out == said
    assert train(TextTokenizerConfig(str(manifest), 128, 12), tmp_path / "other")["pieces"] == len(tokenizer.pieces)
    assert (tmp_path / "other" / "model" / "model.safetensors").read_bytes() == before
    assert main([*command, "--set", "seed=5"]) == 1
    assert "run was trained with" in capsys.readouterr().err


def test_songs_without_captions_or_with_bad_metas_are_named(manifest, tmp_path):
    config = TextTokenizerConfig(str(manifest), 128, 12)
    for number in (0, 1):
        (tmp_path / f"{number}.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="no training song of .*manifest.jsonl has a meta file that a caption"):
        train(config, tmp_path / "run")
    (tmp_path / "0.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="0.json holds a list; expected an object"):
        train(config, tmp_path / "run")
    (tmp_path / "0.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="0.json cannot be read as a song's meta file"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="vocab is 1 and captions 12"):
        TextTokenizerConfig(str(manifest), 1, 12)
