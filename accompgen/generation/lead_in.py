"""What is before the first stroke of the drums: silence, as in every recording.

Without a history a stage begins as if in the middle of a song, in the ring of a cymbal that was
never struck. So the stages continue LEAD_SECONDS of silence, which are cut off again. After longer
ones drums may stay silent, as if they had nothing to play: of ten songs one's did after .64 s.
Where they do after .2 s (one of 102 songs) they are drawn again without. A bass and a harmony fall
silent after .2 s, too (20 songs: the bass sounds in .57 of the seconds, .74 without, chords in .89
and .96), and they begin well without it.
"""

from dataclasses import replace

import torch
from torch.nn import functional as F

from accompgen.generation.cascade import Tokens
from accompgen.generation.schedule import Part
from accompgen.generation.windows import Span
from accompgen.model.logit_bias import MELODY
from accompgen.stages import FROM_SILENCE, Graph
from accompgen.time import blocks_of, frames_of, whole_blocks

LEAD_SECONDS = 0.2
LEAD = blocks_of(LEAD_SECONDS)
# of a stem's units: drums of 67 true songs never rest for so long, and one's of 102 made ones did
SILENT_SHARE = 0.5


def silence_of(graph: Graph, frames: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The ids [1, Q, T] of LEAD_SECONDS of silence, of every stream that is made of sound.

    `frames` is what `tokens.silence.frames_of_silence` gives.
    """
    silence = {}
    for stream in filter(None, (graph.vocal, graph.others, graph.units, *graph.codes)):
        ids = torch.tensor(frames[stream.tokenizer][stream.first : stream.first + stream.codebooks])
        silence[stream.name] = ids[None, :, None].repeat(1, 1, frames_of(LEAD, stream.hz))
    return silence


def begun(graph: Graph, silence: dict[str, torch.Tensor], vocal: torch.Tensor, part: Part) -> tuple[torch.Tensor, Part]:
    """The vocal's ids [1, S] and a part, both behind the silence; `without_lead_in` takes it off.

    Of other stems than FROM_SILENCE both stay as they are.
    """
    if part.stem not in FROM_SILENCE:
        return vocal, part
    first, last = part.span or (0, whole_blocks(vocal.shape[1], graph.vocal.hz))
    made = (graph.units, *graph.codes)
    kept = {stream.name: silence[stream.name] for stream in made}
    kept |= {name: torch.cat([kept[name], ids.cpu()], dim=-1) for name, ids in part.kept.items()}
    given = {name: _behind(graph, silence, name, ids.cpu()) for name, ids in part.given.items()}
    text = part.text and (lambda start, stop: part.text(max(0, start - LEAD), stop - LEAD))
    vocal = torch.cat([silence[graph.vocal.name][0], vocal.cpu()], dim=-1)
    return vocal, replace(part, given=given, text=text, kept=kept, span=(first + LEAD, last + LEAD))


def without_lead_in(graph: Graph, tokens: Tokens, part: Part) -> Tokens:
    """What was made of a part that `begun` gave, or of one that stayed as it was, from the song's begin on."""
    if part.stem not in FROM_SILENCE:
        return tokens
    units, codes = frames_of(LEAD, graph.units.hz), frames_of(LEAD, graph.codes[0].hz)
    return replace(tokens, semantic=tokens.semantic[:, units:], codes=tokens.codes[:, codes:])


def stays_silent(graph: Graph, silence: dict[str, torch.Tensor], tokens: Tokens, part: Part) -> bool:
    """Whether a stem that began behind the silence goes on with it for SILENT_SHARE of the time that it need not rest.

    `tokens` are what `without_lead_in` gave. A part of a take goes on with what is there, and may do so.
    """
    if part.stem not in FROM_SILENCE or part.kept:
        return False
    silent = tokens.semantic[0] == silence[graph.units.name][0, 0, 0]
    plays = torch.ones_like(silent)
    for first, last in part.rests:
        plays[Span(first, first, last).frames(graph.units.hz)] = False
    return bool(plays.any()) and silent[plays].float().mean().item() > SILENT_SHARE


def rested(graph: Graph, silence: dict[str, torch.Tensor], tokens: Tokens, rests) -> Tokens:
    """A stem's tokens, in place, with silence where it rests, as Part.rests has it."""
    for first, last in rests:
        for ids, streams in ((tokens.semantic, (graph.units,)), (tokens.codes, graph.codes)):
            quiet = torch.cat([silence[stream.name][0] for stream in streams])
            ids[:, Span(first, first, last).frames(streams[0].hz)] = quiet[:, :1]
    return tokens


def _behind(graph, silence, name, ids):
    """The ids of a stream behind the silence: what is not made of sound, beats and chords, is not known there."""
    if name in silence:
        return torch.cat([silence[name], ids], dim=-1)
    if name == MELODY:  # no stream, but weights, of blocks
        return F.pad(ids, (LEAD, 0))
    return F.pad(ids, (frames_of(LEAD, graph.stream(name).hz), 0), value=-1)
