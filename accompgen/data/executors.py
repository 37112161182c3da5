"""The same work on many things: by processes of this machine, or by a Ray cluster. No scheduler of our own.

A job is a frozen dataclass that can be pickled, with two methods: `load()` gives what a process needs once (models), and
`work(loaded, *task)` does one task. Whatever lasts is written by `work` itself, whole or not at all, to a folder that all
workers see: so a task may be done twice (Ray repeats those of a machine it lost), and a run that was killed is simply called
again.
"""

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache

from accompgen.worker import start_worker

EXECUTORS = ("local", "ray")
RETRIES = 5  # how often Ray repeats a task whose worker or machine was lost
WAITING_PER_WORKER = 4  # tasks handed on beyond those that run, so that a million of them do not sit in memory


class ExecutorError(RuntimeError):
    """Workers that cannot be had, or that died; the message says what to do."""


def check_executor(executor: str, workers: int | None) -> None:
    """Raise ExecutorError for an unknown executor, a number of workers that it cannot have, or Ray
    where it is not installed."""
    if executor not in EXECUTORS:
        raise ExecutorError(f"executor is {executor!r}; expected one of {', '.join(EXECUTORS)}")
    if workers is not None and workers < 0:
        raise ExecutorError(f"workers is {workers}; expected 0 (this process alone) or more")
    if executor == "ray" and workers == 0:
        raise ExecutorError(
            "workers is 0, which is this process alone, and the executor is 'ray'; expected 1 worker or more, or 'local'"
        )
    if executor == "ray":
        _import_ray()


def run_tasks(job, tasks: dict, executor: str = "local", workers: int | None = None):
    """Do all tasks and yield (name, result) as they are finished, in any order.

    Args:
        job: see above; it decides what is done.
        tasks: name -> the arguments of `job.work` after `loaded`, a tuple.
        executor: "local": processes of this machine, one thread each; "ray": the cluster at RAY_ADDRESS or the one that runs on
            this machine, else one made for this call. A job whose `device` is cuda asks Ray for one GPU a task.
        workers: processes, or tasks that Ray runs at once. None: 2 processes, or all of the cluster; 0, for local alone: this
            process, no other.

    Raises:
        ExecutorError: see `check_executor`; a local worker that was killed.
        Whatever `job.work` raises: the first error ends the run; tasks that are done are done.
    """
    check_executor(executor, workers)
    if not tasks:
        return
    if executor == "ray":
        yield from _by_ray(job, tasks, workers)
    elif workers == 0:
        loaded = job.load()
        for name, task in tasks.items():
            yield name, job.work(loaded, *task)
    else:
        yield from _by_processes(job, tasks, 2 if workers is None else workers)


def _by_processes(job, tasks, workers):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), spawn, initializer=start_worker) as pool:
        limit, left, futures = workers * (1 + WAITING_PER_WORKER), iter(tasks.items()), {}
        try:
            while True:
                while len(futures) < limit and (item := next(left, None)) is not None:
                    futures[pool.submit(_work, job, item[1])] = item[0]
                if not futures:
                    return
                for done in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(done), done.result()
        except BrokenProcessPool as error:
            raise ExecutorError(
                "a worker process died, perhaps for want of memory; what was finished is kept: call again, with fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _work(job, task):
    return job.work(_loaded(job), *task)


@lru_cache(maxsize=1)
def _loaded(job):
    """What a job needs, kept in this process from task to task."""
    return job.load()


def _by_ray(job, tasks, workers):
    ray = _import_ray()
    mine = not ray.is_initialized()
    if mine:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        on_gpu = str(getattr(job, "device", "cpu")).startswith("cuda")
        remote = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=RETRIES)(_work)
        limit = workers or int(ray.cluster_resources().get("CPU", 1)) * (1 + WAITING_PER_WORKER)
        shared, left, futures = ray.put(job), iter(tasks.items()), {}
        while True:
            while len(futures) < limit and (item := next(left, None)) is not None:
                futures[remote.remote(shared, item[1])] = item[0]
            if not futures:
                return
            for done in ray.wait(list(futures))[0]:
                yield futures.pop(done), _result(ray, done)
    finally:
        if mine:
            ray.shutdown()


def _result(ray, done):
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:  # the error of the task itself, without the tale of where it ran
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise ExecutorError(
            f"Ray gave a task up: {' '.join(str(error).split())[:300]}; what was finished is kept: call again"
        ) from error


def _import_ray():
    try:
        import ray
    except ImportError as error:
        raise ExecutorError("Ray is not installed: pip install 'accompgen[cluster]', or use --executor local") from error
    return ray
