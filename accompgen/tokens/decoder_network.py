"""The network of our decoder: code vectors -> what is known of the waveform, and how loud the rest is.

Blocks of ConvNeXt (Liu et al. 2022) at 75 Hz read the codes; one linear layer says, for each frame,
- *tone*: a complex spectrum up to `tone_hz`, at most 12 kHz, all that codes of 24 kHz sound can
  know, of the middle (L + R) / 2; its inverse STFT is the waveform (Siuzdak 2023, Vocos: no
  upsampling, so nothing that repeats with the frame);
- *pan*: per band, how much of the tone stands in the side (L - R) / 2;
- *level*: per band and quarter of a frame, how loud noise of random phase is, of the middle and of the side,
  up to 24 kHz, of the middle from 1 kHz on. It stands for what the codes do not say: breath, brushes, rooms, the top octave.

What was said of a song so far gives both slow gains, where `timbre_seconds` is not 0 (timbre.py).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

from accompgen.config import ConfigError
from accompgen.time import ACOUSTIC_HZ
from accompgen.tokens.timbre import Timbre
from accompgen.tokens.upsampling import ROOM

TONE_HZ = 12000  # the highest frequency that codes of 24 kHz sound can say anything of
LEVEL_AT_START = -4.0  # natural log of the noise's amplitude where the linear layer says 0
LEVEL_CEILING = 3.0  # likewise
# RMS that tone and noise of a frame cannot pass. No tone of the training songs and one noise in 1 000 frames lies above them;
# codes of sound that is far louder than those songs once made a burst of 70 times full scale.
TONE_CEILING, NOISE_CEILING = 0.3, 0.25
# Hz: no noise in the middle below the first, all of it above the second. Lower down a band is heard as tones, and noise
# between its partials blurred chords (chroma .970 where .975 is left) and cost .7 dB of SI-SDR. The side keeps its own: without
# it, all that lies below 1 kHz was nearly mono.
NOISE_RISES = (1000.0, 2000.0)
KERNEL = 7  # frames that a convolution looks at
EDGE_FRAMES = 2  # before and after a span, that its windows overlap with
# Places do not jump: pans are averaged over 15 spectra of the tone, a tenth of a second. Left as they are said, they gave
# the side a grain at the frames' rate; over five, that of a bass kept a frame lock of 1.15 to 1.19, which is 1.02 to 1.04 now.
# Width and likeness of the side stay as they were.
PAN_WEIGHTS = tuple(math.sin(math.pi * step / 16) ** 2 / 8 for step in range(1, 16))
# A tone that ends below TONE_HZ does so from this share of its highest frequency on
TONE_FADES = 0.6
# Hz: gains of timbre are those of the tone from the second on, and none below the first, where codes say the waveform
TIMBRE_RISES = (500.0, 1000.0)
SIDE_KNEE = 0.3  # the knee of a side's noise, which is softer, beside that of the middle's
LEAST_TONE_POWER, LEAST_LEVEL = 1e-8, -14.0  # less makes no difference to timbre


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes. The codes are those of an EnCodec of 75 frames a second."""

    codebooks: int = 8
    bins: int = 1024
    latent: int = 128  # width of the code vectors
    width: int = 256
    hidden: int = 768
    blocks: int = 7
    sample_rate: int = 48000  # a multiple of 24 kHz
    tone_frames: int = 2  # spectra of the tone in a frame of codes
    noise_frames: int = 4  # levels of the noise in a frame of codes
    noise_bands: int = 48
    pan_bands: int = 32
    # Where the tone ends. Above some 2 kHz its waveform fits frames (a frame lock of 2 to 4), which comes
    # out where timbre makes noise softer; and noise can be what it was.
    tone_hz: float = TONE_HZ
    timbre_seconds: float = 0.0  # of codes before a frame that tell who plays (timbre.py); 0: none do
    # Amplitude of noise of the middle below which it falls twice as fast, in decibels, as the last
    # layer says; 0: none. One layer that reads normalised values cannot say silence and strokes.
    noise_knee: float = 0.0

    def __post_init__(self):
        for name in ("codebooks", "latent", "width", "hidden", "blocks", "tone_frames", "noise_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("bins", "noise_bands", "pan_bands"):
            if getattr(self, name) < 2:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 2 or more")
        if not 1000 <= self.tone_hz <= TONE_HZ:
            raise ConfigError(f"tone_hz is {self.tone_hz}; expected 1000 to {TONE_HZ}")
        for name in ("timbre_seconds", "noise_knee"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.sample_rate < 24000 or self.sample_rate % 24000:
            raise ConfigError(f"sample_rate is {self.sample_rate}; expected 24000, 48000 or 96000")
        for name in ("tone_frames", "noise_frames"):
            if 320 % (2 * getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a divisor of 160")

    @property
    def hop_samples(self) -> int:
        """Samples in a frame of codes."""
        return self.sample_rate // ACOUSTIC_HZ

    @property
    def tone_window(self) -> int:
        """Samples of a tone's spectrum: four hops."""
        return 4 * self.hop_samples // self.tone_frames

    @property
    def tone_factor(self) -> int:
        """By what the rate is divided for the tone alone, 1 to 8: it fits then (upsampling.py)."""
        factor = math.gcd(8, self.tone_window // 4)
        while factor > 1 and self.sample_rate < 2 * ROOM * factor * self.tone_hz:
            factor //= 2
        return factor

    @property
    def noise_window(self) -> int:
        """Samples of a noise's spectrum: two hops, since onsets must stay sharp."""
        return 2 * self.hop_samples // self.noise_frames

    @property
    def tone_bins(self) -> int:
        """Bins of a tone's spectrum up to `tone_hz`, that of 0 Hz included."""
        return int(self.tone_window * self.tone_hz / self.sample_rate) + 1

    @property
    def sizes(self) -> list[int]:
        """How many numbers of a frame are of tone, pan and level."""
        return [
            self.tone_frames * 2 * self.tone_bins,
            self.tone_frames * self.pan_bands,
            self.noise_frames * 2 * self.noise_bands,
        ]

    @property
    def reach(self) -> int:
        """Frames before and after a frame that its sound depends on."""
        return self.said_reach + EDGE_FRAMES + self.pan_reach

    @property
    def said_reach(self) -> int:
        """Those of them by which the network says what it says of a frame."""
        return (KERNEL // 2) * (self.blocks + 1)

    @property
    def pan_reach(self) -> int:
        """Those of them by whose pans its own is averaged."""
        return math.ceil(len(PAN_WEIGHTS) // 2 / self.tone_frames)


class ConvNextBlock(nn.Module):
    """A residual block [B, F, D] -> [B, F, D]: each channel over 7 frames, then each frame by itself."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gain = nn.Parameter(torch.full((width,), 1 / 6))

    def forward(self, x):
        # As a picture of one line, whose channels lie side by side as they are: a convolution in
        # one dimension would turn them around and back, a third of the time of a block by itself.
        line = F.conv2d(
            x.transpose(1, 2)[:, :, None],
            self.depthwise.weight[:, :, None],
            self.depthwise.bias,
            padding=(0, KERNEL // 2),
            groups=x.shape[-1],
        )
        y = self.norm(line[:, :, 0].transpose(1, 2))
        return x + self.gain * self.down(F.gelu(self.up(y)))


class DecoderNetwork(nn.Module):
    """Codes -> tone, pan and level -> sound of the middle and of the side."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config, width = config, config.width
        self.register_buffer("code_vectors", torch.zeros(config.codebooks, config.bins, config.latent))
        self.first = nn.Conv1d(config.latent, width, KERNEL, padding=KERNEL // 2)
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ConvNextBlock(width, config.hidden) for _ in range(config.blocks))
        self.sizes = config.sizes
        self.out = nn.Linear(width, sum(self.sizes))
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)
        bands = mel_interpolation(config.noise_bands, config.noise_window // 2 + 1, config.sample_rate / 2)
        low, high = NOISE_RISES
        hertz = torch.linspace(0, config.sample_rate / 2, bands.shape[1])
        rises = torch.stack([((hertz - low) / (high - low)).clamp(0, 1), torch.ones_like(hertz)])
        whole = config.tone_window * TONE_HZ // config.sample_rate + 1
        pans = mel_interpolation(config.pan_bands, whole, TONE_HZ)[:, : config.tone_bins]
        hertz = torch.arange(config.tone_bins) * config.sample_rate / config.tone_window
        ends = (config.tone_hz - hertz) / ((1 - TONE_FADES) * config.tone_hz)
        ends = ends.clamp(0, 1) if config.tone_hz < TONE_HZ else torch.ones_like(hertz)
        self.register_buffer("level_bins", bands, persistent=False)
        self.register_buffer("pan_bins", pans.clone(), persistent=False)
        self.register_buffer("tone_ends", ends, persistent=False)
        self.register_buffer("noise_rises", rises, persistent=False)  # [2, bins], of middle and side
        self.timbre = None
        if config.timbre_seconds:
            values = config.latent + width + 2 * config.noise_bands
            self.timbre = Timbre(values, config.noise_bands, round(config.timbre_seconds * ACOUSTIC_HZ))
            bands = mel_interpolation(config.noise_bands, config.tone_window // 2 + 1, config.sample_rate / 2)
            self.register_buffer("tone_bands", bands[:, : config.tone_bins].clone(), persistent=False)
            low, high = TIMBRE_RISES
            hertz = mel_hertz(config.noise_bands, config.sample_rate / 2)
            self.register_buffer("tone_rises", ((hertz - low) / (high - low)).clamp(0, 1), persistent=False)

    def vectors(self, codes: torch.Tensor) -> torch.Tensor:
        """The sum of the code vectors [B, latent, F] of codes [B, q, F], q at most `codebooks`."""
        batch, books, frames = codes.shape
        firsts = torch.arange(0, books * self.config.bins, self.config.bins, device=codes.device)
        rows = (codes + firsts[:, None]).transpose(1, 2).reshape(-1, books)
        latent = F.embedding_bag(rows, self.code_vectors.flatten(0, 1), mode="sum")
        return latent.view(batch, frames, -1).transpose(1, 2)

    def hidden(self, latent: torch.Tensor) -> torch.Tensor:
        """What the last layer reads [B, F, width], of a latent [B, latent, F]."""
        x = self.norm_in(self.first(latent).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return self.norm_out(x)

    def forward(self, latent: torch.Tensor, low_precision: bool = False) -> torch.Tensor:
        """What is said of each frame [B, F, N], N the sum of `sizes`, of a latent [B, latent, F]; with `low_precision` the
        products are in bfloat16."""
        with torch.autocast(latent.device.type, torch.bfloat16, enabled=low_precision):
            return self.out(self.hidden(latent)).float()

    def frame_features(self, latent, hidden, said) -> torch.Tensor:
        """What gives timbre's gains, of each frame [B, F, values].

        That is its latent [B, latent, F], what the last layer read [B, F, width] and said of it, the
        latter as logarithms of the power of tones and of the amplitude of noises in bands.
        """
        config = self.config
        tone, _, level = said.split(self.sizes, dim=-1)
        power = tone.unflatten(-1, (-1, config.tone_bins)).square().sum(2) @ self.tone_bands.T
        level = level.unflatten(-1, (-1, 2, config.noise_bands))[:, :, :, 0].mean(2) + LEVEL_AT_START
        tones, noises = (power + LEAST_TONE_POWER).log(), level.clamp(min=LEAST_LEVEL)
        return torch.cat([latent.transpose(1, 2), hidden, tones, noises], dim=-1)

    def of_tone(self, gains: torch.Tensor) -> torch.Tensor:
        """What gains of bands [..., bands] are to the tone."""
        return self.tone_rises * gains

    def parts(self, said: torch.Tensor, gains=None):
        """The parts of what was said [B, F, N].

        Args:
            gains: of timbre, natural logarithms: of the tone [B, F', bands] and of levels [B, F'', 2, bands]. None: 1.

        Returns:
            tone, complex [B, F', tone_bins], F' = F * tone_frames; pan [B, F', tone_bins], -1 to 1;
            level [B, F'', 2, noise bins], F'' = F * noise_frames, amplitudes of middle and side.
        """
        config, batch = self.config, len(said)
        tone, pan, level = said.split(self.sizes, dim=-1)
        tone = tone.reshape(batch, -1, 2, config.tone_bins)
        tone = tone * self.tone_ends
        if gains:
            tone = tone * (self.of_tone(gains[0]).exp() @ self.tone_bands)[:, :, None]
        loudness = (2 / config.tone_window * tone.square().sum((2, 3))).sqrt()
        tone = tone * (TONE_CEILING / loudness.clamp_min(TONE_CEILING))[..., None, None]
        pan = smoothed(torch.tanh(pan.reshape(batch, -1, config.pan_bands))) @ self.pan_bins
        level = level.reshape(batch, -1, 2, config.noise_bands) + LEVEL_AT_START
        if config.noise_knee:
            # of amplitudes l and the knee k, l^2 / (l + k), in logarithms
            knee = level.new_tensor([config.noise_knee, SIDE_KNEE * config.noise_knee]).log()
            level = level + F.logsigmoid(level - knee[:, None])
        level = level + gains[1] if gains else level
        level = level.clamp(max=LEVEL_CEILING).exp()
        loudness = (level.square() @ self.level_bins.mean(1)).sqrt()  # or a little more: bins lie between bands
        level = level * (NOISE_CEILING / loudness.clamp_min(NOISE_CEILING))[..., None]
        level = (level @ self.level_bins) * self.noise_rises
        return torch.complex(tone[:, :, 0], tone[:, :, 1]), pan, level

    def tone(self, spectrum: torch.Tensor, rate: int) -> torch.Tensor:
        """The waveform [B, F * hop] of a tone's spectrum [B, F', bins] at 24 kHz or a multiple of it.

        Below 12 kHz a spectrum says the same at every rate, so losses need not look at 48 kHz.
        """
        config = self.config
        window = config.tone_window * rate // config.sample_rate
        scale = math.sqrt(config.tone_window) * rate / config.sample_rate
        return overlap_add(spectrum, window, window // 4, scale)

    def noise(self, drawn: torch.Tensor) -> torch.Tensor:
        """Noise [B, F * hop] of amplitudes times random phases [B, F'', bins] (noise.py). Where the
        amplitude stays, its power stays."""
        window = self.config.noise_window
        return overlap_add(drawn, window, window // 2, math.sqrt(window / 2), power=0.5)


def smoothed(pan: torch.Tensor) -> torch.Tensor:
    """Values [B, F, bands], each averaged with its neighbours in time by PAN_WEIGHTS; the ends are repeated."""
    reach = len(PAN_WEIGHTS) // 2
    padded = F.pad(pan.transpose(1, 2), (reach, reach), mode="replicate").transpose(1, 2)
    return sum(weight * padded[:, index : index + pan.shape[1]] for index, weight in enumerate(PAN_WEIGHTS))


@lru_cache(maxsize=16)
def hann_window(samples: int, device: torch.device) -> torch.Tensor:
    """torch's Hann window, made once."""
    with torch.inference_mode(False):  # or no training could use it afterwards
        return torch.hann_window(samples, device=device)


def overlap_add(spectrum: torch.Tensor, window: int, hop: int, scale: float = 1.0, power: float = 1.0) -> torch.Tensor:
    """Inverse STFT [B, F * hop] of spectra [B, F, up to window / 2 + 1] under a Hann window, times `scale`.

    The sum is divided by the sum of the squared windows to the power of `power`: 1 for spectra that
    agree where they overlap, 0.5 for independent noise. `window` is a multiple of `hop`.
    """
    hann = hann_window(window, spectrum.device)
    batch, frames, count = len(spectrum), spectrum.shape[1], window // hop
    pieces = torch.fft.irfft(spectrum, window, dim=2).view(batch, frames, count, hop)
    windows = hann.view(count, hop)
    total = pieces.new_zeros(batch, frames + count - 1, hop)
    for index, part in enumerate(windows):
        total[:, index : index + frames].addcmul_(pieces[:, :, index], part)
    # Squares of windows add up to the same in all rows but the first and the last ones, so a few
    # rows are enough.
    few = min(frames, count)
    squares = hann.new_zeros(few + count - 1, hop)
    for index, part in enumerate(windows):
        squares[index : index + few] += part.square()
    weights = scale * squares.clamp_min(1e-3).pow(-power)
    total[:, : few - 1] *= weights[: few - 1]
    total[:, few - 1 : frames] *= weights[few - 1]
    total[:, frames:] *= weights[few:]
    edge = (window - hop) // 2
    return total.flatten(1)[:, edge : edge + frames * hop]


def mel_hertz(bands: int, top_hz: float, low_hz: float = 80.0) -> torch.Tensor:
    """`bands` frequencies in Hz from `low_hz` to `top_hz`, in equal steps of the mel scale
    2595 log10(1 + f / 700)."""
    low, high = (math.log10(1 + hertz / 700) for hertz in (low_hz, top_hz))
    return 700 * (10 ** torch.linspace(low, high, bands) - 1)


def mel_interpolation(bands: int, bins: int, top_hz: float, low_hz: float = 80.0) -> torch.Tensor:
    """Weights [bands, bins] that spread values at the places of `mel_hertz` over bins from 0 Hz to
    `top_hz`. Columns sum to 1."""
    mel = 2595 * torch.log10(1 + torch.linspace(0, top_hz, bins) / 700)
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (low_hz, top_hz))
    place = ((mel - low) / (high - low)).clamp(0, 1) * (bands - 1)
    lower = place.floor().long().clamp(max=bands - 2)
    weights = torch.zeros(bands, bins)
    columns = torch.arange(bins)
    weights[lower, columns] = 1 - (place - lower)
    weights[lower + 1, columns] = place - lower
    return weights
