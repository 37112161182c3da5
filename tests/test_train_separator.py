"""The small separator: it learns, and what it writes is what the package separates with."""

import itertools

import numpy as np
import pytest

from accompgen import audio
from accompgen.data.songs import Song, write_manifest
from accompgen.data.tracks import Tracks

pytest.importorskip("demucs", reason="demucs is not installed (extra `separate`)")
RATE = 24000


@pytest.fixture
def tool(load_tools, monkeypatch):
    module = load_tools("train_separator")
    monkeypatch.setattr(module, "SIZES", module.SIZES | dict(depth=2, nfft=256, segment=1))
    monkeypatch.setattr(module, "CROP_SECONDS", 0.25)
    monkeypatch.setattr(module, "LEARNING_RATE", 0.02)
    return module


@pytest.fixture
def manifest(tmp_path):
    """Voices are tones near 300 Hz, bands are noise."""
    songs, rng = [], np.random.default_rng(0)
    for number, split in enumerate(["train"] * 3 + ["validation"] * 2):
        tone = np.sin(2 * np.pi * (300 + 20 * number) * np.arange(RATE) / RATE)
        for part, wave in (("vocal", 0.2 * tone), ("accompaniment", 0.1 * rng.standard_normal(RATE))):
            audio.write(tmp_path / f"{number}.{part}.wav", wave[None].clip(-1, 1).astype(np.float32), RATE)
        tracks = Tracks({part: tmp_path / f"{number}.{part}.wav" for part in ("vocal", "accompaniment")})
        songs.append(Song(f"s{number}", split, "none", 1.0, tracks))
    write_manifest(tmp_path / "manifest.jsonl", songs)
    return tmp_path / "manifest.jsonl"


def test_it_brings_the_voice_nearer_and_is_read_by_the_package(tool, manifest, tmp_path, capsys, monkeypatch):
    from accompgen.data.separate import load_separator

    out = tmp_path / "made" / "separator.safetensors"
    clock = itertools.count()
    monkeypatch.setattr(tool.time, "monotonic", lambda: next(clock))  # a second for every step
    assert tool.main([str(manifest), "-o", str(out), "--minutes", "2"]) == 0
    said = capsys.readouterr().out
    assert float(said.split("mixture: ")[1].split(" dB")[0]) > 5 and "2 validation songs" in said
    separator = load_separator(str(out))
    voice, rest = separator.split(np.zeros((1, RATE), np.float32) + 0.1, RATE)
    assert separator.rate == RATE and voice.shape == rest.shape == (1, RATE)


def test_si_sdr_of_known_waves(tool):
    true, noise = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])  # of no mean, which does not count
    assert tool.si_sdr(3 * true + 0.3 * noise, true) == pytest.approx(20)


def test_too_few_songs_are_named(tool, tmp_path, capsys):
    (tmp_path / "manifest.jsonl").write_text("")
    assert tool.main([str(tmp_path / "manifest.jsonl"), "-o", str(tmp_path / "s.safetensors")]) == 1
    assert capsys.readouterr().err.startswith("train_separator:")
