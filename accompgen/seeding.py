"""Random numbers of their own for every part of a song."""

import hashlib

import torch


def make_generator(seed: int, part: str, number: int) -> torch.Generator:
    """A generator of its own for every (seed, part, number), on the CPU, so that every device draws
    the same numbers. `part` is a stage, "noise" or "decoder"; `number` a window or a block."""
    digest = hashlib.sha256(f"{seed}:{part}:{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
