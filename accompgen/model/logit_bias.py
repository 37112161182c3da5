"""What moves a stage's logits besides guidance: what the context encoder alone says, the pitches of chords, of what is expected
and of the melody, the voice's beat, and what a text alone says."""

from dataclasses import dataclass

import torch
from torch import nn

from accompgen.model.stage_lm import StageLM
from accompgen.stages import CHORD, TEXT

# beside a stage's own streams
EARLIER_VOCAL = "earlier_vocal"  # for `pulse`: units [B, 1, T'] before those of the vocal
# for `melody`: the voice's notes around each block of 40 ms, weights of pitch classes [B, 12, blocks]
MELODY = "melody"
BESIDE = (EARLIER_VOCAL, MELODY)


@dataclass(frozen=True)
class Weights:
    """How much each counts; 0: not at all."""

    listening: float = 0.0
    consonance: float = 0.0
    pulse: float = 0.0
    melody: float = 0.0
    reading: float = 0.0


def check(model: StageLM, weights: Weights) -> None:
    """Raise ValueError, and say why, where a stage cannot tell what is asked of it."""
    reason, by_chart = None, plays_chords(model)
    if (weights.listening or (weights.consonance and not by_chart)) and model.config.context == "prefix":
        reason = "has no context encoder to listen to (context = 'prefix')"
    elif weights.consonance and model.unit_chroma is None:
        reason = (
            "does not know what its ids sound like; consonance is for chords, and for units in checkpoints that were exported "
            "with --songs. Leave it at 0 elsewhere"
        )
    elif weights.pulse and model.beat_tracker is None:
        reason = (
            "has no beat tracker to go by; pulse is for stages of units in checkpoints that were exported with one. Leave it "
            "at 0 elsewhere"
        )
    elif weights.melody and not (by_chart or model.layout.target.tokenizer == CHORD):
        reason = "neither makes nor plays the chords of a chart, which melody is for. Leave it at 0"
    elif weights.melody and model.unit_chroma is None:
        reason = (
            "does not know what its ids sound like; melody is for chords, and for units in checkpoints that were exported "
            "with --songs. Leave it at 0 elsewhere"
        )
    elif weights.reading and TEXT not in [name for name, _, _ in model.layout.prefix]:
        reason = "reads no texts, so there is nothing to read. Leave reading at 0"
    if reason:
        raise ValueError(f"the {model.config.stage} stage {reason}")


def logit_bias(
    model: StageLM, context: dict, frames: int, weights: Weights, beside: dict | None = None, prefix_ids: dict | None = None
):
    """What is added to the guided logits of each token [B, F, Q or 1, V]; None without any weight.

    Args:
        context, prefix_ids: as in StageLM.forward; of a text that is not there nothing counts.
        beside: what is known besides, by the names of BESIDE: of the units before those of the context the beat goes on (T'
            even); of a melody that is not there nothing counts.

    Raises:
        ValueError: see `check`.
    """
    check(model, weights)
    biases, beside = [], beside or {}
    by_chart = plays_chords(model)
    if weights.consonance and by_chart:
        biases.append(weights.consonance * chord_score(model, context, frames))
    if weights.listening or (weights.consonance and not by_chart):
        heard = encoder_log_probs(model, context, frames)
        if weights.listening:
            biases.append(weights.listening * (heard - encoder_log_probs(model, context, frames, dropped=True)))
        if weights.consonance and not by_chart:
            biases.append(weights.consonance * chroma_score(model, heard))
    if weights.pulse:
        biases.append(weights.pulse * beat_score(model, context, frames, beside.get(EARLIER_VOCAL)))
    if weights.melody and MELODY in beside:
        biases.append(weights.melody * melody_score(model, beside[MELODY], frames))
    if weights.reading and prefix_ids and TEXT in prefix_ids and bool((prefix_ids[TEXT] >= 0).any()):
        biases.append(weights.reading * text_score(model, context, frames, prefix_ids))
    return sum(biases) if biases else None


def plays_chords(model: StageLM) -> bool:
    """Whether a stage makes what plays the chords of a chart, which it hears."""
    return _chord_stream(model) is not None and model.layout.target.tokenizer != CHORD


def _chord_stream(model):
    return next((stream for stream in model.layout.context if stream.tokenizer == CHORD), None)


def encoder_log_probs(model: StageLM, context: dict, frames: int, dropped: bool = False):
    """Log-probabilities [B, F, Q, V] of the target as the context encoder alone names it, or without the context, `dropped`.

    Of use in a stage that was trained with `listening_weight`. Raises ValueError where the context is a prefix, or does not
    cover `frames` target frames.
    """
    check(model, Weights(listening=1.0))
    model.layout.check(context, frames)
    drop = torch.full((len(next(iter(context.values()))),), dropped, device=model.heads.device)
    return model.listened(context, frames, drop).log_softmax(-1)


def chroma_score(model: StageLM, heard):
    """How well the pitches of each token go with those that the context encoder alone expects at its time.

    The covariance of the token's chroma (training/unit_chroma.py, chart.chord_chroma) with the expected one: a choice by it
    accepts, of several chords that a melody allows, what most of them share. It is minimum Bayes risk decoding (Kumar and Byrne
    2004) with the chroma in common as the gain; less what of it follows from how tonal a token is, so that drums are not
    avoided.

    Args:
        heard: what `encoder_log_probs` gives [B, F, Q, V].

    Returns:
        [B, F, Q, V].

    Raises:
        ValueError: the stage does not know what its units sound like.
    """
    check(model, Weights(consonance=1.0))
    likely, size = heard.exp(), model.unit_chroma.norm(dim=1)  # [B, F, Q, V], [V]
    gain = likely @ model.unit_chroma @ model.unit_chroma.T  # [B, F, Q, V]
    by_size = (likely * size * gain).sum(-1, keepdim=True) / (likely * size.square()).sum(-1, keepdim=True).clamp_min(1e-9)
    return gain - by_size * size


def chord_score(model: StageLM, context: dict, frames: int):
    """How well the pitches of each unit go with the tones of the chart's chord, [B, F, 1, V]: their chroma's product.

    0 where the chart has no chord, or none is known. Raises ValueError as `check`.
    """
    check(model, Weights(consonance=1.0))
    ids = context[_chord_stream(model).name][:, 0]
    chords = model.chord_chroma.to(model.unit_chroma)[ids.clamp_min(0)] * (ids >= 0)[..., None]
    return _at_frames(chords @ model.unit_chroma.T, frames)


def beat_score(model: StageLM, context: dict, frames: int, earlier=None):
    """How well each token goes with the beat that the voice makes likely, in nats [B, F, 1, V]: see BeatTracker.unit_log_odds.

    Arguments as in `logit_bias`; the context has the vocal, T even. Raises ValueError without a beat tracker.
    """
    check(model, Weights(pulse=1.0))
    own = context[model.config.rows.vocal.name]
    vocal = own if earlier is None else torch.cat([earlier, own], dim=-1)
    first = vocal.shape[-1] - own.shape[-1]
    return model.beat_tracker.unit_log_odds(vocal[:, 0])[:, first : first + frames, None]


def melody_score(model: StageLM, melody, frames: int):
    """How well each chord or unit goes with the voice's notes: the weight of its pitches in the melody.

    Of chords less the mean over all of them, and no chord (id 0) has the mean. The pitches of units differ from their mean
    already (training/unit_chroma.py).

    Args:
        melody: weights of pitch classes [B, 12, blocks of 40 ms].

    Returns:
        [B, F, 1, V].
    """
    weight = melody.to(model.unit_chroma).transpose(1, 2) @ model.unit_chroma.T
    if model.layout.target.tokenizer == CHORD:
        chords = weight[..., 1:]
        weight = nn.functional.pad(chords - chords.mean(-1, keepdim=True), (1, 0))
    return _at_frames(weight, frames)


def _at_frames(scores, frames):
    """Scores [B, blocks, V] at the target's frames: [B, F, 1, V]."""
    return scores.repeat_interleave(frames // scores.shape[1], dim=1)[:, :, None]


def text_score(model: StageLM, context: dict, frames: int, prefix_ids: dict):
    """How much likelier the text makes each token where nothing is known of those before it, in nats [B, F, Q, V].

    A history says more of the sound than any text, its own faults too: behind it a stage hardly reads. Of use in a stage that
    was trained with `history_dropout`. Arguments as in `StageLM.forward`.
    """
    rows, codebooks = len(prefix_ids[TEXT]), model.layout.target.codebooks
    nothing = torch.zeros(rows, codebooks, frames, dtype=torch.long, device=model.heads.device)
    hidden = torch.ones(rows, codebooks * frames, dtype=torch.bool, device=nothing.device)
    texts = (prefix_ids[TEXT], torch.full_like(prefix_ids[TEXT], -1))
    with_text, without = (
        model(context, nothing, prefix_ids=prefix_ids | {TEXT: text}, hide=hidden).log_softmax(-1) for text in texts
    )
    return with_text - without
