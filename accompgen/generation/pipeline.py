"""Wave to wave: a voice in, an accompaniment and a mix out. `Accompanist.accompany` reads like the paper's figure.

vocal -> mono, 16 kHz, one loudness -> + Gaussian noise -> HuBERT units -> semantic -> coarse -> fine -> decoder
      -> the vocal's rate and length -> balanced against the vocal -> mix
"""

import hashlib
import importlib.metadata
import os
import platform
import sys
import time
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.checkpoint import (
    CheckpointError,
    available_checkpoints,
    cache_directory,
    component_hash,
    file_hash,
    find_checkpoint,
    read_checkpoint,
    read_info,
    search_path,
)
from accompgen.device import choose_device
from accompgen.files import SoundWarning
from accompgen.generation.beside import Helper, cascade_beside
from accompgen.generation.cascade import cascade
from accompgen.generation.decode import decoding_dtype
from accompgen.generation.load import load_stages
from accompgen.generation.sampling import PUBLISHED, Sampling
from accompgen.generation.schedule import LoadedStage
from accompgen.generation.song import Song
from accompgen.seeding import make_generator
from accompgen.stages import STAGES
from accompgen.time import blocks_covering, frames_of
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.decoder import load_decoder
from accompgen.tokens.semantic import SemanticTokenizer

VOCAL_NOISE = 0.01  # sigma of the noise on the waveform before HuBERT, as in AccompGen's inference script
VOCAL_LUFS = -21.0  # how loud HuBERT hears every vocal: the middle of the training songs. The mix has the vocal as it came
BALANCE_LU = -3.0  # accompaniment against vocal: the voice leads
LONG_SECONDS = 60.0  # vocals from this length on are worth a second process, which takes some seconds to start
FADE_SECONDS = 0.02  # at the very end, where the vocal's length cuts the accompaniment off
VERSIONS_OF = ("accompgen", "torch", "transformers", "numpy", "soundfile", "soxr", "pyloudnorm")


@dataclass(frozen=True)
class Vocal:
    """A recording that was read and found usable: wav [C, T]."""

    name: str
    wav: np.ndarray
    rate: int
    source: str
    sha256: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.wav.shape[1] / self.rate

    @cached_property
    def lufs(self) -> float:
        """Loudness of all of it, measured once."""
        return audio.loudness(self.wav, self.rate)


class Accompanist:
    """A loaded checkpoint: the voice's tokenizer, three stages and the decoder on one device.

    `sampling` are its own settings by stage; `helper` is a second process for vocals of LONG_SECONDS or more.
    """

    def __init__(
        self, semantic_tokenizer, decoder, stages: dict[str, LoadedStage], about: dict, device: str,
        sampling: dict[str, Sampling] | None = None, helper: Helper | None = None,
    ):  # fmt: skip
        self.semantic_tokenizer, self.decoder = semantic_tokenizer, decoder
        self.stages, self.about, self.device = stages, about, device
        self.sampling = sampling or dict.fromkeys(STAGES, PUBLISHED)
        self.helper = helper

    def accompany(
        self,
        vocal,
        seed: int = 0,
        *,
        semantic: Sampling | None = None,
        coarse: Sampling | None = None,
        fine: Sampling | None = None,
        balance: float = BALANCE_LU,
        noise: float = VOCAL_NOISE,
        loudness: float | None = None,
        progress: bool = False,
    ) -> Song:
        """Make an accompaniment to a vocal of 0.2 s or more. The same seed gives the same song.

        Args:
            vocal: path of a recording, a pair (wav [C, T] or [T], rate in Hz), or what `read_vocal` gave.
            seed: any integer.
            semantic, coarse, fine: settings of each stage; what is None or not given is the checkpoint's own.
            balance: loudness of the accompaniment minus the vocal's, in LU (BS.1770), -40 to 40.
            noise: sigma of the Gaussian noise on the vocal before HuBERT, 0 to 1.
            loudness: of the mix in LUFS (BS.1770), -70 to 0, reached by gain as far as peaks below -1 dBFS allow; None: the
                vocal stays as loud as it is, unless peaks would pass -1 dBFS.
            progress: show a bar with the remaining time on stderr.

        Raises:
            audio.AudioError: a vocal that cannot be read or used.
            ValueError: a setting out of range.
        """
        check_settings(balance, noise, loudness)
        check_seed(seed)
        clock = Clock()
        with clock("read"):
            vocal = read_vocal(vocal)
        with clock("vocal_units"):
            units = self.units(vocal, noise, seed)  # [1, S]
        sampling = self.settings(semantic=semantic, coarse=coarse, fine=fine)
        with _bar(vocal.name) if progress else nullcontext() as bar:
            if self.helper and vocal.seconds >= LONG_SECONDS:
                tokens = cascade_beside(self.stages, units, sampling, seed, self.helper, bar)
            else:
                tokens = cascade(self.stages, units, sampling, seed, bar)
        clock.seconds |= tokens.seconds
        with clock("decoder"):
            sound = self.decoder.decode(tokens.codes[None], seed)[0].cpu().numpy()  # [C, T] at the decoder's rate
        return self.finish(vocal, seed, sampling, balance, noise, tokens, sound, clock, loudness)

    def settings(self, **given: Sampling | None) -> dict[str, Sampling]:
        """The settings of each stage: the checkpoint's own, but for those given. Raises TypeError for anything else."""
        for stage, sampling in given.items():
            if sampling is not None and not isinstance(sampling, Sampling):
                raise TypeError(f"{stage} is {sampling!r}; expected accompgen.Sampling(temperature=0.8, ...) or None")
        return {stage: (sampling or Sampling()).over(self.sampling[stage]) for stage, sampling in given.items()}

    def units(self, vocal: Vocal, noise: float, seed: int):
        """The units of a whole vocal [1, S]; S is even."""
        return self.semantic_tokenizer.encode(conditioning(vocal, noise, seed).to(self.device))

    def finish(self, vocal, seed, sampling, balance, noise, tokens, sound, clock, loudness=None) -> Song:
        """The song of tokens and their sound [C, T] at the decoder's rate: resampled, mixed, reported."""
        with clock("mix"):
            sound = _like(vocal, sound, self.decoder.sample_rate)  # [C, T] at the vocal's rate
            accompaniment, mixed, levels = audio.mix(vocal.wav, sound, vocal.rate, balance)
            if loudness is not None:
                accompaniment, mixed, levels = _louder(accompaniment, mixed, levels, loudness)
        settings = {name: asdict(values) for name, values in sampling.items()} | {"balance_lu": balance, "noise": noise}
        if loudness is not None:
            settings["loudness_lufs"] = loudness
        report = self._report(vocal, seed, settings, levels, clock.seconds)
        return Song(vocal.name, vocal.rate, accompaniment, mixed, tokens.semantic, tokens.codes, report)

    def _report(self, vocal, seed, settings, levels, seconds):
        total, length = sum(seconds.values()), vocal.seconds
        return {
            "vocal": {
                "file": vocal.source,
                "sha256": vocal.sha256,
                "rate": vocal.rate,
                "channels": len(vocal.wav),
                "samples": vocal.wav.shape[1],
                "seconds": round(length, 3),
            },
            "seed": seed,
            "settings": settings,
            "checkpoint": self.about,
            "device": self.device,
            "weights": str(decoding_dtype(self.device)).removeprefix("torch."),  # another type gives other codes for a seed
            "versions": versions(),
            "levels": levels,
            "seconds": {name: round(value, 3) for name, value in seconds.items()} | {"total": round(total, 3)},
            "real_time_factor": round(total / length, 3),
        }


def load(checkpoint="pocket", device: str = "auto", helper: bool = False) -> Accompanist:
    """Load a checkpoint by its name or its directory.

    Args:
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        helper: long vocals get a second process (generation/beside.py), where the device is a CPU of which torch may use two
            threads or more. A script that asks for it must begin its work under `if __name__ == "__main__":`.

    Raises:
        CheckpointError: no such checkpoint, or one that is incomplete, altered, of another format, or whose stages were trained
            on other tokenizers.
        DeviceError: no such device.
    """
    device = choose_device(device)
    path = find_checkpoint(checkpoint)
    verified = read_checkpoint(path)
    hashes = {name: component_hash(verified.component(name)) for name in verified.components}
    stages = load_stages(verified, device)
    second = Helper(verified, stages) if helper and device == "cpu" and torch.get_num_threads() > 1 else None
    about = {"name": path.resolve().name, "config_sha256": file_hash(path / "config.json"), "sha256": hashes}
    return Accompanist(
        SemanticTokenizer.load(verified.component("semantic_tokenizer"), device),
        load_decoder(verified.decoder, device),
        stages,
        about,
        device,
        sampling_of(path),
        second,
    )


def sampling_of(checkpoint) -> dict[str, Sampling]:
    """The settings of each stage that a checkpoint (a name or a directory) asks for in its config.json: `sampling`, by stage
    and name; AccompGen's published values where it says none. Raises CheckpointError for settings that cannot be.
    """
    path = find_checkpoint(checkpoint)
    found = read_info(path).get("sampling", {})
    try:
        if unknown := set(found) - set(STAGES):
            raise ValueError(f"unknown stage {sorted(unknown)[0]!r}")
        return {stage: Sampling(**found.get(stage, {})).over(PUBLISHED) for stage in STAGES}
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: the sampling in its config.json cannot be used ({error}); see `make sweep`") from error


def load_tokenizer(checkpoint, kind: str, device: str = "auto") -> SemanticTokenizer | AcousticTokenizer:
    """The "semantic" or the "acoustic" tokenizer of a checkpoint alone; arguments and errors as `load`."""
    device = choose_device(device)
    directory = read_checkpoint(find_checkpoint(checkpoint)).component(f"{kind}_tokenizer")
    return (SemanticTokenizer if kind == "semantic" else AcousticTokenizer).load(directory, device)


def read_vocal(vocal) -> Vocal:
    """Read and check a vocal: a path, or (wav [C, T] or [T], rate). A Vocal is returned as it is. Raises audio.AudioError.

    Samples may be floats of any width with full scale 1.0, or signed integers of any width with their own full scale.
    """
    if isinstance(vocal, Vocal):
        return vocal
    if isinstance(vocal, tuple):
        if len(vocal) != 2:
            raise TypeError(f"the vocal is a tuple of {len(vocal)}; expected its samples and their rate: (wav, 44100)")
        wav, rate = audio.from_array(vocal[0]), int(vocal[1])
        name, source, digest = "song", "samples", hashlib.sha256(wav.tobytes()).hexdigest()
        audio.check_samples(wav, rate, source)
    elif not isinstance(vocal, (str, os.PathLike)):
        raise TypeError(
            f"the vocal is a {type(vocal).__name__}; expected the path of a recording, or samples and rate as a pair: "
            "accompany((wav, 44100))"
        )
    else:
        path = Path(vocal)
        wav, rate = audio.read(path)
        name, source, digest = path.stem, str(path), file_hash(path)
    audio.check_vocal(wav, rate, source)
    if (lost := audio.cancelled(wav)) > audio.CANCELLED_DB:
        remark = f"{source}: its channels cancel out, their mean lies {lost:.0f} dB below the louder one, which is heard alone"
        warnings.warn(remark, SoundWarning, stacklevel=2)
    return Vocal(name, wav, rate, source, digest)


def check_settings(balance: float, noise: float, loudness: float | None = None) -> None:
    """Raise ValueError for a balance, a noise or a loudness out of range."""
    if loudness is not None and not -70 <= loudness <= 0:
        raise ValueError(f"loudness is {loudness} LUFS; expected -70 to 0, such as -14")
    if not -40 <= balance <= 40:
        raise ValueError(f"balance is {balance} LU; expected -40 to 40")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is {noise}; expected a sigma from 0 to 1")


def check_seed(seed) -> None:
    """Raise TypeError for a seed that is no integer: such as samples and a rate that were not given as a pair."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"the seed is {seed!r}; expected an integer")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"  # accompgen itself, run from its folder
    return found


def describe() -> dict:
    """Versions, devices, and the checkpoints found: name -> {path, megabytes, ...}, for `accompgen info`."""
    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        devices |= {f"cuda:{index}": torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    checkpoints = {}
    for name, path in available_checkpoints().items():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        try:
            state = f"format {read_checkpoint(path).config['format_version']}, every hash as it should be"
        except CheckpointError as error:
            state = f"cannot be used: {error}"
        checkpoints[name] = {"path": path, "size": f"{size / 1e6:.1f} MB", "state": state}
    return {
        "versions": versions(),
        "devices": devices,
        "checkpoints": checkpoints or "none found",
        "searched": ", ".join(map(str, search_path())),
        "cache": _cache_or_why_not(),
    }


def _cache_or_why_not():
    try:
        return cache_directory()
    except CheckpointError as error:
        return f"none: {error}"


def conditioning(vocal, noise, seed):
    """What HuBERT hears [1, T]: mono, 16 kHz, at one loudness, whole blocks of 40 ms, with seeded noise."""
    rate = SemanticTokenizer.sample_rate
    mono = audio.heard(vocal.wav)
    # its own loudness counts: that of two channels is another, and of two that cancel far off
    lufs = vocal.lufs if len(vocal.wav) == 1 else audio.loudness(mono, vocal.rate)
    level = 10 ** ((VOCAL_LUFS - lufs) / 20)
    mono = audio.resample(mono, vocal.rate, rate) * np.float32(level)
    blocks = blocks_covering(vocal.wav.shape[1], vocal.rate)
    mono = torch.from_numpy(audio.fit(mono, frames_of(blocks, rate)))[None]
    return mono + noise * torch.randn(mono.shape, generator=make_generator(seed, "noise", 0))


def _like(vocal, sound, rate):
    """The decoded sound [C, T] at the vocal's rate and of its length to the sample, faded out at the end."""
    sound = audio.fit(audio.resample(sound, rate, vocal.rate), vocal.wav.shape[1])
    fade = min(sound.shape[1], round(FADE_SECONDS * vocal.rate))
    ramp = np.ones(sound.shape[1], np.float32)
    ramp[-fade:] = np.linspace(1, 0, fade, dtype=np.float32)
    return sound * ramp


def _louder(accompaniment, mixed, levels, loudness):
    """What `audio.mix` gave, by one gain as loud as asked, as far as the peaks stay below the limit."""
    if levels["mix_lufs"] is None:
        return accompaniment, mixed, levels
    loudest = max(audio.peak(accompaniment), audio.peak(mixed))
    gain = min(10 ** ((loudness - levels["mix_lufs"]) / 20), audio.PEAK_LIMIT / loudest)
    raised = [name for name, value in levels.items() if not name.startswith("vocal_l") and name != "vocal_peak_dbfs"]
    decibels = audio.decibel(gain)
    levels = levels | {name: round(levels[name] + decibels, 2) for name in raised if levels[name] is not None}
    return np.float32(gain) * accompaniment, np.float32(gain) * mixed, levels


@contextmanager
def _bar(name):
    """A progress bar on stderr, as a function for the cascade to call."""
    from tqdm import tqdm

    with tqdm(desc=name, file=sys.stderr, unit="id", leave=False, dynamic_ncols=True) as bar:

        def show(stage: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description(f"{name}: {stage}", refresh=False)
            bar.update(done - bar.n)

        yield show


class Clock:
    """Seconds of each step by name."""

    def __init__(self):
        self.seconds = {}

    @contextmanager
    def __call__(self, step):
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
