"""The chart of a song: beats found in the voice or given, and chords that a stage samples around those that are given."""

from dataclasses import replace

import numpy as np
import torch

from accompgen.analysis.keys import find_key
from accompgen.chart import Chart, ChartError, chord_chroma
from accompgen.chart_input import ChartRequest, overlaid
from accompgen.generation.cascade import play, whole_song
from accompgen.generation.progress import Progress
from accompgen.generation.schedule import Part
from accompgen.generation.vocal import Vocal, melody
from accompgen.model.logit_bias import MELODY
from accompgen.stages import BEAT, CHORD, Graph
from accompgen.time import BLOCKS_PER_SECOND, SEMANTIC_HZ, blocks_of, frames_of, whole_blocks

SHORTEST_SECONDS = 8.0  # at the slowest tempo three beats at least
HALF_BAR, BAR = 1.0, 1.0  # weights of the notes around a block
# Of all of the song's. A voice seldom sings the tones of IV and often those of VI: were they to
# count for chords, VI would be played throughout. Notes of this bar that are rare elsewhere point
# to its chord. For a stem they are those of the key.
SONG_OF_CHORDS, SONG_OF_STEMS = -1.0, 2.0
FEW_NOTES_SECONDS = 0.2  # a span with so little pitch in it has half of its weight


def chart_streams(graph: Graph, chart: Chart, blocks: int) -> dict[str, torch.Tensor]:
    """What stages hear of a chart, over so many blocks of 40 ms: stream -> ids [1, 1, T], -1 where it is not known.

    All streams of the chart's beats have the same ids, and all of its chords.
    """
    found = {}
    beats, chords = chart.beat_ids(blocks), chart.chord_ids(blocks)
    for stream in graph.streams:
        if stream.tokenizer == BEAT and beats is not None:
            found[stream.name] = torch.from_numpy(beats)[None, None]
        elif stream.tokenizer == CHORD and chords is not None:
            ids, known = (torch.from_numpy(row) for row in chords)
            found[stream.name] = torch.where(known, ids, -1)[None, None]
    return found


def find_chart(
    model, units, vocal: Vocal, asked, sampling: dict, seed: int, text=None, progress: Progress | None = None
) -> Chart | None:
    """The chart that a band plays by.

    Args:
        model: pipeline.Accompanist.
        units: of the vocal [1, S].
        vocal: the recording. Its length is the song's; its notes weigh in where the sampling has a
            `melody`.
        asked: what a person gives: a chart_input.ChartRequest, or a Chart with beats, chords and key, any of which may be
            missing; None: nothing.
        sampling, seed, text: as for the other stages.

    Returns:
        the chart; None where the checkpoint's graph has none.

    Raises:
        ChartError: something is asked for that the checkpoint cannot follow or that does not fit the song, or the beat cannot
            be found.
    """
    graph = model.system.graph
    if not graph.has_chart:
        if asked is not None:
            raise ChartError(
                f"the checkpoint {model.about['name']!r} plays without a chart, so none can be given"
            )
        return None
    chart, given = _beats(model, units, Chart(vocal.seconds), asked)
    chart = replace(chart, chords=given)
    blocks = whole_blocks(units.shape[1], graph.vocal.hz)
    once = [stage for stage in graph.stages if graph.made_for_song(stage)]
    chords = chart.chord_ids(blocks)
    if once and (chords is None or not chords[1].all()):
        made = {stage.target for stage in once}
        streams = chart_streams(graph, chart, blocks)
        heard = {name: ids for name, ids in streams.items() if name not in made}
        if any(sampling[stage.name].melody for stage in once):
            heard[MELODY] = melody_stream(chart, vocal, blocks, SONG_OF_CHORDS)
        schedule = whole_song(model.system, units, sampling, seed, Part("", heard, text))
        play(schedule, progress)
        found = chart.chords_on_beats(schedule.stream(once[-1].target)[0].numpy())
        chart = replace(found, chords=overlaid(found.chords, given))
    return chart if chart.key else replace(chart, key=key_of(chart, melody(vocal, blocks)))


def key_of(chart: Chart, notes: np.ndarray) -> str | None:
    """The key of a chart's chords and of the sung notes, `vocal.melody` [blocks, 12], which count
    alike; None where nothing has a pitch.

    Of 67 test songs it names .66, by the chords of their own charts alone .58, by the notes .52.
    """
    tones, chords = np.zeros(12), chart.chord_ids(len(notes))
    if chords is not None:
        tones = (chord_chroma()[chords[0][chords[1]]] > 0).sum(0)
    return find_key(np.stack([part / max(part.sum(), 1) for part in (tones, notes.sum(0))]))


def melody_stream(chart: Chart, vocal: Vocal, blocks: int, song: float) -> torch.Tensor:
    """What is known as MELODY of a song: `melody_around` as [1, 12, blocks]."""
    return torch.from_numpy(melody_around(chart, melody(vocal, blocks), song).T.copy())[None]


def melody_around(chart: Chart, chroma: np.ndarray, song: float) -> np.ndarray:
    """The notes around each block: `vocal.melody` [blocks, 12] -> weights [blocks, 12].

    A chord holds for half a bar at least, so the notes of that and of the bar count; those of the
    song by the weight `song`, which may be negative. In bars of an odd number of beats, halves are
    whole.
    """
    blocks, metre = len(chroma), chart.metre
    halves = {1, 1 + metre // 2} if metre % 2 == 0 else {1}
    beats = chart.continued().beats
    around = np.zeros_like(chroma)
    for weight, places in ((HALF_BAR, halves), (BAR, {1}), (song, set())):
        starts = [round(time * BLOCKS_PER_SECOND) for time, place in beats if place in places]
        edges = sorted({0, *(min(start, blocks) for start in starts), blocks})
        for start, end in zip(edges, edges[1:]):
            notes = chroma[start:end].sum(0)
            share = notes / (notes.sum() + FEW_NOTES_SECONDS * BLOCKS_PER_SECOND)
            around[start:end] += weight * share
    return around


def _beats(model, units, chart, asked):
    """The chart with its beats and key, given or found, and the chords that are given."""
    if isinstance(asked, Chart) and len(asked.beats) > 1:
        return replace(chart, beats=asked.beats, key=asked.key), asked.chords
    request = asked if isinstance(asked, ChartRequest) else None
    complete = request is not None and request.beats is not None and request.beats.places
    if model.beat_tracker is not None and model.beat_tracker.config.downbeats and not complete:
        bpm = None if request is None else request.bpm
        chart = replace(chart, beats=_found(model.beat_tracker, units[0].cpu(), chart.seconds, bpm))
    if request is not None:
        chart = replace(request.with_beats(chart), key=request.key)
    if len(chart.beats) < 2:
        name = model.about["name"]
        raise ChartError(
            f"the checkpoint {name!r} has no beat tracker that hears bars; give the beat, by bpm or "
            "a file"
        )
    if request is not None:
        return chart, request.chords_on(chart)
    return (chart, ()) if asked is None else (replace(chart, key=asked.key), asked.chords)


def _found(tracker, units, seconds, bpm):
    """The beats of a vocal [S]. One that is too short for two beats is heard with silence behind it."""
    silence = max(0, frames_of(blocks_of(SHORTEST_SECONDS), SEMANTIC_HZ) - len(units))
    beats = tracker.beats(torch.nn.functional.pad(units, (0, silence), value=tracker.config.semantic_vocab), bpm=bpm)
    return tuple(beats[: max(2, sum(time < seconds for time, _ in beats))] if silence else beats)
