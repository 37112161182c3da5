"""The schedule of a song: what waits for what, and ids that do not depend on the order in which windows are decoded."""

import random
from types import SimpleNamespace

import pytest
import torch

from accompgen.generation.decode import EARLIER_VOCAL
from accompgen.generation.sampling import Sampling
from accompgen.generation.schedule import LoadedStage, Schedule, steps_a_second
from accompgen.layout import Layout
from accompgen.stages import CODES, STAGES, UNITS, VOCAL, streams

SAMPLING = dict.fromkeys(STAGES, Sampling())
WINDOWS = {"semantic": 0.8, "coarse": 0.36, "fine": 0.24}  # 20, 9 and 6 blocks, with prompts of 10, 3 and 0


def stages(pattern="interleave"):
    table = streams(500, 1024, 4, 4)
    models = {
        name: SimpleNamespace(layout=Layout.of(name, table, pattern), check_telling=lambda **asked: None) for name in STAGES
    }
    return {name: LoadedStage(models[name], WINDOWS[name]) for name in STAGES}


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
    schedule, made = Schedule(stages(), SAMPLING, 3, **settings), []
    pieces = list(vocal.split(sizes or vocal.shape[1], dim=1))
    while pieces:
        schedule.add_vocal(pieces.pop(0))
        if not pieces:
            schedule.end_vocal()
        while job := schedule.next_job(next(orders)):
            schedule.add(job, decode(job, schedule.stages[job.stage].model.layout))
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
    schedule = Schedule(stages(), SAMPLING, 0)
    assert schedule.next_job(STAGES) is None
    schedule.add_vocal(torch.zeros(1, 2 * 19, dtype=torch.long))
    assert schedule.next_job(STAGES) is None, "a window of the first stage has 20 blocks, and the vocal may go on"
    schedule.add_vocal(torch.zeros(1, 2 * 2, dtype=torch.long))
    job = schedule.next_job(STAGES)
    assert job.stage == "semantic" and (job.spans[0].start, job.spans[0].stop) == (0, 20)
    assert schedule.next_job(["coarse", "fine"]) is None
    schedule.add(job, decode(job, schedule.stages[job.stage].model.layout))
    assert schedule.next_job(["semantic", "fine"]) is None
    job = schedule.next_job(STAGES)
    assert (job.stage, job.frames, set(job.context)) == ("coarse", 27, {VOCAL, UNITS})
    with pytest.raises(ValueError, match="S even and at least 2"):
        schedule.add_vocal(torch.zeros(1, 3, dtype=torch.long))


def test_all_ids_are_those_of_its_jobs():
    for blocks in (1, 47, 130):
        schedule = Schedule(stages(), SAMPLING, 0)
        schedule.add_vocal(torch.zeros(1, 2 * blocks, dtype=torch.long))
        schedule.end_vocal()
        total, counted = schedule.all_ids(), 0
        while job := schedule.next_job(STAGES):
            counted += schedule.ids_of(job.stage, job.spans[0])
            schedule.add(job, decode(job, schedule.stages[job.stage].model.layout))
        assert counted == total


def test_the_stage_of_the_most_steps():
    steps = {name: steps_a_second(name, stage) for name, stage in stages().items()}
    assert steps == {"semantic": 50, "coarse": 300, "fine": 300 / 8}
    steps = {name: steps_a_second(name, stage) for name, stage in stages("delay").items()}
    assert steps == {"semantic": 50, "coarse": 75, "fine": 75 / 8}


def test_roles_of_streams():
    made = {stage.target for stage in STAGES.values()}
    assert VOCAL not in made and {UNITS, *CODES} <= made
