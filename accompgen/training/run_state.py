"""The state that a training in one process goes on from: last/state.pt, replaced as a whole."""

import shutil
from pathlib import Path

import torch

from accompgen.config import ConfigError, to_dict
from accompgen.files import replacing

FREE = {"steps", "minutes", "device"}  # of any configuration


def lasting(config, *free: str) -> dict:
    """The values of a configuration that must stay when a run goes on.

    All but its length and device (FREE), how often it tells and saves (`*_every`), and those named
    in `free`.
    """
    values = {name: value for name, value in to_dict(config).items() if not name.endswith("_every")}
    return {name: value for name, value in values.items() if name not in FREE.union(free)}


def differing(key: str, before, now) -> tuple[str, str]:
    """`key = before` and `now`, to be told; of two tables only what differs, as `key.inner = value`."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{key} = {before!r}", repr(now)
    inner = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    old, new = (", ".join(f"{key}.{name} = {table.get(name)!r}" for name in inner) for table in (before, now))
    return old, new


def goes_on(run_dir: Path, share: float) -> None:
    """Remove model/ of a run that had ended and goes on, as more steps are asked for.

    `share` of it is done; last/ has what it goes on from.
    """
    if share < 1 and (run_dir / "model").exists():
        shutil.rmtree(run_dir / "model")


def load_state(run_dir: Path, lasting: dict) -> dict | None:
    """What was saved last, on the CPU; None if nothing was.

    Raises ConfigError where the run was begun with other values than `lasting`, those of the
    configuration that must stay.
    """
    path = run_dir / "last" / "state.pt"
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    begun = state.get("config", {})
    changed = [key for key, value in lasting.items() if begun.get(key) != value]
    if changed:
        before, now = differing(changed[0], begun.get(changed[0]), lasting[changed[0]])
        raise ConfigError(
            f"{run_dir} was begun with {before}, the configuration says {now}; "
            "use the same configuration or another run directory"
        )
    return state


def save_state(run_dir: Path, state: dict) -> None:
    """Replace last/state.pt by `state`, whose "config" holds the values that must stay."""
    (run_dir / "last").mkdir(parents=True, exist_ok=True)
    with replacing(run_dir / "last" / "state.pt") as file:
        torch.save(state, file)
