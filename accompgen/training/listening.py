"""Validation: how well a stage predicts, against a bigram, and whether it listens to its context.

Most frames repeat the one before, so that plain cross-entropy hides listening. Therefore also: what it costs to give the
windows each other's context (*gain* of the true one), over all frames, in the first second and where the target changes; what
it costs to hear nothing of a stream that may be missing; and what it costs to let the vocal come late, or a semitone higher
where the shards hold such vocals. All in nats a token, with the standard error over the windows.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from accompgen.config import TrainConfig, window_blocks
from accompgen.data.batches import (
    held_out_windows,
    prefix_ids_of,
    read_windows,
    stems_there,
    training_songs,
    without_dropped,
)
from accompgen.data.shards import Shards
from accompgen.time import blocks_of, seconds_of
from accompgen.training.loss import token_cross_entropy

DELAYS_SECONDS = (0.24, 1.0, 4.0)  # multiples of 40 ms
PRIOR_STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
LATE, HIGHER = "vocal_late", "vocal_transposed"  # the vocal's altered contexts, and what the figures are called
BIGRAM_HOURS = 50.0  # at most so much training data is counted


@dataclass(frozen=True)
class HeldOut:
    """Windows of the validation split. contexts: "true", "shuffled", ... -> (name -> ids [B, Q, T]); target [B, Q, F]."""

    contexts: dict
    prefix_ids: dict  # name -> ids [B, length]
    target: torch.Tensor
    bigram: tuple[float, ...]  # cross-entropy of the bigram a codebook, nats
    hz: int  # frames a second of the target


def prepare(shards: Shards, config: TrainConfig) -> HeldOut:
    """Read the validation windows, their altered contexts, and fit the bigram on the training split."""
    model, blocks = config.model, window_blocks(config.window_seconds)
    lead = blocks_of(max(DELAYS_SECONDS))
    windows = held_out_windows(shards, model, blocks, config.validation_windows, lead, config.seed, config.stem_weights)

    def read(**how):
        context, target = read_windows(shards, model, windows, blocks, **how)
        return without_dropped(context, config.stream_dropout), target

    true, target = read()
    contexts = {"true": true, "shuffled": {name: _shuffle(ids) for name, ids in true.items()}}
    if len(true) > 1:
        for name in true:
            contexts[f"shuffled_{name}"] = {**true, name: _shuffle(true[name])}
    for name in set(true) & set(config.stream_dropout):  # as it will be where it is not given
        contexts[f"without_{name}"] = {**true, name: torch.full_like(true[name], -1)}
    vocal = model.rows.vocal.name
    if vocal in true:
        for seconds in DELAYS_SECONDS:
            contexts[f"{LATE}_{seconds:g}s"], _ = read(delay_blocks=blocks_of(seconds))
        higher = {window.song.transposed for window in windows}  # semitones
        if len(higher) == 1 and 0 not in higher:
            contexts[f"{HIGHER}_{higher.pop():g}"], _ = read(transposed=True)
    stream = model.rows.stream(model.rows.stage(model.stage).target)
    bigram = bigram_cross_entropy(shards, model, target, stream)
    return HeldOut(contexts, prefix_ids_of(model, windows), target, bigram, stream.hz)


def _shuffle(ids):
    return ids.roll(1, 0)  # neighbours in the list of windows come from different songs


def bigram_cross_entropy(shards: Shards, model, target: torch.Tensor, stream) -> tuple[float, ...]:
    """Cross-entropy in nats of `target` [B, Q, F] a codebook under p(token | the same codebook's token one frame earlier).

    Counted on the training split, smoothed towards the single tokens' frequencies: (n(a, b) + k p(b)) / (n(a) + k), k the best
    of PRIOR_STRENGTHS on `target` itself, in the bigram's favour. The first frame of a window, and one behind an
    unknown one, gets p(b).
    """
    songs, hours, vocab = [], 0.0, stream.vocab
    for song in training_songs(shards, model):
        if hours < BIGRAM_HOURS:
            songs.append(song)
            hours += seconds_of(song.blocks) / 3600
    counts = np.zeros((target.shape[1], vocab * vocab), dtype=np.int64)
    single = np.zeros((target.shape[1], vocab), dtype=np.int64)
    for song in songs:
        for stem in stems_there(song, model):
            array = stream.array(stem)
            grid = np.atleast_2d(shards.read(song, arrays=[array])[array])[stream.first :]
            for codebook in range(len(counts)):
                ids = grid[codebook].astype(np.int64)
                ids = ids[ids >= 0]  # of a chart, where it is known
                counts[codebook] += np.bincount(ids[:-1] * vocab + ids[1:], minlength=vocab * vocab)
                single[codebook] += np.bincount(ids, minlength=vocab)
    return tuple(_bigram(counts[q].reshape(vocab, vocab), single[q], target[:, q].numpy()) for q in range(len(counts)))


def _bigram(counts, single, ids):
    """Mean nats of the known ids [B, F] under the smoothed bigram of counts [V, V] and single [V]."""
    prior = (single + 1) / (single.sum() + len(single))
    earlier = np.pad(ids, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]  # the first frame follows nothing that is known
    pair, alone = (ids >= 0) & (earlier >= 0), (ids >= 0) & (earlier < 0)
    before, after = earlier[pair], ids[pair]
    seen, total = counts[before, after], counts.sum(1)[before]
    costs = [-np.log((seen + k * prior[after]) / (total + k)).sum(dtype=np.float64) for k in PRIOR_STRENGTHS]
    return float((min(costs) - np.log(prior[ids[alone]]).sum(dtype=np.float64)) / max(1, (ids >= 0).sum()))


def validate(logits_of, device, held_out: HeldOut, batch_size: int, rank: int = 0, world: int = 1, gather=None) -> dict:
    """Measure a model on the held-out windows.

    Args:
        logits_of: called as `logits_of(context, target, prefix_ids)` -> logits [B, F, Q, V]; a model in evaluation mode.
        device: where the model is.
        rank, world: of several processes each takes every world-th window, and
        gather: value -> the values of all of them, in their order.

    Returns:
        "cross_entropy" and "bigram" (mean over codebooks), "per_codebook", "bigram_per_codebook", "accuracy", "windows";
        "gain": {"shuffled": {"all", "first_second", "changes", "per_second"}, ...} as [mean, standard error];
        "vocal_late": {"0.24": [mean, standard error], ...}; "vocal_transposed": {"1": ...} in semitones, empty where the shards
        hold no transposed vocals. "changes" is None where the target never changes.
    """
    nats, right = {}, None  # name -> [B, Q, F]
    for name, context in held_out.contexts.items():
        parts = [_score(logits_of, device, context, held_out, range(rank, len(held_out.target), world), batch_size)]
        parts = gather(parts[0]) if gather else parts
        nats[name], hits = _woven([part[0] for part in parts]), _woven([part[1] for part in parts])
        right = hits if name == "true" else right
    true, known = nats["true"], held_out.target >= 0
    tokens = known.sum((0, 2)).clamp_min(1)  # [Q]
    per_codebook = true.sum((0, 2)) / tokens
    result = {
        "cross_entropy": per_codebook.mean().item(),
        "bigram": sum(held_out.bigram) / len(held_out.bigram),
        "per_codebook": [round(x, 4) for x in per_codebook.tolist()],
        "bigram_per_codebook": [round(x, 4) for x in held_out.bigram],
        "accuracy": [round(x, 4) for x in (right.sum((0, 2)) / tokens).tolist()],
        "windows": len(true),
        "gain": {},
        LATE: {},
        HIGHER: {},
    }
    changed = _changes(held_out.target)
    for name in list(nats)[1:]:
        gain = nats[name] - true  # [B, Q, F]
        if name.startswith((LATE, HIGHER)):
            group, _, amount = name.rpartition("_")
            result[group][amount.removesuffix("s")] = _mean_and_error(_of_windows(gain, known))
        else:
            result["gain"][name] = _gains(gain, known, changed, held_out.hz)
    return result


def _of_windows(gain, known):
    """Means [B'] of the windows over their known tokens [B, Q, F], of those that have any."""
    count = known.sum((1, 2))
    return gain.sum((1, 2))[count > 0] / count[count > 0]


def _gains(gain, known, changed, hz):
    whole, start = _of_windows(gain, known), _of_windows(gain[:, :, :hz], known[:, :, :hz])
    frames = gain.mean(1)  # [B, F]
    counts = changed.sum(1)
    at_changes = (frames * changed).sum(1)[counts > 0] / counts[counts > 0]
    return {
        "all": _mean_and_error(whole),
        "first_second": _mean_and_error(start),
        "changes": _mean_and_error(at_changes),
        "per_second": _mean_and_error(whole * gain.shape[1] * hz),
    }


def _score(logits_of, device, context, held_out, rows, batch_size):
    """Nats a token of the windows `rows` and whether it was ranked first, both [B, Q, F] on the CPU."""
    target = held_out.target
    nats, right = [target[:0].float()], [target[:0].float()]
    with torch.no_grad():
        for first in range(0, len(rows), batch_size):
            part = list(rows[first : first + batch_size])
            ids = target[part].to(device)
            heard, prefix_ids = ({k: v[part].to(device) for k, v in given.items()} for given in (context, held_out.prefix_ids))
            logits = logits_of(heard, ids, prefix_ids)  # [B, F, Q, V]
            nats.append(token_cross_entropy(logits, ids).cpu())
            right.append((logits.argmax(-1).transpose(1, 2) == ids).float().cpu())
    return torch.cat(nats), torch.cat(right)


def _woven(parts):
    """Windows r, r + world, ... of each rank r -> all of them in their order."""
    whole = torch.cat(parts)
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole


def _changes(target):
    """Frames [B, F] at which the first codebook differs from the frame before, both known."""
    before, after = target[:, 0, :-1], target[:, 0, 1:]
    differs = (before != after) & (before >= 0) & (after >= 0)
    return torch.cat([torch.zeros_like(differs[:, :1]), differs], dim=1)


def _mean_and_error(values):
    """[mean, standard error] over windows, None without one; a single window has no error to show: 0."""
    count = len(values)
    if count == 0:
        return None
    error = values.std().item() / math.sqrt(count) if count > 1 else 0.0
    return [round(values.mean().item(), 5), round(error, 5)]


def _signed(value):
    return "none" if value is None else f"{value[0]:+.4f}"


def describe(result: dict) -> str:
    """One dense line for the log."""
    books = " ".join(f"{x:.3f}" for x in result["per_codebook"])
    accuracy = " ".join(f"{x:.3f}" for x in result["accuracy"])
    gain = result["gain"]["shuffled"]
    text = (
        f"validation {result['cross_entropy']:.4f} nats (bigram {result['bigram']:.4f}) | codebooks {books} | "
        f"accuracy {accuracy} | gain over shuffled {gain['all'][0]:+.4f} +- {gain['all'][1]:.4f}, "
        f"first second {gain['first_second'][0]:+.4f} +- {gain['first_second'][1]:.4f}, changes {_signed(gain['changes'])}, "
        f"per second {gain['per_second'][0]:+.2f}"
    )
    for name, values in result["gain"].items():
        if name != "shuffled":
            text += f" | {name} {values['all'][0]:+.4f}"
    for seconds, (cost, _) in result[LATE].items():
        text += f" | vocal late {seconds} s {cost:+.4f}"
    for semitones, (cost, _) in result[HIGHER].items():
        text += f" | vocal {semitones} semitones higher {cost:+.4f}"
    return text
