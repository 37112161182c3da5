"""Which device to compute on: the one place that picks it."""

import torch

from accompgen.config import ConfigError


class DeviceError(ConfigError):
    """A device that is not there; the message names those that are."""


def choose_device(name: str) -> str:
    """ "auto" (a GPU if there is one), "cpu", "cuda" (the first GPU) or "cuda:N" -> "cpu" or "cuda:N". Raises DeviceError."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    there = ["cpu", *(f"cuda:{index}" for index in range(count))]
    full = "cuda:0" if name == "cuda" else name
    if full not in there:
        why = "" if count else "; torch finds no GPU"
        raise DeviceError(f"no such device: {name!r}; here there are {', '.join(there)} (or auto){why}")
    return full
