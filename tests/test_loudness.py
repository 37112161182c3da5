"""Loudness beside pyloudnorm, whose filters and blocks ours are; and what a song does without."""

import subprocess
import sys

import numpy as np
import pytest
from tiny import sing

from accompgen import audio
from accompgen.loudness import integrated_loudness

# what takes a second or more to import, and no song needs
HEAVY = ("scipy", "sympy", "transformers", "librosa", "matplotlib", "sklearn")


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("seconds", [0.2, 0.41, 5.0])
def test_figures_are_those_of_pyloudnorm(rate, seconds):
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is not installed (extra `reference`)")
    rng, samples = np.random.default_rng(round(rate * seconds)), round(rate * seconds)
    for channels in (1, 2):  # swells of 100 dB, and an offset that the high-pass must take away
        swell = 10 ** np.interp(np.arange(samples), np.linspace(0, samples, 6), rng.uniform(-5, 0, 6))
        wav = (0.3 * swell * rng.standard_normal((channels, samples)) + 0.2).astype(np.float32)
        meter = pyloudnorm.Meter(rate, block_size=min(0.4, (samples - 0.5) / rate))
        expected = meter.integrated_loudness(wav.T.astype(np.float64))
        assert integrated_loudness(wav, rate) == pytest.approx(expected, abs=1e-5)


def test_what_is_longer_than_a_piece_is_measured_without_seams():
    rate = 48_000
    tone = np.sin(2 * np.pi * 997 / rate * np.arange(10 * rate))[None].astype(np.float32)
    short, long = integrated_loudness(tone[:, : 2 * rate], rate), integrated_loudness(tone, rate)
    assert long == pytest.approx(-3.01, abs=0.05) and long == pytest.approx(short, abs=1e-3)


def test_a_song_imports_nothing_heavy(tiny_checkpoint, tmp_path):
    """The first song of a process: what it imports is what its user waits for."""
    audio.write(tmp_path / "voice.wav", sing(0.5), 44_100)
    script = (
        "import sys; from accompgen.cli import main; status = main(sys.argv[1:])\n"
        f"print([name for name in {HEAVY!r} + ('av',) if name in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    words = ["generate", str(tmp_path / "voice.wav"), "-o", str(tmp_path / "out"), "--checkpoint", str(tiny_checkpoint)]
    done = subprocess.run([sys.executable, "-c", script, *words, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.strip() == "[]", done.stderr
