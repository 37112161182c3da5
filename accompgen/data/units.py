"""A HuBERT from elsewhere and training songs -> a semantic tokenizer of ours: k-means units fitted to its features.

Frames of as many songs as are needed are gathered by processes or a cluster (executors.py), a file for each song in
`<DIR>.features`, so that a stopped call goes on; when the tokenizer in DIR is written, the frames are removed.
"""

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.data.augment import seeded
from accompgen.data.executors import check_executor, run_tasks
from accompgen.data.pairs import PairError, read_pair
from accompgen.data.songs import Song, read_manifest
from accompgen.data.tokenize_song import VOCAL_NOISE
from accompgen.device import choose_device
from accompgen.files import replacing
from accompgen.time import SEMANTIC_HZ
from accompgen.tokens import kmeans
from accompgen.tokens.hubert import SAMPLE_RATE
from accompgen.tokens.hubert_weights import load_hubert
from accompgen.tokens.semantic import SemanticTokenizer

SHARE = 0.1  # of a song's frames that are looked at, where there are songs enough: neighbours say the same
FRAMES_PER_UNIT = 400


class UnitsError(ValueError):
    """Units that cannot be fitted; the message says what to do."""


@dataclass(frozen=True)
class Job:
    """How the frames of every song are made."""

    hubert: str
    layer: int
    share: float
    noise: float
    seed: int
    device: str
    folder: str

    def load(self):
        return load_hubert(self.hubert).to(choose_device(self.device))

    def work(self, hubert, song: Song) -> str | None:
        """Write the song's frames [N, D], voice and accompaniment, to its file; None, or why it
        cannot be used."""
        try:
            waves = read_pair(song, (SAMPLE_RATE,))[1][SAMPLE_RATE]
        except (PairError, audio.AudioError) as error:
            return str(error) if song.id in str(error) else f"{song.id}: {error}"
        tokenizer = SemanticTokenizer(hubert, self.layer, torch.zeros(1, hubert.config.width))  # for its padding alone
        generator = torch.Generator().manual_seed(seeded(self.seed, song.id))
        rows = []
        for wav, sigma in zip(waves, (self.noise, 0.0)):
            wav = torch.from_numpy(wav)[None]
            features = tokenizer.features(wav + sigma * torch.randn(wav.shape, generator=generator))[0].cpu()  # [S, D]
            rows.append(features[torch.randperm(len(features), generator=generator)[: math.ceil(self.share * len(features))]])
        with replacing(self.path(song)) as file:
            np.save(file, torch.cat(rows).half().numpy())
        return None

    def path(self, song: Song) -> Path:
        return Path(self.folder) / f"{song.id}.npy"


def fit_units(
    hubert,
    manifest,
    directory,
    *,
    layer: int,
    units: int,
    frames: int | None = None,
    noise: float = VOCAL_NOISE,
    seed: int = 0,
    executor: str = "local",
    workers: int | None = None,
    device: str = "cpu",
    force: bool = False,
    progress=None,
) -> dict:
    """Fit k-means units to the features of a manifest's training songs and write the semantic tokenizer into `directory`.

    Args:
        hubert: a file or directory, see tokens/hubert_weights.py.
        manifest: JSONL, see data/songs.py; of the split train, songs evenly spaced over it are used.
        layer: whose output the units are made of.
        units: V.
        frames: how many frames to look at, both parts together; None: 400 for each unit.
        noise: sigma on the vocals, as they are tokenised.
        executor, workers: see data/executors.py.
        force: replace a tokenizer that stands there, and frames that were gathered with other settings.
        progress: called as progress(done, total) after every song.

    Returns:
        {"units", "layer", "songs", "frames", "left_out"}, the last of them the songs that cannot be
        used: id -> reason.

    Raises:
        UnitsError: no training songs or none that can be used, too few frames for so many units,
            frames of other settings.
        CheckpointError: `directory` exists and `force` is not set, or it is no tokenizer; before the work.
        Whatever reading HuBERT raises.
    """
    check_executor(executor, workers)
    directory = Path(directory).absolute()
    SemanticTokenizer.check_place(directory, force)
    frames = FRAMES_PER_UNIT * units if frames is None else frames
    songs, share = _choose([song for song in read_manifest(manifest) if song.split == "train"], frames)
    if not songs:
        raise UnitsError(f"{manifest} has no song of the split train to fit units to")
    seconds = sum(song.seconds for song in songs)
    if 2 * SEMANTIC_HZ * seconds * share < units:
        raise UnitsError(f"{seconds:.0f} s of training songs at a share of {share:.3f} are too little for {units} units")
    folder = directory.with_name(f"{directory.name}.features")
    job = Job(str(Path(hubert).absolute()), layer, share, noise, seed, device, str(folder))
    _claim_folder(folder, job, force)
    tasks = {song.id: (song,) for song in songs if not job.path(song).exists()}
    left_out = {}
    for done, (name, reason) in enumerate(run_tasks(job, tasks, executor, workers), 1):
        if reason:
            left_out[name] = reason
        if progress:
            progress(done, len(tasks))
    songs = [song for song in songs if song.id not in left_out]
    if not songs:
        raise UnitsError(f"no song of {manifest} can be used: {'; '.join(list(left_out.values())[:3])}")
    features = np.concatenate([np.load(job.path(song)) for song in songs])
    if len(features) < units:
        raise UnitsError(
            f"the {len(songs)} songs that can be used have {len(features)} frames, too few for "
            f"{units} units ({len(left_out)} songs were left out: {next(iter(left_out.values()), 'none')})"
        )
    tokenizer = SemanticTokenizer(load_hubert(hubert), layer, kmeans.fit(features, units, seed))
    directory.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(directory, force=force)
    shutil.rmtree(folder)
    counts = {"units": units, "layer": layer, "songs": len(songs), "frames": len(features)}
    return counts | {"left_out": left_out}


def _choose(songs, frames):
    """Songs evenly spaced, enough that SHARE of their frames will do, and the share of frames to take of each."""
    if not songs:
        return [], 1.0
    seconds = sum(song.seconds for song in songs)
    count = min(len(songs), math.ceil(len(songs) * frames / (SHARE * 2 * SEMANTIC_HZ * seconds)))
    chosen = [songs[index * len(songs) // count] for index in range(count)]
    return chosen, min(1.0, frames / (2 * SEMANTIC_HZ * sum(song.seconds for song in chosen)))


def _claim_folder(folder, job, force):
    """Make the folder of frames, or compare its settings with those it was begun with."""
    path = Path(job.hubert)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    values = {name: value for name, value in asdict(job).items() if name not in ("hubert", "folder", "device")}
    values["hubert"] = [f"{file.name}:{file.stat().st_size}" for file in files]
    settings = folder / "settings.json"
    if settings.exists() and json.loads(settings.read_text(encoding="utf-8")) != values:
        if not force and any(folder.glob("*.npy")):
            raise UnitsError(
                f"{folder} holds frames made with other songs or settings; remove it, "
                "or --force (force=True) to begin anew"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(settings) as file:  # half of it would stop every later call
        file.write((json.dumps(values) + "\n").encode())
