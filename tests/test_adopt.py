"""Published HuBERT and EnCodec -> tokenizers of ours: units fitted to songs, killed and called again, and refused."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from accompgen import audio
from accompgen.cli import main
from accompgen.component import component_hash
from accompgen.data import units
from accompgen.data.tracks import Tracks
from accompgen.tokens import kmeans
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.hubert_weights import load_hubert
from accompgen.tokens.semantic import SemanticTokenizer

transformers = pytest.importorskip("transformers", reason="the networks come from transformers")
pytest.importorskip("sklearn", reason="k-means is fitted by the extra train")


def write_hubert(folder):
    """A directory as transformers writes it, with random weights: 2 layers of width 16."""
    torch.manual_seed(0)
    sizes = dict(
        conv_dim=[8] * 7, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.HubertModel(transformers.HubertConfig(**sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    return write_hubert(tmp_path_factory.mktemp("published") / "hubert")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Five songs of 2 s; the one of the split test is loud noise, so that its frames would be noticed."""
    folder, lines = tmp_path_factory.mktemp("songs"), []
    rng = np.random.default_rng(0)
    for number in range(5):
        for part in ("vocal", "accompaniment"):
            wav = 0.3 * np.sin(np.arange(48000) * (number + 1) * (0.02 if part == "vocal" else 0.05))
            wav = rng.uniform(-1, 1, 48000) if number == 4 else wav
            audio.write(folder / f"{number}.{part}.flac", wav[None].astype(np.float32), 24000, "PCM_16")
        files = {part: f"{number}.{part}.flac" for part in ("vocal", "accompaniment")}
        song = {"id": str(number), "split": "test" if number == 4 else "train", "licence": "CC0-1.0", "seconds": 2.0}
        lines.append(json.dumps(song | files))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder / "manifest.jsonl"


def test_units_are_fitted_to_the_features_of_training_songs(hubert, manifest, tmp_path, capsys):
    call = ["adopt", "hubert", str(hubert), "-o", str(tmp_path / "fitted"), "--layer", "2", "--songs", str(manifest)]
    assert main([*call, "--units", "6", "--frames", "400", "--workers", "0", "--quiet"]) == 0
    assert "frames: 400" in capsys.readouterr().out
    made = SemanticTokenizer.load(tmp_path / "fitted")
    assert (made.vocab, made.layer) == (6, 2) and not (tmp_path / "fitted.features").exists()
    wav = torch.from_numpy(audio.resample(audio.read(manifest.parent / "0.accompaniment.flac")[0], 24000, 16000))
    features = made.features(wav)  # every centre is the mean of frames: none lies farther out than they do
    assert made.centres.norm(dim=1).max() < 1.5 * features.norm(dim=2).max()
    near, far = ((features[0][:, None] - rows).square().sum(2).min(1)[0].mean() for rows in (made.centres, -made.centres))
    assert near < far / 4


def test_a_stopped_call_goes_on_and_ends_with_the_same_units(hubert, manifest, tmp_path, monkeypatch):
    settings = dict(layer=1, units=4, frames=200, workers=0)
    units.fit_units(hubert, manifest, tmp_path / "whole", **settings)
    work, seen = units.Job.work, []

    def dies_after_two(job, loaded, song):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(song.id)
        return work(job, loaded, song)

    monkeypatch.setattr(units.Job, "work", dies_after_two)
    with pytest.raises(KeyboardInterrupt):
        units.fit_units(hubert, manifest, tmp_path / "parts", **settings)
    again = []
    monkeypatch.setattr(units.Job, "work", lambda job, loaded, song: again.append(song.id) or work(job, loaded, song))
    with pytest.raises(units.UnitsError, match="other songs or settings"):
        units.fit_units(hubert, manifest, tmp_path / "parts", **(settings | {"layer": 2}))
    units.fit_units(hubert, manifest, tmp_path / "parts", **settings)
    assert sorted(seen + again) == ["0", "1", "2", "3"]
    assert component_hash(tmp_path / "whole") == component_hash(tmp_path / "parts")


def test_a_call_that_is_killed_as_it_writes_its_settings_stops_no_later_one(hubert, manifest, tmp_path, monkeypatch):
    settings = dict(layer=1, units=4, frames=200, workers=0)

    def half_written(path, *_, **__):
        path.open("w").close()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "write_text", half_written)
        units.fit_units(hubert, manifest, tmp_path / "units", **settings)
    units.fit_units(hubert, manifest, tmp_path / "units", **settings, force=True)


def test_songs_that_cannot_be_used_are_named_and_the_others_are_taken(hubert, manifest, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no sound")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines:
        line |= {part: str(manifest.parent / line[part]) for part in ("vocal", "accompaniment")}
    (tmp_path / "good.jsonl").write_text("\n".join(map(json.dumps, lines)))
    bad = [lines[0] | {"id": "text", "vocal": "text.wav"}, lines[0] | {"id": "gone", "vocal": "gone.wav"}]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, [bad[0], *lines, bad[1]])))
    (tmp_path / "none.jsonl").write_text("\n".join(map(json.dumps, bad)))

    def adopt(name):
        call = ["adopt", "hubert", str(hubert), "-o", str(tmp_path / name), "--songs", str(tmp_path / f"{name}.jsonl")]
        status = main([*call, "--layer", "1", "--units", "4", "--frames", "2000", "--workers", "0", "--quiet"])
        printed = capsys.readouterr()
        return status, printed.out, [line for line in printed.err.splitlines() if line.startswith("accompgen: ")]

    figures = "units: 4\nlayer: 1\nsongs: 4\nframes: 800\n"
    assert adopt("good") == (0, f"{figures}{tmp_path / 'good'}\n", [])
    status, out, (first, second, last) = adopt("some")
    assert (status, out) == (1, f"{figures}{tmp_path / 'some'}\n")
    assert first.startswith(f"accompgen: {tmp_path / 'text.wav'}: not sound")
    assert second == f"accompgen: {tmp_path / 'gone.wav'}: no such file"
    assert last == "accompgen: 2 of 6 songs were left out; the units are those of the others"
    assert component_hash(tmp_path / "some") == component_hash(tmp_path / "good")
    status, _, (only,) = adopt("none")
    assert status == 1 and "no song of" in only and "gone.wav: no such file" in only
    assert not (tmp_path / "none").exists()


def test_a_directory_that_exists_is_refused_before_the_work(hubert, manifest, tmp_path, monkeypatch, capsys):
    def never(*_):
        raise AssertionError("HuBERT was loaded")

    monkeypatch.setattr(units, "load_hubert", never)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    call = ["adopt", "hubert", str(hubert), "-o", str(tmp_path / "out"), "--songs", str(manifest), "--workers", "0"]
    for force, words in (([], "out exists; choose another"), (["--force"], "out exists and is no component")):
        assert main([*call, "--layer", "1", "--units", "4", *force]) == 1
        assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_songs_are_spaced_and_a_tenth_of_their_frames_is_enough():
    songs = [units.Song(str(n), "train", "x", 10.0, Tracks(vocal="v", accompaniment="a")) for n in range(50)]
    chosen, share = units._choose(songs, 1000)
    assert [song.id for song in chosen] == [str(5 * n) for n in range(10)] and share == pytest.approx(0.1)
    assert units._choose(songs, 10**6) == (songs, 1.0)


def test_published_centres_and_finished_tokenizers_are_taken_as_they_are(hubert, manifest, tmp_path, capsys):
    centres = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    kmeans.save(tmp_path / "km.safetensors", centres)
    call = ["adopt", "hubert", str(hubert), "-o", str(tmp_path / "given"), "--layer", "1"]
    assert main([*call, "--kmeans", str(tmp_path / "km.safetensors")]) == 0
    made = SemanticTokenizer.load(tmp_path / "given")
    torch.testing.assert_close(made.centres, centres)
    for name, value in load_hubert(hubert).network.state_dict().items():
        torch.testing.assert_close(made.hubert.network.state_dict()[name], value)
    assert main([*call, "--kmeans", str(tmp_path / "km.safetensors")]) == 1 and "exists" in capsys.readouterr().err
    again = ["adopt", "hubert", str(tmp_path / "given"), "-o", str(tmp_path / "again"), "--songs", str(manifest)]
    assert main(again) == 0 and component_hash(tmp_path / "again") == component_hash(tmp_path / "given")


def test_encodec_is_adopted(tmp_path, capsys):
    torch.manual_seed(0)
    sizes = dict(num_filters=2, hidden_size=16, codebook_size=16, num_lstm_layers=1, target_bandwidths=[1.5, 3.0])
    network = transformers.EncodecModel(transformers.EncodecConfig(**sizes))
    for layer in network.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)
    network.save_pretrained(tmp_path / "published")
    assert main(["adopt", "encodec", str(tmp_path / "published"), "-o", str(tmp_path / "ours")]) == 0
    assert "bins: 16" in capsys.readouterr().out
    wav = 0.1 * torch.randn(1, 4800)
    published, ours = (AcousticTokenizer.load(tmp_path / name) for name in ("published", "ours"))
    assert torch.equal(ours.encode(wav), published.encode(wav)) and ours.encode(wav).unique().numel() > 4


@pytest.mark.parametrize(
    "kind, options, said",
    [
        ("musicgen", ["--layer", "9", "--kmeans", "km"], "--layer, --kmeans: of no use to adopt musicgen, only to"),
        ("musicgen", ["--songs", "m.jsonl", "--seed", "0"], "--songs, --seed: of no use to adopt musicgen"),
        ("musicgen", ["--decoder", "vocos", "dir"], "--decoder: of no use to adopt musicgen, only to adopt encodec"),
        ("encodec", ["--units", "500"], "--units: of no use to adopt encodec"),
        ("hubert", ["--t5", "t5-base"], "--t5: of no use to adopt hubert, only to adopt musicgen"),
        ("encodec", ["--decoder", "waves", "dir"], "--decoder waves is not known"),
    ],
)
def test_what_a_kind_would_pass_over_is_refused(kind, options, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["adopt", kind, "weights", "-o", str(tmp_path / "out"), *options])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_songs_without_a_manifest_are_told_before_weights_are_fetched(
    tmp_path, monkeypatch, capsys
):
    def never(*_, **__):
        raise AssertionError("something was fetched")

    monkeypatch.setattr("accompgen.tokens.fetch.fetch", never)
    call = ["adopt", "hubert", "hubert-base", "-o", str(tmp_path / "out"), "--songs"]
    for songs, message in (("nope.jsonl", "nope.jsonl: no such file; "), (".", " is a folder; ")):
        assert main([*call, str(tmp_path / songs)]) == 1
        said = capsys.readouterr().err
        assert f"{message}expected the manifest.jsonl that `accompgen prepare` wrote" in said


def test_what_cannot_be_adopted_is_named(hubert, manifest, tmp_path, capsys):
    call = ["adopt", "hubert", str(hubert), "-o", str(tmp_path / "out"), "--workers", "0"]
    with pytest.raises(SystemExit):
        main(call)
    assert "has no units: give --kmeans" in capsys.readouterr().err
    assert main([*call, "--songs", str(manifest), "--layer", "3", "--units", "4"]) == 1
    assert "layer 3 does not exist" in capsys.readouterr().err
    assert main([*call, "--songs", str(manifest), "--layer", "1", "--units", "5000", "--force"]) == 1
    assert "too little for 5000 units" in capsys.readouterr().err
    assert main(["adopt", "hubert", "hubert-huge", "-o", str(tmp_path / "out"), "--songs", str(manifest)]) == 1
    assert "hubert-huge" in capsys.readouterr().err and not (tmp_path / "out").exists()
