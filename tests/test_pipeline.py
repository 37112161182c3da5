"""Wave to wave with a checkpoint of random weights: lengths, levels, seeds, seams, files."""

import functools
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import WINDOW_SECONDS, sing

import accompgen
from accompgen import audio
from accompgen.component import CheckpointError
from accompgen.generation import cascade, pipeline, progress
from accompgen.generation.sampling import Sampling
from accompgen.generation.vocal import VOCAL_LUFS
from accompgen.generation.windows import plan
from accompgen.time import blocks_of


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return accompgen.load(tiny_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def song(model):
    return model.accompany((sing(1.0, channels=2), 44_100), seed=1)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 192_000])
@pytest.mark.parametrize("samples_per_second", [0.2, 0.5317])
def test_the_accompaniment_has_the_vocals_rate_and_its_length_to_the_sample(model, rate, samples_per_second):
    vocal = sing(samples_per_second, rate)
    song = model.accompany((vocal, rate))
    assert song.rate == rate
    assert song.accompaniment.shape == song.mix.shape == (2, vocal.shape[1])  # a decoder of two channels
    assert np.abs(song.accompaniment[0, : rate // 10]).max() > 0 and song.accompaniment[0, -1] == 0  # faded out


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_mix_is_the_untouched_vocal_times_a_gain_plus_the_accompaniment(model, channels):
    vocal = sing(0.5, channels=channels)
    song = model.accompany((vocal, 44_100), balance=2.0)
    assert song.accompaniment.shape == (2, vocal.shape[1])
    if channels == 1:  # a voice in the middle of the band
        vocal = np.repeat(vocal, 2, axis=0)
    # more channels than the band has: its mean sounds in each of them
    in_mix = song.accompaniment if channels < 3 else np.repeat(song.accompaniment.mean(0, keepdims=True), 3, axis=0)
    left = song.mix - in_mix
    gain = (left * vocal).sum() / (vocal**2).sum()
    assert song.mix.shape == vocal.shape
    assert np.abs(left - gain * vocal).max() < 1e-6 and 0 < gain <= 1
    assert audio.loudness(in_mix, 44_100) - audio.loudness(left, 44_100) == pytest.approx(2.0, abs=0.05)


def test_no_sample_passes_minus_1_dbfs(model):
    song = model.accompany((sing(0.5, level=1.0), 44_100), balance=10.0)
    loudest = max(audio.peak(song.mix), audio.peak(song.accompaniment))
    assert loudest < 10 ** (-1 / 20) and loudest == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert song.report["levels"]["vocal_gain_db"] < 0


def test_the_same_seed_gives_the_same_song_in_any_order_of_files(model):
    first, second = (sing(0.5), 44_100), (sing(0.7, 24_000), 24_000)
    one = model.accompany(first, seed=3)
    two = model.accompany(second, seed=3)
    two_again, one_again = model.accompany(second, seed=3), model.accompany(first, seed=3)
    assert np.array_equal(one.mix, one_again.mix) and np.array_equal(two.mix, two_again.mix)
    other = model.accompany(first, seed=4)
    assert (one.codes != other.codes).float().mean() > 0.3 and not np.array_equal(one.mix, other.mix)


def test_how_loud_the_vocal_was_recorded_does_not_change_what_is_heard():
    vocal = sing(0.5)
    usual, quiet = (pipeline.conditioning(pipeline.read_vocal((wav, 44_100)), 0.01, 0) for wav in (vocal, vocal / 30))
    assert torch.allclose(usual, quiet, atol=1e-4)
    assert audio.loudness(usual.numpy(), 16_000) == pytest.approx(VOCAL_LUFS, abs=0.5)


def test_the_noise_on_the_vocal_is_seeded_and_of_the_sigma_asked_for():
    vocal = pipeline.read_vocal((sing(2.0), 44_100))
    clean, noisy, again, other = (pipeline.conditioning(vocal, *way) for way in ((0, 0), (0.01, 0), (0.01, 0), (0.01, 1)))
    assert torch.equal(noisy, again) and not torch.equal(noisy, other)
    assert (noisy - clean).std().item() == pytest.approx(0.01, rel=0.03) and abs((noisy - clean).mean().item()) < 5e-4
    assert clean.shape == (1, 32_000)


def test_16_bit_samples_are_the_same_vocal():
    wav = sing(0.5)
    same = pipeline.read_vocal(((wav * 32_768).astype(np.int16), 44_100))
    assert np.abs(same.wav - wav).max() < 1e-4


def test_no_click_and_no_gap_at_the_seams(model):
    song = model.accompany((sing(2.5, 24_000), 24_000), seed=2)
    sound = song.accompaniment[0]
    steps = np.abs(np.diff(sound))
    blocks_in_song = 63
    windows = [blocks_of(WINDOW_SECONDS[name]) for name in ("coarse", "fine")]
    seams = {span.new * 960 for window in windows for span in plan(blocks_in_song, window)[1:]}
    near = [steps[max(0, seam - 24) : seam + 24].max() for seam in seams]
    power = [np.sqrt((sound[max(0, seam - 240) : seam + 240] ** 2).mean()) for seam in seams]
    far = np.delete(steps, np.concatenate([np.arange(seam - 24, seam + 24) for seam in seams]))
    assert max(near) <= far.max() * 1.5
    assert min(power) > 0.2 * np.sqrt((sound**2).mean())
    assert len(song.codes[0].unique()) > 3


def test_the_report_says_how_the_song_came_about(model, tmp_path):
    audio.write(tmp_path / "a.wav", sing(0.4, channels=2), 44_100)
    song = model.accompany(tmp_path / "a.wav", seed=9, sampling={"coarse": Sampling(temperature=0.7)}, balance=-6.0)
    report = song.report
    assert (
        report["seed"] == 9 and report["settings"]["coarse"]["temperature"] == 0.7 and report["settings"]["balance_lu"] == -6.0
    )
    assert report["vocal"]["sha256"] == hashlib.sha256((tmp_path / "a.wav").read_bytes()).hexdigest()
    assert (report["vocal"]["rate"], report["vocal"]["channels"], report["vocal"]["samples"]) == (44_100, 2, 17_640)
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    steps = [seconds for name, seconds in report["seconds"].items() if name != "total"]
    assert list(report["seconds"]) == ["read", "vocal_units", "semantic", "coarse", "fine", "decoder", "mix", "total"]
    assert report["seconds"]["total"] == pytest.approx(sum(steps), abs=0.01)
    assert report["real_time_factor"] == pytest.approx(report["seconds"]["total"] / 0.4, abs=0.02)
    assert report["checkpoint"]["name"] == "tiny" and len(report["checkpoint"]["sha256"]["coarse"]) == 64
    assert report["levels"]["mix_peak_dbfs"] == pytest.approx(audio.decibel(audio.peak(song.mix)), abs=0.01)


@pytest.mark.parametrize(
    "format, bit_depth, error",
    [("wav", "16", 1e-4), ("wav", "24", 1e-6), ("wav", 24, 1e-6), ("wav", "32f", 0), ("flac", 24, 1e-6)],
)
def test_saved_files_hold_the_song(song, tmp_path, format, bit_depth, error):
    paths = song.save(tmp_path / "new" / "folder", format, bit_depth)
    for key, expected in (("accompaniment", song.accompaniment), ("mix", song.mix)):
        found, rate = audio.read(paths[key])
        assert rate == song.rate and paths[key].name == f"song.{key}.{format}"
        assert np.abs(found - expected).max() <= error
    report = json.loads(paths["report"].read_text())
    assert report["files"]["mix"] == f"song.mix.{format}" and report["seed"] == 1
    assert sorted(path.name for path in paths["mix"].parent.iterdir()) == sorted(path.name for path in paths.values())


def test_an_mp3_stays_below_minus_1_dbfs_when_decoded(model, tmp_path):
    loud = model.accompany((sing(0.5, level=1.0), 44_100), balance=6.0)
    paths = loud.save(tmp_path, "mp3")
    found = {key: audio.read(paths[key])[0] for key in ("mix", "accompaniment")}
    assert max(map(audio.peak, found.values())) <= 10 ** (-1 / 20)
    assert found["mix"].shape == loud.mix.shape
    assert 0.5 < json.loads(paths["report"].read_text())["files"]["encoding_gain"] <= 1.0


def test_files_that_exist_are_kept_unless_forced(song, tmp_path):
    (tmp_path / "song.mix.wav").write_text("mine")
    with pytest.raises(audio.AudioError, match="song.mix.wav exists"):
        song.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["song.mix.wav"] and (tmp_path / "song.mix.wav").read_text() == "mine"
    song.save(tmp_path, force=True)
    assert audio.read(tmp_path / "song.mix.wav")[0].shape == song.mix.shape


def test_progress_goes_to_stderr_with_the_remaining_time(model, monkeypatch, capsys):
    import tqdm

    monkeypatch.setattr(tqdm, "tqdm", functools.partial(tqdm.tqdm, mininterval=0, miniters=1))
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)  # a song of .3 s is made sooner
    model.accompany((sing(0.3), 44_100), progress=True)
    captured = capsys.readouterr()
    stages = re.findall(r"song: (\w+): +\d+%\|.*?(\d+)/(\d+) \[\d+:\d+<\d+:\d+", captured.err)
    assert list(dict.fromkeys(name for name, _, _ in stages)) == ["semantic", "coarse", "fine"] and captured.out == ""
    # ids: 0.32 s at 50 Hz, two codebooks at 75 Hz, and the fine windows of 0.24 s, which are one batch
    assert stages[-1][1] == stages[-1][2] == str(16 + 2 * 24 + 2 * 18)


def test_settings_out_of_range(model):
    for settings, message in (({"balance": 50.0}, "balance is 50.0 LU"), ({"noise": -0.1}, "noise is -0.1")):
        with pytest.raises(ValueError, match=message):
            model.accompany((sing(0.3), 44_100), **settings)


def test_one_call_from_python(tiny_checkpoint, song):
    again = accompgen.accompany((sing(1.0, channels=2), 44_100), seed=1, checkpoint=tiny_checkpoint, device="cpu")
    assert torch.equal(again.codes, song.codes) and torch.equal(again.semantic, song.semantic)


def test_memory_stays_low_for_four_minutes(model, monkeypatch):
    """All but the decoding of ids, whose windows do not grow with the song (test_cascade.py): a stand-in draws them."""
    if not RESET.exists():
        pytest.skip("the peak of the resident memory can be measured on Linux alone")

    def draw(model, context, frames, sampling, generators, prompt, progress, told, engine):
        target = model.layout.target
        return torch.randint(target.vocab, (len(generators), target.codebooks, frames), generator=generators[0])

    monkeypatch.setattr(cascade, "decode", draw)
    vocal = np.tile(sing(10), 24)
    RESET.write_text("5")  # forgets the peak so far
    before = resident_megabytes("VmRSS")
    song = model.accompany((vocal, 44_100))
    assert song.mix.shape == (2, 240 * 44_100) and song.codes.shape == (4, 240 * 75)
    assert resident_megabytes("VmHWM") - before < 1_500  # the rest of 3 GB is for Python, torch and the weights


RESET = Path("/proc/self/clear_refs")


def resident_megabytes(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def test_the_sung_recording_end_to_end(model, shared):
    wav, rate = audio.read(shared / "data" / "vocadito" / "vocadito_1.wav")
    song = model.accompany((wav[:, 10 * rate : 13 * rate], rate))
    assert song.accompaniment.shape == (2, 3 * rate) and audio.peak(song.accompaniment) > 1e-3
    assert len(song.semantic.unique()) > 3


TELLING = {"listening": 0.0, "consonance": 0.0, "pulse": 0.0, "melody": 0.0, "reading": 0.0}


def test_a_checkpoints_own_sampling_is_the_default(tiny_checkpoint, tmp_path):
    path = shutil.copytree(tiny_checkpoint, tmp_path / "own")
    config = json.loads((path / "config.json").read_text())
    own = {"semantic": {"guidance": 1.0, "top_k": 4}, "fine": {"temperature": 0.5}}
    (path / "config.json").write_text(json.dumps(config | {"sampling": own}))
    model = pipeline.load(path, "cpu")
    settings = model.accompany((sing(0.3, 16_000), 16_000), sampling={"coarse": Sampling(top_k=5)}).report["settings"]
    assert settings["semantic"] == {"temperature": 0.9, "top_k": 4, "top_p": 1.0, "guidance": 1.0, **TELLING}
    assert settings["coarse"]["top_k"] == 5 and settings["fine"]["temperature"] == 0.5
    for wrong, word in (({"fine": {"heat": 1}}, "heat"), ({"semantics": {"top_k": 4}}, "unknown stage 'semantics'")):
        (path / "config.json").write_text(json.dumps(config | {"sampling": wrong}))
        with pytest.raises(CheckpointError, match=f"sampling in its config.json cannot be used.*{word}"):
            pipeline.load(path, "cpu")
