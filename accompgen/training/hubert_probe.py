"""What units tell about the music: majority lookup, learned on training songs, counted on held-out songs.

A unit is read as the pitch class most often sung (vocals), or the chord root most often sounding (accompaniments), where it
occurs. The share of held-out frames read rightly says whether the units carry the harmony that a band has to follow.
"""

import torch

from accompgen.time import SEMANTIC_HZ

FRAME_SECONDS = 1 / SEMANTIC_HZ
NONE = -1
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def sung_classes(meta: dict, frames: int) -> torch.Tensor:
    """Pitch class (0 = C) sung at the middle of each frame, -1 where no note sounds: [frames] int64, from meta["notes"]."""
    return _spread(((start, end, pitch % 12) for start, end, pitch, *_ in meta["notes"]), frames)


def chord_roots(meta: dict, frames: int) -> torch.Tensor:
    """Chord root (0 = C) at the middle of each frame, -1 where there is no chord: [frames] int64, from meta["chords"]."""
    return _spread(((start, end, _root(label)) for start, end, label in meta["chords"]), frames)


def _root(label):
    name = label.split(":")[0].split("/")[0]
    if not name or name[0] not in _NATURALS:
        return NONE
    return (_NATURALS[name[0]] + name.count("#") - name.count("b")) % 12


def _spread(spans, frames):
    classes = torch.full((frames,), NONE)
    middles = (torch.arange(frames) + 0.5) * FRAME_SECONDS
    for start, end, value in spans:
        classes[(middles >= start) & (middles < end)] = value
    return classes


def lookup_accuracy(train: list, held_out: list, vocab: int) -> float:
    """Share of held-out frames whose class the majority lookup of the training frames names.

    Args:
        train, held_out: pairs (units [S], classes [S] with -1 for frames that do not count), one per song.
        vocab: V; a unit never seen in training is read as the commonest class.
    """
    counts = torch.zeros(vocab, 12)
    for units, classes in train:
        known = classes != NONE
        counts += torch.bincount(units[known] * 12 + classes[known], minlength=vocab * 12).reshape(vocab, 12)
    lookup = torch.where(counts.sum(1) > 0, counts.argmax(1), counts.sum(0).argmax())
    right = total = 0
    for units, classes in held_out:
        known = classes != NONE
        right += int((lookup[units[known]] == classes[known]).sum())
        total += int(known.sum())
    return right / max(1, total)


def repeat_share(units: list) -> float:
    """Share of frames that have the unit of the frame before: how smooth the units run."""
    same = sum(int((u[1:] == u[:-1]).sum()) for u in units)
    return same / max(1, sum(len(u) - 1 for u in units))
