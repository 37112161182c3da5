"""What silence is to a checkpoint's tokenizers."""

import torch

from accompgen.stages import Graph


def frames_of_silence(graph: Graph, tokenizer_of, device: str = "cpu") -> dict[str, list[int]]:
    """What a checkpoint's config.json says of silence: kind of tokenizer (SEMANTIC, ACOUSTIC) -> the ids of a frame of it.

    `tokenizer_of` gives the tokenizer of a kind, on the device.
    """
    frames = {}
    for kind in graph.tokenizers:
        tokenizer = tokenizer_of(kind)
        ids = tokenizer.encode(torch.zeros(1, tokenizer.sample_rate, device=device))
        frames[kind] = ids[..., ids.shape[-1] // 2].flatten().tolist()
    return frames
