"""The schedule of a song: what waits for what, and ids that do not depend on the order in which windows are decoded."""

import random
from types import SimpleNamespace

import pytest
import torch

from accompgen.generation.sampling import Sampling
from accompgen.generation.schedule import LoadedStage, Part, Schedule, System
from accompgen.layout import Layout
from accompgen.model.logit_bias import EARLIER_VOCAL
from accompgen.stages import ALL, STEM_TOKEN, TEXT, accompgen, band

STAGES = accompgen().stage_names
SAMPLING = dict.fromkeys(band().stage_names, Sampling())
# 20, 20, 9 and 6 blocks, with prompts of 10, 10, 3 and 0
WINDOWS = {"chart": 0.8, "semantic": 0.8, "coarse": 0.36, "fine": 0.24}


def system(pattern="interleave", graph=None):
    graph = graph or accompgen()
    models = {name: SimpleNamespace(layout=Layout.of(name, graph, pattern)) for name in graph.stage_names}
    return System(graph, {name: LoadedStage(model, WINDOWS[name]) for name, model in models.items()})


def decode(job, layout):
    """Ids that depend on all that a job is given, as those of a stage do."""
    context = {stream.name: job.context[stream.name] for stream in layout.context}
    heard = sum(ids.flatten(1).sum(1) for ids in context.values())  # [B]
    if job.prompt is not None:
        heard = heard + job.prompt.sum() + job.context.get(EARLIER_VOCAL, torch.zeros(1)).sum().long()
    shape = (layout.target.codebooks, job.frames)
    drawn = torch.stack([torch.randint(1024, shape, generator=generator) for generator in job.generators])
    ids = (drawn + heard[:, None, None]) % 1024
    if job.prompt is not None:
        ids[..., : job.prompt.shape[-1]] = -1  # it must not be taken for what is new
    return ids


def run(vocal, orders, sizes=None, **settings):
    """Decode a song whose vocal comes in pieces of `sizes` ids; `orders` gives the order of stages for each job."""
    schedule, made = Schedule(system(), SAMPLING, 3, **settings), []
    pieces = list(vocal.split(sizes or vocal.shape[1], dim=1))
    while pieces:
        schedule.add_vocal(pieces.pop(0))
        if not pieces:
            schedule.end_vocal()
        while job := schedule.next_job(next(orders)):
            schedule.add(job, decode(job, schedule.system.stages[job.stage].model.layout))
            made.append((job.stage, len(job.spans)))
    return schedule, made


def always(order):
    while True:
        yield order


def shuffled(seed):
    draw = random.Random(seed)
    while True:
        yield draw.sample(list(STAGES), 3)


@pytest.mark.parametrize("blocks", [1, 20, 47, 130])
def test_no_order_changes_the_ids(blocks):
    vocal = torch.randint(500, (1, 2 * blocks), generator=torch.Generator().manual_seed(blocks))
    whole, made = run(vocal, always(list(STAGES)))
    expected = whole.tokens(0, blocks)
    assert expected[0].shape == (1, 2 * blocks) and expected[1].shape == (8, 3 * blocks) and min(map(torch.min, expected)) >= 0
    order = [list(STAGES).index(name) for name, _ in made]
    assert order == sorted(order), "one stage after the other, where the vocal is whole"
    for orders, settings in (
        (always(list(reversed(STAGES))), {"sizes": 2, "batch": 1}), (shuffled(0), {}), (shuffled(1), {"sizes": 14}),
    ):  # fmt: skip
        other, _ = run(vocal, orders, **settings)
        assert all(map(torch.equal, expected, other.tokens(0, blocks)))


def test_windows_that_wait_for_none_are_decoded_together_and_in_the_end_the_rest():
    for orders in (always(list(STAGES)), shuffled(2)):
        _, made = run(torch.zeros(1, 2 * 130, dtype=torch.long), orders)
        assert [rows for name, rows in made if name == "fine"] == [8, 8, 6]
        assert all(rows == 1 for name, rows in made if name != "fine")


def test_a_stage_waits_for_what_it_hears():
    schedule = Schedule(system(), SAMPLING, 0)
    assert schedule.next_job(STAGES) is None
    schedule.add_vocal(torch.zeros(1, 2 * 19, dtype=torch.long))
    assert schedule.next_job(STAGES) is None, "a window of the first stage has 20 blocks, and the vocal may go on"
    schedule.add_vocal(torch.zeros(1, 2 * 2, dtype=torch.long))
    job = schedule.next_job(STAGES)
    assert job.stage == "semantic" and (job.spans[0].start, job.spans[0].stop) == (0, 20)
    assert schedule.next_job(["coarse", "fine"]) is None
    schedule.add(job, decode(job, schedule.system.stages[job.stage].model.layout))
    assert schedule.next_job(["semantic", "fine"]) is None
    job = schedule.next_job(STAGES)
    assert (job.stage, job.frames, set(job.context)) == ("coarse", 27, {"vocal", "semantic"})
    with pytest.raises(ValueError, match="S even and at least 2"):
        schedule.add_vocal(torch.zeros(1, 3, dtype=torch.long))


def test_all_ids_are_those_of_its_jobs():
    for blocks in (1, 47, 130):
        schedule = Schedule(system(), SAMPLING, 0)
        schedule.add_vocal(torch.zeros(1, 2 * blocks, dtype=torch.long))
        schedule.end_vocal()
        total, counted = schedule.all_ids(), 0
        while job := schedule.next_job(STAGES):
            counted += schedule.ids_of(job.stage, job.spans[0])
            schedule.add(job, decode(job, schedule.system.stages[job.stage].model.layout))
        assert counted == total


def test_the_stage_of_the_most_steps():
    steps = {name: system().steps_a_second(name) for name in STAGES}
    assert steps == {"semantic": 50, "coarse": 300, "fine": 300 / 8}
    steps = {name: system("delay").steps_a_second(name) for name in STAGES}
    assert steps == {"semantic": 50, "coarse": 75, "fine": 75 / 8}


# ---- parts of a song: a chart made once, and stems ----

BLOCKS = 47
BAND = band(text_vocab=50, text_pieces=3)


def play(part, seed=3, vocal=None):
    """All jobs of a part, decoded, and the schedule."""
    schedule, jobs = Schedule(system(graph=BAND), SAMPLING, seed, part), []
    schedule.add_vocal(torch.zeros(1, 2 * BLOCKS, dtype=torch.long) if vocal is None else vocal)
    schedule.end_vocal()
    while job := schedule.next_job(schedule.stages):
        jobs.append(job)
        schedule.add(job, decode(job, schedule.system.stages[job.stage].model.layout))
    return schedule, jobs


def test_a_chart_is_made_once_for_the_song_and_is_given_to_its_stems():
    beat = torch.arange(2 * BLOCKS).reshape(1, 1, -1) % 32
    given = torch.full((1, 1, BLOCKS), -1)
    schedule, jobs = play(Part("", {"beat": beat, "given": given}))
    assert schedule.stages == ("chart",) and [job.stage for job in jobs] == ["chart"] * 4
    assert all(torch.equal(job.context["beat"], beat[..., 2 * job.spans[0].start : 2 * job.spans[0].stop]) for job in jobs)
    assert all((job.context["given"] == -1).all() and job.prefix_ids == {} for job in jobs)
    chord = schedule.stream("chord")[None]
    assert chord.shape == (1, 1, BLOCKS) and chord.min() >= 0
    schedule, jobs = play(Part("bass", {"beat": beat, "chord": chord}))
    assert schedule.stages == ("semantic", "coarse", "fine"), "the chart is there"
    assert torch.equal(schedule.stream("chord"), chord[0])
    for job in jobs:
        if job.stage != "fine":
            parts = [chord[..., span.start : span.stop] for span in job.spans]
            assert torch.equal(job.context["chord"], torch.cat(parts))


def test_what_is_not_given_is_not_known():
    schedule, jobs = play(Part("drums"))
    assert schedule.stages == ("semantic", "coarse", "fine")
    shapes = {name: tuple(ids.shape) for name, ids in jobs[0].context.items()}
    assert shapes == {"vocal": (1, 1, 40), "others": (1, 1, 40), "beat": (1, 1, 40), "chord": (1, 1, 20)}
    for job in jobs:
        unknown = {"others", "beat", "chord"} & set(job.context)
        assert all((job.context[name] == -1).all() for name in unknown)
    assert [ids.shape for ids in schedule.tokens(0, BLOCKS)] == [(1, 2 * BLOCKS), (8, 3 * BLOCKS)]


def test_each_stem_has_its_token_and_draws_of_its_own():
    made = {}
    for stem in BAND.stems:
        schedule, jobs = play(Part(stem))
        made[stem] = torch.cat([ids.flatten() for ids in schedule.tokens(0, BLOCKS)])
        prefix_ids = [job.prefix_ids[STEM_TOKEN] for job in jobs if job.stage in ("semantic", "coarse")]
        assert all(ids.tolist() == [[BAND.stems.index(stem)]] for ids in prefix_ids)
        assert all(STEM_TOKEN not in job.prefix_ids for job in jobs if job.stage == "fine")
        again, _ = play(Part(stem))
        assert torch.equal(again.tokens(0, BLOCKS)[0], schedule.tokens(0, BLOCKS)[0])
    assert all((made[ALL] != made[stem]).float().mean() > 0.9 for stem in BAND.stems[:-1])
    assert (made["drums"] != made["bass"]).float().mean() > 0.9


def test_a_window_is_told_its_own_text():
    _, jobs = play(Part("bass", text=lambda start, stop: [start, stop, 7, 8, 9] if start else [5]))
    texts = [(job.spans[0].start, job.spans[0].stop, job.prefix_ids[TEXT].tolist()) for job in jobs if job.stage == "semantic"]
    assert texts[0] == (0, 20, [[5, -1, -1]])
    assert all(text == [[start, stop, 7]] for start, stop, text in texts[1:]) and len(texts) == 4


def test_what_others_play_is_heard_in_its_windows():
    others = torch.arange(2 * BLOCKS).reshape(1, 1, -1)
    _, jobs = play(Part("bass", {"others": others}))
    heard = [job for job in jobs if job.stage == "semantic"]
    for job in heard:
        assert torch.equal(job.context["others"], others[..., 2 * job.spans[0].start : 2 * job.spans[0].stop])


def test_a_stem_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no stem 'flute'; this checkpoint makes drums, bass, harmony, all"):
        Schedule(system(graph=BAND), SAMPLING, 0, Part("flute"))
    with pytest.raises(ValueError, match="no stem 'drums'; .* one track, named 'all'; .*checkpoint band"):
        Schedule(system(), SAMPLING, 0, Part("drums"))
