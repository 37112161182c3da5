"""COCOLA: how well two tracks of music go together, by a learned score.

Ciranni et al., "COCOLA: Coherence-oriented contrastive learning of musical audio representations", 2024. Five seconds
at 16 kHz become the mel spectra of the harmonic and the percussive part, an EfficientNet-B0 and a linear layer give 512
numbers, the score of two tracks is tanh(norm(a)) W tanh(norm(b)): bilinear and without bounds. A score means something
beside those of true and of random pairs alone, so read it next to the rows truth and shuffled.

The networks are written here (Tan and Le, "EfficientNet", 2019); parameter names are those of the published checkpoint.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from accompgen.component import CheckpointError
from accompgen.evaluation import listen
from accompgen.tokens import unpickle

RATE = 16000
WINDOW_SECONDS = 5.0
EMBEDDING = 512
# EfficientNet-B0: (repeats, kernel, stride of the first, expansion, channels)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
NORM_EPSILON = 1e-3
ALLOWED = ("contrastive_model.", "lightning.", "pytorch_lightning.", "lightning_fabric.")  # named in the file, never imported


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does on sizes that its stride divides: the odd zero goes right and below."""

    def forward(self, x):
        total = max(self.kernel_size[0] - self.stride[0], 0)
        before, after = total // 2, total - total // 2
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class Block(nn.Module):
    """Expand, filter each channel, squeeze and excite, project; with a way around it where shapes allow."""

    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        width, squeezed = inputs * expansion, max(1, inputs // 4)
        if expansion > 1:
            self._expand_conv = SameConv(inputs, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, NORM_EPSILON)
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = nn.BatchNorm2d(width, NORM_EPSILON)
        self._se_reduce, self._se_expand = SameConv(width, squeezed, 1), SameConv(squeezed, width, 1)
        self._project_conv = SameConv(width, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, NORM_EPSILON)
        self.expands, self.skips = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x):
        y = F.silu(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.silu(self._bn1(self._depthwise_conv(y)))
        y = y * torch.sigmoid(self._se_expand(F.silu(self._se_reduce(y.mean((2, 3), keepdim=True)))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNet(nn.Module):
    """EfficientNet-B0 without its classifier: [B, 2, 64, frames] -> [B, 1280]."""

    def __init__(self, inputs: int = 2):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(inputs, 32, 3, 2, bias=False), nn.BatchNorm2d(32, NORM_EPSILON)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, width in STAGES:
            for index in range(repeats):
                blocks.append(Block(channels, width, kernel, 1 if index else stride, expansion))
                channels = width
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280, NORM_EPSILON)

    def forward(self, x):
        x = self._blocks(F.silu(self._bn0(self._conv_stem(x))))
        return F.silu(self._bn1(self._conv_head(x))).mean((2, 3))


class Cocola(nn.Module):
    """The encoder and the bilinear score."""

    def __init__(self):
        super().__init__()
        self.network = EfficientNet()
        self.projection = nn.Linear(1280, EMBEDDING)
        self.layer_norm = nn.LayerNorm(EMBEDDING)
        self.weight = nn.Parameter(torch.zeros(EMBEDDING, EMBEDDING))

    @torch.no_grad()
    def embed(self, mono: np.ndarray) -> torch.Tensor:
        """Sound [T] of five seconds at 16 kHz -> [512], between -1 and 1."""
        mels = torch.from_numpy(listen.harmonic_percussive_mels(mono, RATE))[None].to(self.weight.device)
        return torch.tanh(self.layer_norm(self.projection(self.network(mels))))[0]

    @torch.no_grad()
    def score(self, first: np.ndarray, second: np.ndarray) -> float:
        """The score of two sounds [T] of five seconds at 16 kHz."""
        return float(self.embed(first) @ self.weight @ self.embed(second))


def load(path, device: str = "cpu") -> Cocola:
    """Read the authors' Lightning checkpoint (512 numbers, harmonic and percussive channel); nothing it names is imported.

    Raises CheckpointError for a missing file or one that holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing; its authors give COCOLA's checkpoint at github.com/gladia-research-group/cocola"
        )
    try:
        state = unpickle.read_torch(path, ALLOWED)["state_dict"]
    except (unpickle.UnsafeFileError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of COCOLA: {error}") from error
    names = {"encoder.encoder.model.0.": "network.", "encoder.projection.": "projection.", "similarity.w": "weight"}
    renamed = {}
    for name, value in state.items():
        old = next((start for start in names if name.startswith(start)), "")
        renamed[names.get(old, "") + name.removeprefix(old)] = value
    model = Cocola()
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds another network than COCOLA's: {' '.join(str(error).split())[:200]}") from error
    return model.eval().to(device)
