"""Training of the small HuBERT: its targets, its probe, and a run that resumes exactly."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from accompgen import audio
from accompgen.config import ConfigError
from accompgen.tokens.hubert import Hubert
from accompgen.tokens.semantic import SemanticTokenizer
from accompgen.training import hubert as training
from accompgen.training import hubert_probe as probe
from accompgen.training import hubert_targets as targets

pytest.importorskip("transformers", reason="the networks come from transformers")
pytest.importorskip("sklearn", reason="k-means is fitted by the extra train")


def tone(hz, seconds=1.0, rate=16000):
    return torch.from_numpy(0.3 * np.sin(2 * math.pi * hz * np.arange(int(seconds * rate)) / rate)).float()


@pytest.fixture(scope="module")
def run(tmp_path_factory, root):
    """A corpus of eight short songs of random notes, and the tiny recipe on it."""
    folder = tmp_path_factory.mktemp("hubert")
    rng, lines = np.random.default_rng(0), []
    for index in range(8):
        notes = [[0.5 * n, 0.5 * (n + 1), int(rng.integers(55, 72)), 80] for n in range(6)]
        chords = [[1.5 * n, 1.5 * (n + 1), ("C:maj", "A:min")[int(rng.integers(2))]] for n in range(2)]
        vocal = torch.cat([tone(440 * 2 ** ((pitch - 69) / 12), 0.5, 24000) for *_, pitch, _ in notes])
        band = torch.cat([tone({"C": 261.6, "A": 220.0}[label[0]], 1.5, 24000) for *_, label in chords])
        for part, wav in (("vocal", vocal), ("accompaniment", band)):
            audio.write(folder / f"{index}.{part}.flac", wav[None].numpy(), 24000, subtype="PCM_16")
        (folder / f"{index}.json").write_text(json.dumps({"notes": notes, "chords": chords}))
        split = "validation" if index > 5 else "train"
        files = {"vocal": f"{index}.vocal.flac", "accompaniment": f"{index}.accompaniment.flac", "meta": f"{index}.json"}
        lines.append(json.dumps({"id": str(index), "split": split, "licence": "CC0-1.0", "seconds": 3.0, **files}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    overrides = [f"manifest={json.dumps(str(folder / 'manifest.jsonl'))}", "device=auto"]  # as the recipe's rule passes them
    return folder, training.read_config(root / "recipes/synthetic/conf/tiny/hubert.toml", overrides)


def test_resumed_steps_equal_steps_in_one_go(run):
    folder, config = run
    training.train(config, folder / "whole")
    training.train(config, folder / "parts", stop_at=1)
    assert training.train(config, folder / "parts", pause_after_minutes=1e-9) is None  # a step, saved
    assert torch.load(folder / "parts/last/state.pt", weights_only=True)["step"] == 2
    training.train(config, folder / "parts", stop_at=3)
    assert training.train(config, folder / "parts") == folder / "parts/model"
    states = [torch.load(folder / name / "last/state.pt", weights_only=True) for name in ("whole", "parts")]
    assert states[0]["step"] == states[1]["step"] == 4
    for key in ("hubert", "head"):
        for name, value in states[0][key].items():
            assert torch.equal(value, states[1][key][name]), name
    whole, parts = (SemanticTokenizer.load(folder / name / "model") for name in ("whole", "parts"))
    assert torch.equal(whole.centres, parts.centres)


def test_a_run_leaves_a_tokenizer_and_its_figures(run):
    folder, config = run
    training.train(config, folder / "figures")
    tokenizer = SemanticTokenizer.load(folder / "figures/model")
    assert tokenizer.vocab == config.units and tokenizer.encode(tone(440)[None]).shape == (1, 50)
    records = [json.loads(line) for line in (folder / "figures/log.jsonl").read_text().splitlines()]
    names = [record["units_of"] for record in records if "units_of" in record]
    assert names == ["targets (MFCC + 2 x chroma)", "layer 1"]
    of_targets = next(record for record in records if "units_of" in record)
    assert of_targets["sung_pitch_class"] > 0.8 and of_targets["chord_root"] > 0.8  # pure tones: chroma tells them
    assert {"masked_loss", "heard_loss", "lr", "realtime"} <= set(next(r for r in records if "lr" in r))
    assert json.loads((folder / "figures/config.json").read_text())["trained_steps"] == config.steps


def test_the_loss_falls(run):
    folder, config = run
    config = replace(config, steps=40, learning_rate=3e-3, log_every=10, validate_every=1000, save_every=1000)
    training.train(config, folder / "falls", stop_at=40)
    records = [json.loads(line) for line in (folder / "falls/log.jsonl").read_text().splitlines()]
    losses = [record["heard_loss"] for record in records if "heard_loss" in record]
    assert losses[0] > 3.1 and losses[-1] < 3.0  # ln(32) = 3.47 is knowing nothing


def test_another_configuration_does_not_take_over_a_run(run):
    folder, config = run
    training.train(config, folder / "begun", stop_at=1)
    with pytest.raises(ConfigError, match="mask_share = 0.3"):
        training.train(replace(config, mask_share=0.5), folder / "begun")
    with pytest.raises(ConfigError, match="no song of the split train"):
        (folder / "empty.jsonl").write_text("")
        training.train(replace(config, manifest=str(folder / "empty.jsonl")), folder / "other")
    with pytest.raises(ConfigError, match="no such device: 'tpu'; here there are cpu"):
        training.train(replace(config, device="tpu"), folder / "elsewhere")


def test_a_batch_is_a_function_of_seed_and_step(run):
    _, config = run

    def sound_and_labels(split, index):
        return [(tone(100.0 * (index + 1), 3.0), torch.arange(150))] * 2

    first, again, other = (training._batch(config, step, 6, sound_and_labels) for step in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])
    wav, labels, mask = first
    assert wav.shape == (2, 32000) and labels.shape == mask.shape == (2, 100)
    assert torch.equal(labels[0], torch.arange(100) + labels[0, 0])  # a stretch of the song, in step with its sound
    seen = {training._song_at(0, position, 6) for position in range(6)}
    assert seen == set(range(6))  # a pass meets every song once


def test_tuned_filters_answer_to_their_own_semitone(run):
    _, config = run
    model = replace(config.model, conv_channels=(255, 16))
    hubert = Hubert(model)
    training._tune_filters(hubert, 55.0)
    convolution = hubert.network.feature_extractor.conv_layers[0].conv
    assert not convolution.weight.requires_grad
    for band in (24, 36, 48):
        level = convolution(tone(55.0 * 2 ** (band / 12))[None, None])[0].square().mean(-1).reshape(85, 3).sum(1)
        assert level.argmax() == band


def test_chroma_names_the_pitch_class():
    for hz, expected in ((440.0, 9), (261.63, 0), (233.08, 10)):
        found = targets.chroma(tone(hz))
        assert found.shape == (50, 12) and (found[5:-5].argmax(1) == expected).all()
        torch.testing.assert_close(found[5:-5].norm(dim=1), torch.ones(40))
    assert targets.chroma(torch.zeros(16000)).abs().max() == 0


def test_the_weight_of_chroma_in_the_targets(run):
    mean, deviation = torch.zeros(39), torch.ones(39)
    low, none, high = (targets.describe(tone(440), mean, deviation, weight) for weight in (2.0, 0.0, 3.0))
    torch.testing.assert_close(high[10:-10, 39:].norm(dim=1), torch.full((30,), 3.0))
    assert torch.equal(low[:, :39], none[:, :39]) and none[:, 39:].abs().max() == 0  # MFCC alone
    with pytest.raises(ConfigError, match="chroma_weight is -1.0"):
        replace(run[1], chroma_weight=-1.0)


def test_mel_bands_and_cosines_against_librosa():
    librosa = pytest.importorskip("librosa", reason="the oracle for mel bands and cepstra needs the extra eval")
    bands = librosa.filters.mel(sr=16000, n_fft=512, n_mels=40, htk=True, norm=None)
    np.testing.assert_allclose(targets._mel_bands(40, 512).numpy(), bands, atol=1e-5)
    logarithms = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    expected = librosa.feature.mfcc(S=logarithms, n_mfcc=13, dct_type=2, norm="ortho")
    np.testing.assert_allclose(targets._cosines(13, 40).numpy() @ logarithms, expected, atol=1e-5)


def test_slopes_of_a_ramp_are_its_rise():
    ramp = 3.0 * torch.arange(20)[:, None].float().expand(20, 2)
    torch.testing.assert_close(targets._slope(ramp)[2:-2], torch.full((16, 2), 3.0))


def test_truth_from_notes_and_chords():
    meta = {"notes": [[0.0, 0.045, 60, 90], [0.06, 0.1, 71, 90]], "chords": [[0.0, 0.04, "Bb:min/b3"], [0.04, 0.1, "N"]]}
    assert probe.sung_classes(meta, 5).tolist() == [0, 0, -1, 11, 11]  # middles at 0.01, 0.03, 0.05, 0.07, 0.09 s
    assert probe.chord_roots(meta, 5).tolist() == [10, 10, -1, -1, -1]
    assert [probe._root(name) for name in ("F#:maj", "Cb:7", "N", "X")] == [6, 11, -1, -1]


def test_lookup_accuracy_by_hand():
    units, classes = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([4, 4, 5, 7, -1])
    held = (torch.tensor([0, 0, 1, 2]), torch.tensor([4, 5, 7, 4]))  # unit 2 was never seen: the commonest class, 4
    assert probe.lookup_accuracy([(units, classes)], [held], 3) == 3 / 4
    assert probe.repeat_share([torch.tensor([1, 1, 2, 2, 2])]) == 3 / 4


def test_ctrl_c_saves_at_the_end_of_the_step(run, ctrl_c):
    folder, config = run
    ctrl_c(training)
    assert training.train(replace(config, save_every=1000), folder / "interrupted") is None
    assert torch.load(folder / "interrupted/last/state.pt", weights_only=True)["step"] == 2
