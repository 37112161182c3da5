"""The chart of a song: beats found in the voice or given, and chords that a stage samples around those that are given."""

from dataclasses import replace

import torch

from accompgen.chart import Chart, ChartError
from accompgen.generation.cascade import Progress, play, whole_song
from accompgen.generation.schedule import Part
from accompgen.stages import BEAT, CHORD, Graph
from accompgen.time import whole_blocks


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


def find_chart(model, units, seconds: float, asked: Chart | None, sampling: dict, seed: int, text=None,
               progress: Progress | None = None) -> Chart | None:  # fmt: skip
    """The chart that a band plays by.

    Args:
        model: pipeline.Accompanist.
        units: of the vocal [1, S].
        seconds: length of the song.
        asked: beats, chords and key that a person gives, any of which may be missing; None: nothing.
        sampling, seed, text: as for the other stages.

    Returns:
        the chart; None where the checkpoint's graph has none.

    Raises:
        ChartError: something is asked for that the checkpoint cannot follow, or the beat cannot be found.
    """
    graph = model.system.graph
    if not any(stream.tokenizer in (BEAT, CHORD) for stream in graph.streams):
        if asked is not None:
            raise ChartError(f"the checkpoint {model.about['name']!r} plays without a chart, so none can be given")
        return None
    chart = replace(asked, seconds=seconds) if asked is not None else Chart(seconds)
    if len(chart.beats) < 2:
        if model.beat_tracker is None:
            name = model.about["name"]
            raise ChartError(f"the checkpoint {name!r} has no beat tracker; give the beat, by bpm or a file")
        chart = replace(chart, beats=tuple(model.beat_tracker.beats(units[0].cpu())))
    blocks = whole_blocks(units.shape[1], graph.vocal.hz)
    once = [stage for stage in graph.stages if graph.made_for_song(stage)]
    if not once or all(part is not None and part[1].all() for part in [chart.chord_ids(blocks)]):
        return chart
    heard = chart_streams(graph, chart, blocks)
    made = {stage.target for stage in once}
    part = Part("", {name: ids for name, ids in heard.items() if name not in made}, text)
    schedule = whole_song(model.system, units, sampling, seed, part)
    play(schedule, progress)
    return _around(chart, schedule.stream(once[-1].target)[0].numpy())


def _around(chart, ids):
    """The chart with the chords of a stage [blocks], under those that are given."""
    found = chart.chords_on_beats(ids)
    if not chart.chords:
        return found
    chords = []
    for start, end, label in found.chords:
        for first, last in _gaps(chart.chords, start, end):
            chords.append((first, last, label))
    return chart.with_chords(sorted([*chords, *chart.chords]))


def _gaps(given, start, end):
    """What of a span lies between the chords that are given."""
    for first, last, _ in given:
        if first > start and min(first, end) > start:
            yield start, min(first, end)
        start = max(start, last)
        if start >= end:
            return
    yield start, end
