"""What a run keeps on disk: its configuration, the state to go on from, and the stage as a component.

The state is a directory last/step-N, whole once last/latest names it: that file is replaced last, so that a process killed at
any moment leaves the state before. The random numbers of every rank are in it.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch

from accompgen.component import CheckpointError, component_hash, save_component
from accompgen.config import ConfigError, TrainConfig, from_dict, to_dict
from accompgen.data.batches import training_songs
from accompgen.files import replacing
from accompgen.time import seconds_of
from accompgen.training import engine as deepspeed_engine
from accompgen.training.run_state import differing
from accompgen.training.stops import TrainingError

# What a run may change between two of its calls; everything else must stay, or the run would not be what its config says.
FREE = ("steps", "minutes", "log_every", "validate_every", "validation_windows", "save_every", "device")
FREE += ("tensorboard", "sample_windows", "peak_tflops")
SHARED_OUT = ("batch_size", "accumulation")  # may change with the number of processes, the windows of a step may not
# not of a component
NOT_TRAINING = (
    "model", "shards", "device", "semantic_tokenizer", "acoustic_tokenizer", "text_tokenizer", "captions", "start_from",
)  # fmt: skip


def claim(run_dir: Path, config: TrainConfig, rank: int = 0, world: int = 1) -> None:
    """Make the run directory for `config` and `world` processes, or check that it is of this configuration.

    Raises:
        ConfigError: naming the key that changed; or the run took another number of windows a step; or it shares the
            optimizer's state (ZeRO 1 and 2) out among another number of processes.
    """
    path = run_dir / "config.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        earlier_world = found.pop("processes", 1)
        _compare(run_dir, from_dict(TrainConfig, found, str(path)), earlier_world, config, world)
    if rank == 0:
        run_dir.mkdir(parents=True, exist_ok=True)
        for rest in [*run_dir.glob(".snapshot.*"), *run_dir.glob(".model.*")]:  # of a call that was killed while it wrote them
            shutil.rmtree(rest, ignore_errors=True)
        write_text(path, json.dumps({**to_dict(config), "processes": world}, indent=2) + "\n")


def _compare(run_dir, earlier, earlier_world, config, world):
    found, values = to_dict(earlier), to_dict(config)
    if config.zero_stage and world != earlier_world and (run_dir / "last" / "latest").exists():
        raise ConfigError(
            f"the state in {run_dir} is shared out among {earlier_world} processes (zero_stage = {earlier.zero_stage}), and "
            f"this call has {world}; start it with {earlier_world} (with zero_stage = 0 a run may change their number)"
        )
    if _windows(earlier, earlier_world) != _windows(config, world):
        raise ConfigError(
            f"{run_dir} was started with batch_size = {earlier.batch_size} x accumulation = {earlier.accumulation} x "
            f"{earlier_world} processes = {_windows(earlier, earlier_world)} windows a step, now it is {config.batch_size} x "
            f"{config.accumulation} x {world} = {_windows(config, world)}; choose batch_size and accumulation to give the same"
        )
    for key in values:
        if key not in FREE + SHARED_OUT and found[key] != values[key]:
            before, now = differing(key, found[key], values[key])
            raise ConfigError(
                f"{run_dir} was started with {before}, now it is {now}; use another run "
                "directory, or the configuration it was started with"
            )


def _windows(config, world):
    return config.batch_size * config.accumulation * world


def save(engine, average, batches, run_dir: Path, step: int, seconds: float) -> None:
    """Write last/step-N, all ranks together, and name it in last/latest; until that last rename the state before counts.

    Raises TrainingError, naming the directory, if it cannot be written; the state before stays.
    """
    folder, name = run_dir / "last", f"step-{step:08d}"
    state = {
        "step": step,
        "seconds": seconds,
        "data": batches.state(),
        "shards": shards_digest(batches.shards),
        "random": deepspeed_engine.gather(engine, random_state()),
        "average": None if average is None else average.state_dict(),
    }
    chief = engine.global_rank == 0
    try:
        if chief:
            shutil.rmtree(folder / name, ignore_errors=True)  # half a state of a call that was killed
        deepspeed_engine.save(engine, folder / name, state)
        if chief:
            for path in (folder / name).iterdir():
                with open(path, "rb") as file:
                    _to_disk(file)
            write_text(folder / "latest", name + "\n")
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its file writer
        shutil.rmtree(folder / name, ignore_errors=True)
        free = shutil.disk_usage(run_dir).free / 2**20
        raise TrainingError(
            f"the state of step {step} cannot be written to {folder / name}: {' '.join(str(error).split())} ({free:.0f} MB are "
            "free there); the state before is whole, and the same command goes on from it once there is room"
        ) from error
    if chief:
        for old in folder.glob("step-*"):
            if old.name != name:
                shutil.rmtree(old)


def resume(engine, average, batches, run_dir: Path, seed: int) -> tuple[int, float]:
    """Restore the newest whole state: (step, seconds of training in the earlier calls); (0, 0.0) without one.

    Raises ConfigError if the shards are not those that the state was trained on.
    """
    latest = run_dir / "last" / "latest"
    if not latest.exists():
        return 0, 0.0
    state = deepspeed_engine.load(engine, latest.parent / latest.read_text(encoding="utf-8").strip())
    if state.get("shards", shards_digest(batches.shards)) != shards_digest(batches.shards):
        raise ConfigError(
            f"{run_dir} was trained on other tokens than {batches.shards.directory} holds now; use another run directory"
        )
    batches.load_state(state["data"])
    if average is not None:
        average.load_state_dict(state["average"])
    randoms, rank = state["random"], engine.global_rank
    if isinstance(randoms, torch.Tensor):  # version 0.1 knew one process alone
        randoms = [{"cpu": randoms, "cuda": None}]
    if rank < len(randoms):
        set_random_state(randoms[rank])
    else:  # a process that the run did not have before
        torch.manual_seed(random_seed(seed, rank, state["step"]))
    return state["step"], state["seconds"]


def shards_digest(shards) -> str:
    """What tells the tokens of a folder of shards from others: a hash of the hashes in its index."""
    return hashlib.sha256(json.dumps([shard["sha256"] for shard in shards.index["shards"]]).encode()).hexdigest()


def random_seed(seed: int, rank: int, step: int = 0) -> int:
    """A seed for the dropout of a rank, so that no two drop alike."""
    return hash((seed, rank, step)) & (2**63 - 1)  # of integers: the same in every process


def random_state() -> dict:
    """torch's random state of this process: the CPU's, and its GPU's if CUDA is in use."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None}


def set_random_state(state: dict) -> None:
    """Put back what `random_state` gave; a GPU's state only where there is one."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])


def last_validation(run_dir: Path) -> dict | None:
    """The figures of the newest snapshot, None before the first."""
    path = run_dir / "snapshot" / "config.json"
    return json.loads(path.read_text(encoding="utf-8"))["validation"] if path.exists() else None


def save_stage(directory: Path, model, config: TrainConfig, shards, step: int, validation: dict) -> None:
    """Write the stage as a component: its sizes, the tokenizers it belongs to, how it was trained, its figures, its weights.

    Raises TrainingError naming the directory if it cannot be written.
    """
    values = {
        "stage": to_dict(config.model),
        "window_seconds": config.window_seconds,
        "tokenizers": {kind: shards.tokenizers[kind] for kind in config.model.tokenizers},
        "vocal_noise": shards.index["vocal_noise"],
        "step": step,
        "seed": config.seed,
        "started_from": component_hash(config.start_from) if config.start_from else None,
        "training": {key: value for key, value in to_dict(config).items() if key not in NOT_TRAINING},
        "training_hours": round(seconds_of(sum(s.blocks for s in training_songs(shards, config.model))) / 3600, 2),
        "validation": validation,
    }
    try:
        save_component(directory, values, model.state_dict(), force=True)
    except (OSError, CheckpointError) as error:
        raise TrainingError(f"the weights of step {step} cannot be written to {directory}: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a small file in one go: it has its old content or the new one, whatever happens. Raises TrainingError naming it."""
    try:
        with replacing(path) as file:
            file.write(text.encode())
            file.flush()
            _to_disk(file)
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror}; make room and start again") from error


def _to_disk(file):
    os.fsync(file.fileno())
