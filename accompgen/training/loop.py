"""The training of one stage, from the first step to the last, in one function.

A run directory holds

    config.json   the configuration; a run goes on only with the same one
    log.jsonl     one JSON object a line: {"step", "loss", ...} or {"step", "validation": {...}}
    last/         the state to go on from: `latest` names the newest whole state beside it
    snapshot/     the stage as a component (config.json + model.safetensors), renewed at each validation
    model/        the same, written when the run has reached its end, so that its presence says so
"""

import json
import math
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from accompgen.checkpoint import TOKENIZERS_OF, component_hash, save_component
from accompgen.config import ConfigError, TrainConfig, from_dict, read_toml, to_dict
from accompgen.data.batches import Batches
from accompgen.data.shards import open_shards
from accompgen.model.stage_lm import StageLM, parameters
from accompgen.training import engine as deepspeed_engine
from accompgen.training import listening
from accompgen.training.loss import stage_loss
from accompgen.training.start import start_embeddings

# What a run may change between two of its calls; everything else must stay, or the run would not be what its config says.
FREE = ("steps", "minutes", "log_every", "validate_every", "validation_windows", "save_every", "device")


NOT_TRAINING = ("model", "shards", "device", "semantic_tokenizer", "acoustic_tokenizer")  # not told again in a component


class TrainingError(RuntimeError):
    """A training that cannot go on; the message names the step."""


def train_file(path, overrides=(), run_dir=None, **pauses) -> dict:
    """`train` with the configuration of a TOML file; `run_dir` defaults to runs/<name of the file>."""
    config = from_dict(TrainConfig, read_toml(path, overrides), str(path))
    return train(config, run_dir or Path("runs") / Path(path).stem, **pauses)


def train(config: TrainConfig, run_dir, pause_after_steps: int = 0, pause_after_minutes: float = 0.0) -> dict:
    """Train the stage of `config` in `run_dir`; a run that was stopped goes on where it was last saved.

    The run ends at `config.steps`, or earlier when all its calls together took `config.minutes`: the learning rate falls with
    whichever is further on. SIGTERM and the first Ctrl-C save and return, and so do the two pauses.

    Args:
        pause_after_steps: stop this call after so many steps, saved; 0: do not.
        pause_after_minutes: stop this call after so much wall time, saved; 0: do not.

    Returns:
        {"step", "finished", "parameters", "tokens_per_second", "validation"}.

    Raises:
        ConfigError: the run directory belongs to another configuration, or the shards do not fit it.
        TrainingError: the loss is not finite; names the step and the windows. The last saved state stays.
    """
    entered = time.monotonic()
    run_dir = Path(run_dir)
    claim(run_dir, config)
    shards = open_shards(config.shards)
    torch.manual_seed(config.seed)
    engine = deepspeed_engine.start(_fresh_model(config, shards), config)
    chief = engine.global_rank == 0
    batches = Batches(shards, config, engine.global_rank, engine.world_size)
    held_out = listening.prepare(shards, config)
    average = _average(engine.module, config.ema_decay)
    step, before, validation = _resume(engine, average, batches, run_dir)  # before: seconds of earlier calls
    size, target = parameters(engine.module), held_out.target
    tokens = config.batch_size * config.accumulation * engine.world_size * target[0].numel()  # a step
    log = Log(run_dir / "log.jsonl", step, chief)
    left_out = f", {batches.left_out} shorter than a window are left out" if batches.left_out else ""
    songs = f"{len(batches.songs)} training songs{left_out}"
    log.say(f"{config.model.stage}: {size / 1e6:.2f} M parameters, {songs}, from step {step}")

    first, stop, speed, began = step, False, 0.0, time.monotonic()

    def spent():  # seconds of training, all calls together
        return before + time.monotonic() - began

    def progress():
        return max(step / config.steps, spent() / (60 * config.minutes) if config.minutes else 0.0)

    def save_all():
        _save(engine, average, batches, run_dir, step, spent(), validation, chief)

    def measure(full, names):
        model = engine.module if average is None else average.module
        result = _validate(model, config, held_out, full)
        log.validation(step, result)
        for name in names if chief else ():
            _save_component(run_dir / name, model, config, shards, step, result)
        return result

    share = progress()
    with stop_signals() as stopped:
        while share < 1 and not stop:
            rate = learning_rate(config, step, share)
            deepspeed_engine.set_learning_rate(engine, rate)
            loss, cross_entropy, waited, start = 0.0, 0.0, 0.0, time.monotonic()
            for _ in range(config.accumulation):
                fetch_start = time.monotonic()
                batch = batches.next()
                waited += time.monotonic() - fetch_start
                result = _forward(engine, batch)
                value = result.loss.item()
                if not math.isfinite(value):
                    places = ", ".join(f"{window.song.id} at {window.first_block / 25:.2f} s" for window in batch.windows)
                    raise TrainingError(
                        f"the loss at step {step + 1} is {value}; the batch was {places}. The state in {run_dir / 'last'} "
                        "is of an earlier step: lower learning_rate, or start again with another seed"
                    )
                engine.backward(result.loss)
                engine.step()
                loss, cross_entropy = loss + result.loss.detach(), cross_entropy + result.cross_entropy
            step += 1
            if average is not None:
                average.update_parameters(engine.module)
            seconds = time.monotonic() - start
            speed = tokens / seconds if step == first + 1 else 0.95 * speed + 0.05 * tokens / seconds
            pausing = stopped() or (pause_after_steps and step - first >= pause_after_steps)
            pausing = pausing or (pause_after_minutes and time.monotonic() - entered >= 60 * pause_after_minutes)
            share, stop = deepspeed_engine.from_first_rank(engine, [progress(), float(bool(pausing))])
            if step % config.log_every == 0 or step == 1:
                loss, books = (deepspeed_engine.mean_over_ranks(engine, x) / config.accumulation for x in (loss, cross_entropy))
                log.step(step, share, loss.item(), books.tolist(), rate, seconds, waited, speed, spent())
            if step % config.validate_every == 0 and share < 1:
                validation = measure(False, ["snapshot"])
            if share >= 1 or stop or step % config.save_every == 0:
                save_all()
        if share < 1:
            log.say(f"stopped at step {step}, saved; the same command goes on from here")
        elif step > first or not (run_dir / "model").exists():
            validation = measure(True, ["snapshot", "model"])
            save_all()
    result = {"step": step, "finished": share >= 1, "parameters": size, "tokens_per_second": round(speed)}
    return {**result, "validation": validation}


def learning_rate(config: TrainConfig, step: int, share: float) -> float:
    """The rate of step `step` (from 0): linear warm-up; a cosine over `share` (0 to 1 of the run) to final_learning_rate."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    low = config.final_learning_rate
    return config.learning_rate * warm * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def claim(run_dir: Path, config: TrainConfig) -> None:
    """Make the run directory for `config`, or check that it is of this configuration (ConfigError naming the key)."""
    path, values = run_dir / "config.json", to_dict(config)
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        for key in sorted(set(found) | set(values)):
            if key not in FREE and found.get(key) != values.get(key):
                raise ConfigError(
                    f"{run_dir} was started with {key} = {found.get(key)!r}, now it is {values.get(key)!r}; use another run "
                    "directory, or the configuration it was started with"
                )
    run_dir.mkdir(parents=True, exist_ok=True)
    _write_text(path, json.dumps(values, indent=2) + "\n")


def _fresh_model(config, shards):
    """The model at its start; its embeddings from the tokenizers of the shards where the configuration names them."""
    model = StageLM(config.model)
    given = {"semantic": config.semantic_tokenizer, "acoustic": config.acoustic_tokenizer}
    needed = {kind: given[kind] for kind in TOKENIZERS_OF[config.model.stage]}
    if not any(needed.values()):
        return model
    for kind, directory in needed.items():
        if not directory:
            raise ConfigError(f"the {config.model.stage} stage starts from {', '.join(needed)}; {kind}_tokenizer is not set")
        if component_hash(directory) != shards.tokenizers[kind]:
            raise ConfigError(f"{config.shards} was made with another {kind} tokenizer than {directory}; give that one")
    start_embeddings(model, needed)
    return model


def _forward(engine, batch):
    device = engine.device
    context = {name: ids.to(device) for name, ids in batch.context.items()}
    target = batch.target.to(device)
    logits = engine(context, target, drop=batch.drop.to(device), hide=batch.hide.to(device))  # [B, F, Q, V]
    return stage_loss(logits, target)


def _validate(model, config, held_out, full):
    def run(context, target):
        with deepspeed_engine.autocast(config):
            return model.forward(context, target)  # not the compiled call: other shapes would be compiled anew

    model.eval()
    result = listening.validate(run, next(model.parameters()).device, held_out, config.batch_size, full)
    model.train()
    return result


def _average(model, decay):
    """A running average of the weights, or None."""
    if not decay:
        return None
    return torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay))


def _save(engine, average, batches, run_dir, step, seconds, validation, chief):
    """Write last/step-N and name it in last/latest; until that last rename the state before counts."""
    folder, name = run_dir / "last", f"step-{step:08d}"
    state = {
        "step": step,
        "seconds": seconds,
        "data": batches.state(),
        "random": torch.get_rng_state(),
        "average": None if average is None else average.state_dict(),
        "validation": validation,
    }
    deepspeed_engine.save(engine, folder / name, state)
    if chief:
        _write_text(folder / "latest", name + "\n")
        for old in folder.glob("step-*"):
            if old.name != name:
                shutil.rmtree(old)


def _resume(engine, average, batches, run_dir):
    """Restore the newest whole state: (step, seconds of the earlier calls, last validation); (0, 0.0, None) without one."""
    latest = run_dir / "last" / "latest"
    if not latest.exists():
        return 0, 0.0, None
    state = deepspeed_engine.load(engine, latest.parent / latest.read_text(encoding="utf-8").strip())
    batches.load_state(state["data"])
    torch.set_rng_state(state["random"])
    if average is not None:
        average.load_state_dict(state["average"])
    return state["step"], state["seconds"], state["validation"]


def _save_component(directory, model, config, shards, step, validation):
    values = {
        "stage": to_dict(config.model),
        "window_seconds": config.window_seconds,
        "tokenizers": {kind: shards.tokenizers[kind] for kind in TOKENIZERS_OF[config.model.stage]},
        "vocal_noise": shards.index["vocal_noise"],
        "step": step,
        "seed": config.seed,
        "training": {key: value for key, value in to_dict(config).items() if key not in NOT_TRAINING},
        "training_hours": round(sum(s.blocks for s in shards.songs if s.split == "train") / 25 / 3600, 2),
        "validation": validation,
    }
    save_component(directory, values, model.state_dict(), force=True)


class Log:
    """One line a step on stderr and in log.jsonl. Lines of steps that a resumed run does again are removed first."""

    def __init__(self, path: Path, step: int, chief: bool):
        self.path, self.chief = path, chief
        if chief and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            _write_text(path, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))

    def say(self, text: str) -> None:
        if self.chief:
            print(text, file=sys.stderr, flush=True)

    def step(self, step, share, loss, books, rate, seconds, waited, speed, spent):
        """A training step: loss in nats, its codebooks, learning rate, time, target tokens a second, time left."""
        left = spent * (1 - share) / share
        self.say(
            f"step {step} {100 * share:5.1f} % | loss {loss:.4f} | {' '.join(f'{x:.3f}' for x in books)} | lr {rate:.2e} | "
            f"{1000 * seconds:.0f} ms | {speed:.0f} tokens/s | {left / 60:.1f} min left"
        )
        record = {"loss": loss, "per_codebook": books, "learning_rate": rate, "seconds": seconds, "waited": waited}
        self._write({"step": step, **record, "tokens_per_second": speed, "elapsed": spent})

    def validation(self, step, result):
        self.say(f"step {step} {listening.describe(result)}")
        self._write({"step": step, "validation": result})

    def _write(self, values):
        if self.chief:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")


@contextmanager
def stop_signals():
    """Within the block SIGTERM and SIGINT only raise a flag, read by calling what is yielded; a second one acts as usual."""
    seen = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number, frame):
        seen.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_text(path, text):
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
