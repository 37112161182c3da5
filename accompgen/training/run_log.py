"""What a training in one process tells: dense lines on stdout, the same as JSON in log.jsonl."""

import json
import time
from pathlib import Path

from accompgen.training.state import write_text

DIGITS = 6  # significant ones, of numbers in the file


class RunLog:
    """The log of a run directory. A call writes a line; `step` gathers steps for one of means.

    Args:
        run_dir: made if missing.
        config: with `steps` and `log_every`.
        step: that this call goes on from; lines of later steps, which come again, are removed.
        sound_seconds: that one step hears, for the speed.
    """

    def __init__(self, run_dir: Path, config, step: int, sound_seconds: float):
        run_dir.mkdir(parents=True, exist_ok=True)
        self.path = run_dir / "log.jsonl"
        forget_later(self.path, step)
        self.steps, self.every, self.sound_seconds = config.steps, config.log_every, sound_seconds
        self.start(0.0)

    def start(self, seconds: float) -> None:
        """The steps of this call begin now, after `seconds` of steps in earlier calls."""
        self.shown, self.recent = time.monotonic(), []
        self.began = self.shown - seconds

    @property
    def seconds(self) -> float:
        """That the steps of all calls took so far."""
        return time.monotonic() - self.began

    def __call__(self, message: str = "", **values) -> None:
        """A line now: a message, or values by name."""
        short = {name: _short(value) for name, value in values.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"message": message} if message else short) + "\n")
        shown = " | ".join(self._shown(name, value) for name, value in values.items())
        print(message or shown, flush=True)

    def step(self, step: int, share: float, values: dict, now: bool = False) -> None:
        """The step that makes it `step` of them; a line each `log_every` steps, or `now`.

        The line has the means of `values` since the one before; "realtime", seconds of sound a
        second; "minutes" of all calls; "minutes_left", by the `share` of the run that is done.
        """
        self.recent.append(values)
        if step % self.every and not now:
            return
        count, minutes = len(self.recent), self.seconds / 60
        means = {name: sum(float(row[name]) for row in self.recent) / count for name in values}
        speed = count * self.sound_seconds / max(time.monotonic() - self.shown, 1e-9)
        left = minutes * (1 - share) / share
        self(step=step, **means, realtime=speed, minutes=minutes, minutes_left=left)
        self.shown, self.recent = time.monotonic(), []

    def _shown(self, name, value):
        if name == "step":
            return f"step {value}/{self.steps}"
        if isinstance(value, dict):
            return f"{name} {json.dumps(value)}"
        return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def forget_later(path: Path, step: int) -> None:
    """Remove a log's lines of steps after `step`, and half a line that a killed call left."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line).get("step", 0) <= step]
        if kept != lines:
            write_text(path, "".join(kept))


def _short(value):
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
