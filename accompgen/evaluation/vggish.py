"""VGGish: the audio embedding that most published FAD values use; front end and network, weights from the PyTorch port.

Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017. The front end follows the
published recipe: 16 kHz; frames of 25 ms every 10 ms, not padded; periodic Hann; FFT of 512; magnitude; 64 triangular
bands of equal width on the HTK mel scale from 125 to 7500 Hz; log(mel + 0.01); examples of 96 frames without overlap.
The embedding is the last linear layer's output [128]: without the activation behind it and without PCA, as FAD is
computed from it.
"""

import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from accompgen.analysis.mel_bands import triangles
from accompgen.component import CheckpointError, file_hash
from accompgen.tokens.unpickle import read_torch

RATE = 16000
FRAME_SAMPLES, HOP_SAMPLES, FFT = 400, 160, 512
BANDS, LOW_HZ, HIGH_HZ, LOG_OFFSET = 64, 125.0, 7500.0, 0.01
EXAMPLE_FRAMES = 96  # 0.96 s
DIMENSION = 128


def mel_matrix() -> np.ndarray:
    """Weights [257, 64] from FFT bins to bands: triangles on the mel axis, 1127 ln(1 + f / 700)."""
    return triangles(FFT, BANDS, LOW_HZ, HIGH_HZ, RATE, mel_scale="kaldi", triangularize_in_mel_space=True)


def examples(mono: np.ndarray) -> np.ndarray:
    """Sound [T] at 16 kHz -> log mel examples float32 [N, 96, 64], N = floor(frames / 96); 0 for less than 0.975 s."""
    if len(mono) < FRAME_SAMPLES:
        return np.zeros((0, EXAMPLE_FRAMES, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(mono, np.float64), FRAME_SAMPLES)[::HOP_SAMPLES]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)
    magnitude = np.abs(np.fft.rfft(frames * window, FFT))  # [frames, 257]
    log_mel = np.log(magnitude @ mel_matrix() + LOG_OFFSET)
    count = len(log_mel) // EXAMPLE_FRAMES
    return log_mel[: count * EXAMPLE_FRAMES].reshape(count, EXAMPLE_FRAMES, BANDS).astype(np.float32)


class VGGish(nn.Module):
    """Four blocks of convolutions, three linear layers; parameter names are those of the PyTorch port's weight file."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 1
        for width, convolutions in ((64, 1), (128, 1), (256, 2), (512, 2)):
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, DIMENSION)
        )

    @torch.inference_mode()
    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """log_mel [N, 96, 64] -> embeddings [N, 128]."""
        maps = self.features(log_mel[:, None])  # [N, 512, 6, 4]
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # channels last, as the original flattens


def load(path, device="cpu") -> VGGish:
    """Read the port's weight file, whose name ends in the first 8 digits of its sha256 (vggish-10086976.pth).

    Raises CheckpointError for a missing, altered or other file.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; `accompgen fetch vggish` gets it, or name the file with --embedding")
    named = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    found = file_hash(path)
    if named is None or named[1] != found[:8]:
        raise CheckpointError(f"{path}: its sha256 begins with {found[:8]}, and its name must say so (published: 10086976)")
    state = read_torch(path, ())
    with torch.device("meta"):
        network = VGGish()
    try:
        network.load_state_dict(state, assign=True)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path} does not hold VGGish: {str(error).splitlines()[0]}") from error
    return network.float().eval().to(device)
