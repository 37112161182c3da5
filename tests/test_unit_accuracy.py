"""The table of unit accuracy, on made songs whose units are told by their pitch or by nothing."""

import json

import numpy as np
import pytest
import torch

from accompgen import audio
from accompgen.data.songs import Song, write_manifest
from accompgen.data.tracks import Tracks

RATE = 16000


@pytest.fixture(scope="module")
def tool(load_tools):
    return load_tools("unit_accuracy")


class PitchTokenizer:
    """Units are the loudest bin of a frame's spectrum: MIDI pitch modulo 24, 23 where it is quiet."""

    vocab = 24

    def encode(self, wav):
        frames = wav[0].reshape(-1, 320)
        hz = torch.fft.rfft(frames, 4096).abs().argmax(1) * RATE / 4096
        return (torch.round(69 + 12 * torch.log2(hz.clamp_min(50) / 440)).long() % 24)[None]


def tones(pitches, cents=0):
    """A second of a tone per pitch -> wave [1, T] and its notes."""
    hz = np.repeat([440 * 2 ** ((pitch + cents / 100 - 69) / 12) for pitch in pitches], RATE)
    notes = [[float(i), i + 1.0, pitch, 90] for i, pitch in enumerate(pitches)]
    return (0.3 * np.sin(np.cumsum(2 * np.pi * hz / RATE)))[None].astype(np.float32), notes


@pytest.fixture
def manifest(tmp_path):
    """Training songs of slt and lp; held-out ones of both, and of nsk, who sings 200 cents sharp."""
    songs = []
    for name, split, voice, cents in (
        ("a", "train", "slt", 0), ("b", "train", "lp", 0), ("c", "validation", "slt", 0),
        ("d", "validation", "lp", 0), ("e", "validation", "nsk", 200),
    ):  # fmt: skip
        wave, notes = tones([60, 64, 67, 62] if split == "train" else [67, 62, 60, 64], cents)
        audio.write(tmp_path / f"{name}.flac", wave, RATE, subtype="PCM_16")
        (tmp_path / f"{name}.json").write_text(json.dumps({"notes": notes, "singer": {"voice": voice}}))
        path = tmp_path / f"{name}.flac"
        songs.append(Song(name, split, "none", 4.0, Tracks(vocal=path, accompaniment=path), tmp_path / f"{name}.json"))
    write_manifest(tmp_path / "manifest.jsonl", songs)
    return tmp_path / "manifest.jsonl"


def rows(text):
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[0]: row[1:] for row in cells}


def test_the_table_tells_known_voices_from_unknown_ones(tool, manifest, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tool, "open_tokenizer", lambda name: PitchTokenizer())
    wave, notes = tones([64, 60])
    audio.write(tmp_path / "real.wav", wave, RATE)
    lines = [f"{start},{440 * 2 ** ((pitch + 0.3 - 69) / 12):.3f},{end - start}" for start, end, pitch, _ in notes]
    (tmp_path / "real.csv").write_text("\n".join(lines))
    recording = ["--recording", str(tmp_path / "real.wav"), str(tmp_path / "real.csv")]
    tool.main([str(manifest), "--old", "slt", *recording, "-o", str(tmp_path / "table.md")])
    text = capsys.readouterr().out
    found = rows(text)
    assert found["measured on"] == ["songs", "old voices (1)", "as many of all (1)", "all voices (2)"]
    percent = {name: [float(cell.split()[0]) for cell in row[1:]] for name, row in found.items() if "%" in row[-1]}
    assert set(percent) == {
        "held out, old voices", "held out, other voices of training", "held out, voices that training does not know",
        "voice slt", "voice lp", "voice nsk", "real.wav",
    }  # fmt: skip
    assert min(percent["held out, old voices"]) > 95 and min(percent["voice lp"]) > 95 and min(percent["real.wav"]) > 95
    assert max(percent["voice nsk"]) < 60 and percent["voice nsk"] == percent["held out, voices that training does not know"]
    assert (tmp_path / "table.md").read_text() == text
    with pytest.raises(SystemExit):
        tool.main([str(manifest), "-o", str(tmp_path / "table.md")])
    assert "exists; name another file" in capsys.readouterr().err


def test_what_cannot_be_read_is_named(tool, manifest, tmp_path, capsys, monkeypatch):
    (tmp_path / "bad.csv").write_text("0.5,220,1.0\n1.5,220\n")
    with pytest.raises(ValueError, match="bad.csv, line 2: .*expected onset in seconds, Hz"):
        tool.read_notes(tmp_path / "bad.csv")
    (tmp_path / "bad.csv").write_text("0.5,0,1.0\n")
    with pytest.raises(ValueError, match="bad.csv, line 1"):
        tool.read_notes(tmp_path / "bad.csv")
    lines = [line for line in manifest.read_text().splitlines() if '"train"' not in line]
    manifest.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="no training song with notes and a singer"):
        tool.hear_songs(manifest, PitchTokenizer())
