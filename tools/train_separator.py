"""A small separator for the synthetic songs, in demucs's format: for the row of separated vocals without published weights.

python tools/train_separator.py MANIFEST -o separator.safetensors [--minutes 12] [--seed 0]

A spectrogram HDemucs of one channel at 24 kHz learns the voice in mixtures of the training songs: voice and band
of any two songs, each up to 6 dB louder or softer. It ends after `--minutes` of training and prints how much nearer the voice
is than the mixture, on validation songs. Good for these songs and for no others.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.data.songs import ManifestError, read_manifest
from accompgen.training.codec_figures import RATE, read_mono, si_sdr

SOURCES = ["accompaniment", "vocals"]
SIZES = dict(
    audio_channels=1, channels=16, growth=1.5, nfft=1024, hybrid=False, depth=4, dconv_mode=0, norm_starts=9, samplerate=RATE,
    segment=10,
)  # fmt: skip
CROP_SECONDS, BATCH, LEARNING_RATE, CLIP_NORM = 4.0, 4, 5e-3, 1.0
GAIN_DECIBEL = 6.0
STEPS_PER_PAIR = 4  # batches made of the same songs, each with other crops


def main(argv=None) -> int:
    """Train, measure, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0, help="of training (default: 12)")
    parser.add_argument("--songs", type=int, default=20, help="validation songs that are measured (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        from demucs.hdemucs import HDemucs

        songs = read_manifest(args.manifest)
        audio.check_folder(args.out.parent)
        torch.manual_seed(args.seed)
        model = HDemucs(SOURCES, **SIZES)
        train(model, [song for song in songs if song.split == "train"], args.minutes, args.seed)
        write(model, args.out)
        gains = [gain(model.eval(), song) for song in [song for song in songs if song.split == "validation"][: args.songs]]
    except (ImportError, ManifestError, audio.AudioError, OSError, ValueError) as error:
        print("train_separator:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    print(f"SI-SDR of the voice over that of the mixture: {np.mean(gains):+.1f} dB, {len(gains)} validation songs")
    return 0


def train(model, songs, minutes: float, seed: int) -> None:
    """Adam on the L1 distance of the voice, the learning rate falling with the time that is left."""
    if len(songs) < 2:
        raise ValueError(f"the manifest has {len(songs)} training songs; a mixture of two needs at least 2")
    rng, optimizer = np.random.default_rng(seed), torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    began, step, shown = time.monotonic(), 0, math.nan
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        if step % STEPS_PER_PAIR == 0:
            waves = [
                (read_mono(songs[a].tracks.vocal), read_mono(*songs[b].tracks.accompaniment))
                for a, b in rng.integers(len(songs), size=(BATCH, 2))
            ]
        voice, band = (torch.from_numpy(np.stack(parts)) for parts in zip(*(crop(*pair, rng) for pair in waves)))  # [B, T]
        mixture = voice + band
        scale = mixture.std(1, keepdim=True) + 1e-8
        guess = model((mixture / scale)[:, None])[:, SOURCES.index("vocals"), 0]  # [B, T]
        loss = (guess - voice / scale).abs().mean()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * share))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        step += 1
        shown = loss.item() if step == 1 else 0.98 * shown + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step}, {100 * share:.0f} %: L1 {shown:.4f}", file=sys.stderr)
        if not math.isfinite(shown):
            raise ValueError(f"the loss at step {step} is not finite; start again with another --seed")


def crop(voice, band, rng) -> list[np.ndarray]:
    """A place of its own of each, at a level of its own."""
    length, parts = round(CROP_SECONDS * RATE), []
    for wav in (voice, band):
        first = int(rng.integers(max(1, len(wav) - length)))
        parts.append(audio.fit(wav[first:], length) * np.float32(10 ** (rng.uniform(-GAIN_DECIBEL, GAIN_DECIBEL) / 20)))
    return parts


def gain(model, song) -> float:
    """SI-SDR of the separated voice minus that of the mixture, in decibel."""
    from accompgen.data.separate import Separator

    voice, band = read_mono(song.tracks.vocal), read_mono(*song.tracks.accompaniment)
    found, _ = Separator(model).split((voice + band)[None], RATE)
    return si_sdr(voice, found[0]) - si_sdr(voice, voice + band)


def write(model, path: Path) -> None:
    """The weights in float32, with the class and sizes that demucs builds them from; whole or not at all."""
    from safetensors.torch import save

    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    about = {"klass": "demucs.hdemucs.HDemucs", "args": json.dumps([SOURCES]), "kwargs": json.dumps(SIZES)}
    audio.make_folder(path.parent)
    audio.write_bytes(path, save(state, metadata=about))


if __name__ == "__main__":
    sys.exit(main())
