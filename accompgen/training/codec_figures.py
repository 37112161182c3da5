"""How much of the music survives the codec: SI-SDR, chroma and onset correlation of original and round trip."""

from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.data.pairs import read_mix
from accompgen.data.songs import read_manifest
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.encodec import CodecConfig

RATE = CodecConfig.sample_rate
CODEBOOKS = {"3kbps": 4, "6kbps": 8}  # with 1024 bins: the coarse codebooks alone, and all


def accompaniment_paths(manifest, split: str) -> list[tuple[Path, ...]]:
    """Of each song of one split of a manifest, in its order, the files that sum to its accompaniment; mixtures have none.

    Raises ManifestError.
    """
    found = (song.tracks.accompaniment for song in read_manifest(manifest) if song.split == split)
    return [paths for paths in found if paths]


def read_mono(*paths) -> np.ndarray:
    """The sum of files as mono float32 [T] at 24 kHz."""
    wav, rate = read_mix(paths)
    return audio.resample(audio.to_mono(wav), rate, RATE)


@torch.no_grad()
def codec_figures(tokenizer: AcousticTokenizer, wavs: list[np.ndarray]) -> dict:
    """Figures of the round trip of some sounds [T], averaged over them, at 3 and at 6 kbps (4 and 8 codebooks).

    Returns:
        {"6kbps": {"si_sdr": dB, "chroma": correlation, "onset": correlation}, "3kbps": ..., "perplexity": [Q numbers]}.
        Perplexity is exp(entropy) of the use of the codes: `bins` if all are used alike, 1 if one is used.
    """
    rows, codes = {name: [] for name in CODEBOOKS}, []
    for wav in wavs:
        codes.append(tokenizer.encode(torch.from_numpy(wav)[None], tokenizer.codebooks))
        for name, count in CODEBOOKS.items():
            count = min(count, tokenizer.codebooks)
            back = tokenizer.decode(codes[-1][:, :count])[0, : len(wav)].cpu().numpy()
            chroma_pair, onset_pair = (chroma(wav), chroma(back)), (onset_envelope(wav), onset_envelope(back))
            rows[name].append((si_sdr(wav, back), chroma_correlation(*chroma_pair), correlation(*onset_pair)))
    means = {name: np.nanmean(values, axis=0).tolist() for name, values in rows.items()}
    figures = {name: dict(zip(("si_sdr", "chroma", "onset"), values)) for name, values in means.items()}
    used = torch.cat(codes, dim=-1)[0]  # [Q, F]
    figures["perplexity"] = [perplexity(row, tokenizer.bins) for row in used]
    return figures


def evaluate_codec(directory, manifest, split: str = "validation", songs: int = 50, device: str = "cpu") -> dict:
    """Figures of a codec on the first `songs` accompaniments of a split: printed, and returned as by `codec_figures`.

    Raises ValueError if the manifest has no song of that split.
    """
    paths = accompaniment_paths(manifest, split)[:songs]
    if not paths:
        raise ValueError(f"{manifest} has no {split} songs")
    figures = codec_figures(AcousticTokenizer.load(directory, device), [read_mono(*files) for files in paths])
    for name in CODEBOOKS:
        row = figures[name]
        correlations = f"chroma correlation {row['chroma']:.3f}, onset correlation {row['onset']:.3f}"
        print(f"{name}: SI-SDR {row['si_sdr']:.2f} dB, {correlations}")
    print("perplexity of the codebooks: " + " ".join(f"{value:.0f}" for value in figures["perplexity"]))
    print(f"{len(paths)} {split} accompaniments of {manifest}")
    return figures


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), of two sounds [T]."""
    reference, estimate = reference - reference.mean(), estimate - estimate.mean()
    target = reference * (reference @ estimate) / max(float(reference @ reference), 1e-12)
    error = estimate - target
    return float(10 * np.log10(max(float(target @ target), 1e-12) / max(float(error @ error), 1e-12)))


def _magnitudes(wav, window, hop):
    spectrum = torch.stft(torch.from_numpy(wav), window, hop, window=torch.hann_window(window), return_complex=True)
    return spectrum.abs().numpy()  # [window / 2 + 1, frames]


def chroma(wav: np.ndarray, window: int = 8192, hop: int = 2048) -> np.ndarray:
    """Amplitude of the 12 pitch classes (A = 0) in each frame, [12, frames], of sound [T] at 24 kHz, 60 to 2000 Hz.

    Each bin of the spectrum goes to the semitone nearest to its frequency.
    """
    hertz = np.fft.rfftfreq(window, 1 / RATE)
    inside = (hertz >= 60) & (hertz <= 2000)
    classes = np.round(12 * np.log2(hertz[inside] / 440)).astype(int) % 12
    return np.eye(12, dtype=np.float32)[classes].T @ _magnitudes(wav, window, hop)[inside]


def chroma_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of two chromas [12, frames], frame by frame, averaged where the first one sounds."""
    loud = first.sum(0) > 0.01 * max(first.sum(0).max(), 1e-9)
    first, second = first[:, loud] - first[:, loud].mean(0), second[:, loud] - second[:, loud].mean(0)
    norms = np.sqrt((first**2).sum(0) * (second**2).sum(0))
    return float(((first * second).sum(0) / np.maximum(norms, 1e-12)).mean())


def onset_envelope(wav: np.ndarray, window: int = 1024, hop: int = 256) -> np.ndarray:
    """Spectral flux [frames]: the summed rise of the log magnitudes from frame to frame."""
    level = np.log1p(100 * _magnitudes(wav, window, hop) / window)
    return np.maximum(np.diff(level, axis=1), 0).sum(0)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of two series; nan if one of them is constant."""
    first, second = first - first.mean(), second - second.mean()
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm > 0 else float("nan")


def perplexity(codes: torch.Tensor, bins: int) -> float:
    """exp(entropy) of the use of `bins` codes in a tensor of them."""
    share = torch.bincount(codes.flatten(), minlength=bins).double() / codes.numel()
    return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))
