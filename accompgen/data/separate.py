"""A mixture -> voice and rest, by demucs: the only file that imports it.

The rest is the mixture minus the voice (as MDX systems make their instrumentals), so that the two add up to what was recorded.
Weights are a name on the Hugging Face hub (htdemucs, mdx_extra, ...; safetensors), a .safetensors or .th file, or a folder
with a demucs bag (.yaml) and its files. A .th file is a pickle: it is read with torch's safe loader, which builds nothing but
demucs's own classes and numbers.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from accompgen import audio
from accompgen.device import choose_device

DEFAULT_MODEL = "htdemucs"
CLASSES = {f"demucs.{name.lower()}.{name}" for name in ("Demucs", "HDemucs", "HTDemucs")}
VOICE = "vocals"


class SeparationError(ValueError):
    """Separation that cannot be done; the message says why and what to do."""


class Separator:
    """A loaded model. `rate`: the Hz it works at. The same mixture gives the same result: demucs's random shifts are off."""

    def __init__(self, model, device: str = "cpu", overlap: float = 0.25):
        if VOICE not in model.sources:
            raise SeparationError(f"the separation model knows {', '.join(model.sources)}; it needs {VOICE} among them")
        self.model, self.device, self.overlap = model.eval(), device, overlap
        self.rate = int(model.samplerate)

    def split(self, wav: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Voice and rest of a mixture [C, T] at `rate` Hz, both [C', T'] float32 at `self.rate`; they add up to the mixture.

        C' is the model's number of channels (2 for the published ones): mono is doubled, more channels are averaged first.
        """
        from demucs.apply import apply_model

        channels = self.model.audio_channels
        mixture = audio.resample(wav, rate, self.rate)
        if len(mixture) != channels:
            mixture = np.repeat(audio.to_mono(mixture)[None], channels, axis=0)
        sound = torch.from_numpy(mixture)
        mean, scale = sound.mean(), sound.mean(0).std() + 1e-8  # demucs expects its input normalised, by the mono mix
        with torch.inference_mode():
            parts = apply_model(
                self.model, ((sound - mean) / scale)[None], shifts=0, overlap=self.overlap, device=self.device, progress=False
            )  # [1, sources, C, T]
        voice = parts[0, self.model.sources.index(VOICE)].cpu() * scale
        return voice.numpy(), (sound - voice).numpy()


def load_separator(name: str = DEFAULT_MODEL, device: str = "cpu") -> Separator:
    """Load a model by its name on the hub, its file, or the folder of its bag.

    Raises:
        ImportError: demucs is not installed.
        SeparationError: no such file or name, weights that are not demucs's, or that hold more than numbers.
    """
    _check_demucs()
    device = choose_device(device)
    path = Path(name)
    if path.is_dir():
        model = _load_bag(path)
    elif path.suffix in (".safetensors", ".th"):
        model = _load_file(path)
    else:
        model = _load_from_hub(name)
    return Separator(model.to(device), device)


def describe(name: str) -> str:
    """What tells one separator from another: its name, or the names and sizes of its files."""
    path = Path(name)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    return " ".join([path.name if files else name, *(f"{file.name}:{file.stat().st_size}" for file in files)])


def _check_demucs():
    try:
        import demucs  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "separating mixtures needs demucs: pip install 'accompgen[separate]'; or give pairs, or a vocal and its stems"
        ) from error


def _load_from_hub(name):
    from demucs.hf import get_hf_model

    try:
        return get_hf_model(name)
    except Exception as error:  # many kinds: no network, no such repository, a file that is missing there
        raise SeparationError(
            f"the separation model {name!r} cannot be fetched from the hub ({' '.join(str(error).split())[:200]}); "
            "give the .safetensors or .th file, or the folder, of one that you have"
        ) from error


def _load_bag(folder):
    from demucs.repo import BagOnlyRepo

    bags = sorted(folder.glob("*.yaml"))
    if len(bags) != 1:
        raise SeparationError(f"{folder} holds {len(bags)} .yaml files; a demucs bag has one, beside the files it names")
    return BagOnlyRepo(folder, _Folder(folder)).get_model(bags[0].stem)


class _Folder:
    """The models of a folder by their signature, as demucs's BagOnlyRepo asks for them."""

    def __init__(self, folder):
        self.folder = folder

    def get_model(self, signature):
        files = [*self.folder.glob(f"{signature}.safetensors"), *self.folder.glob(f"{signature}.th")]
        files += self.folder.glob(f"{signature}-*.th")
        if not files:
            raise SeparationError(f"{self.folder} has no {signature}.safetensors or {signature}-*.th, which its .yaml names")
        return _load_file(files[0])


def _load_file(path):
    if not path.is_file():
        raise SeparationError(f"{path}: no such file; give the weights of a demucs model, or its name on the hub")
    return _load_safetensors(path) if path.suffix == ".safetensors" else _load_th(path)


def _load_safetensors(path):
    """demucs would call whatever class the file names: only its own are let through."""
    from demucs.hf import load_safetensors_model

    try:
        about = safe_open(path, framework="pt").metadata() or {}
    except SafetensorError as error:
        raise SeparationError(f"{path} cannot be read: {error}; fetch it again") from error
    if about.get("klass") not in CLASSES or "structure" in about:
        raise SeparationError(f"{path} holds {about.get('klass', 'no class')}; expected an unquantised demucs model")
    return load_safetensors_model(path)


def _load_th(path):
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs
    from demucs.repo import check_checksum
    from demucs.states import load_model

    try:
        if "-" in path.stem:
            check_checksum(path, path.stem.rpartition("-")[2])
        with torch.serialization.safe_globals([Demucs, HDemucs, HTDemucs, Fraction]):
            package = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds: not a file of torch, another checksum, a pickle that would run code
        raise SeparationError(f"{path} cannot be read as a demucs model: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(package, dict) or package.get("klass") not in (Demucs, HDemucs, HTDemucs):
        raise SeparationError(f"{path} holds no demucs model")
    return load_model(package)
