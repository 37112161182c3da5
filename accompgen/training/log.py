"""What a run tells: one line a step on stderr, the same and more in log.jsonl, and TensorBoard's files in tensorboard/."""

import json
import sys
from pathlib import Path

from accompgen.config import ConfigError
from accompgen.training import listening
from accompgen.training.run_log import forget_later
from accompgen.training.stops import TrainingError


class Log:
    """The log of a run directory, written by rank 0; `chief` False makes every call do nothing.

    Args:
        run_dir: of the run.
        step: where this call goes on; lines and TensorBoard's events of later steps, which come again, are removed.
        tensorboard: also write TensorBoard's files. ConfigError if it is not installed.
    """

    def __init__(self, run_dir: Path, step: int, chief: bool, tensorboard: bool):
        self.path, self.chief, self.writer = run_dir / "log.jsonl", chief, None
        if not chief:
            return
        forget_later(self.path, step)
        if tensorboard:
            self.writer = _writer(run_dir / "tensorboard", step)

    def close(self) -> None:
        """Write out what TensorBoard's writer still holds."""
        if self.writer:
            self._named("tensorboard", self.writer.close)

    def say(self, text: str) -> None:
        """A line on stderr alone."""
        if self.chief:
            print(text, file=sys.stderr, flush=True)

    def step(self, step: int, share: float, values: dict) -> None:
        """A training step.

        `share` of the run is done. `values`: "loss" in nats, "per_codebook", "learning_rate", "gradient_norm" before
        clipping, "seconds", "waited" (of them, for data), "tokens_per_second" of all ranks, "mfu", "elapsed" seconds.
        """
        if not self.chief:
            return
        waiting = values["waited"] / values["seconds"]
        left = values["elapsed"] * (1 - share) / share
        books = " ".join(f"{x:.3f}" for x in values["per_codebook"])
        self.say(
            f"step {step} {100 * share:5.1f} % | loss {values['loss']:.4f} | {books} | lr {values['learning_rate']:.2e} | "
            f"norm {values['gradient_norm']:.2f} | {1000 * values['seconds']:.0f} ms, {100 * waiting:.1f} % waiting | "
            f"{values['tokens_per_second']:.0f} tokens/s, MFU {100 * values['mfu']:.1f} % | {left / 60:.1f} min left"
        )
        self._write({"step": step, **values})
        scalars = {name: values[name] for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "mfu")}
        scalars |= {f"codebook_{q + 1}": x for q, x in enumerate(values["per_codebook"])}
        self._scalars("train", {**scalars, "waiting": waiting}, step)

    def validation(self, step: int, result: dict) -> None:
        """The figures of listening.validate."""
        if not self.chief:
            return
        self.say(f"step {step} {listening.describe(result)}")
        self._write({"step": step, "validation": result})
        scalars = {name: result[name] for name in ("cross_entropy", "bigram")}
        for name in ("per_codebook", "accuracy"):
            scalars |= {f"{name}_{q + 1}": x for q, x in enumerate(result[name])}
        for other, gains in result["gain"].items():
            scalars |= {f"gain_{other}_{name}": gain[0] for name, gain in gains.items() if gain}
        for name in ("vocal_late", "vocal_transposed"):
            scalars |= {f"{name}_{amount}": cost[0] for amount, cost in result[name].items()}
        self._scalars("validation", scalars, step)

    def sound(self, step: int, name: str, wav, rate: int) -> None:
        """A sound [T] of `rate` Hz between -1 and 1, into TensorBoard."""
        if self.writer:
            self._named("tensorboard", lambda: self.writer.add_audio(name, wav[None], step, rate))

    def _scalars(self, group, values, step):
        if self.writer:
            self._named("tensorboard", lambda: [self.writer.add_scalar(f"{group}/{k}", v, step) for k, v in values.items()])

    def _write(self, values):
        def append():
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")

        self._named(self.path.name, append)

    def _named(self, name, write):
        """Call `write`; an OSError of it, such as a full disk, names the file."""
        try:
            write()
        except OSError as error:
            where = self.path.with_name(name)
            raise TrainingError(f"cannot write {where}: {error.strerror}; make room and start again") from error


def _writer(directory, step):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "the log for TensorBoard needs tensorboard: pip install 'accompgen[train]', or set tensorboard = false"
        ) from error
    return SummaryWriter(str(directory), purge_step=step + 1)
