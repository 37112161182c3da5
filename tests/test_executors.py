"""Work by processes and by Ray: every task once, errors named, and what was killed goes on without a duplicate or a hole."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from counting import contents, make_songs, run_and_kill, tokenise
from tiny import sing

from accompgen import audio
from accompgen.cli import main
from accompgen.data.executors import WAITING_PER_WORKER, ExecutorError, run_tasks
from accompgen.data.prepare import prepare
from accompgen.data.segments import PrepareConfig


@dataclass(frozen=True)
class Square:
    """Says what it made and where; -1 is an error, -2 the end of its process."""

    device: str = "cpu"

    def load(self):
        return os.getpid()

    def work(self, loaded, number):
        if number == -1:
            raise ValueError("minus one has no square here")
        if number == -2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2, loaded, torch.get_num_threads()


def test_one_process_works_in_order_and_loads_once():
    found = list(run_tasks(Square(), {"a": (3,), "b": (-4,)}, workers=0))
    assert [(name, result[:2]) for name, result in found] == [("a", (9, os.getpid())), ("b", (16, os.getpid()))]


def test_processes_of_one_thread_each_do_every_task_once():
    found = list(run_tasks(Square(), {str(number): (number,) for number in range(6)}, workers=2))
    assert sorted((int(name), result[0]) for name, result in found) == [(number, number**2) for number in range(6)]
    assert os.getpid() not in {result[1] for _, result in found}
    assert {result[2] for _, result in found} == {1}


def test_tasks_wait_where_they_are_until_a_worker_is_near():
    """Of a million songs, a few dozen are in the hands of the pool: those that are worked at, and the next ones."""

    class Counted(dict):
        taken = 0

        def items(self):
            for item in super().items():
                Counted.taken += 1
                yield item

    tasks = Counted({str(number): (number,) for number in range(200)})
    for done, _ in enumerate(run_tasks(Square(), tasks, workers=2), 1):
        assert Counted.taken < done + 2 * (1 + WAITING_PER_WORKER)
    assert done == 200


def test_an_error_and_a_killed_worker_end_the_run_by_name():
    with pytest.raises(ValueError, match="minus one"):
        list(run_tasks(Square(), {"a": (-1,)}, workers=1))
    with pytest.raises(ExecutorError, match="a worker process died, .* call again, with fewer workers"):
        list(run_tasks(Square(), {"a": (-2,)}, workers=1))


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(ExecutorError, match="executor is 'slurm'; expected one of local, ray"):
        list(run_tasks(Square(), {}, "slurm"))
    with pytest.raises(ExecutorError, match="workers is -1"):
        list(run_tasks(Square(), {}, "local", -1))
    with pytest.raises(ExecutorError, match="workers is 0, .* and the executor is 'ray'; expected 1 worker or more"):
        list(run_tasks(Square(), {}, "ray", 0))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"pip install 'accompgen\[cluster\]'"):
        list(run_tasks(Square(), {"a": (1,)}, "ray"))


# ---- kill -9 -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return make_songs(tmp_path_factory.mktemp("songs"))


@pytest.fixture(scope="module")
def whole(songs, tmp_path_factory):
    """The shards of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "shards"
    tokenise(songs, folder)
    return contents(folder)


def test_killed_at_random_points_it_ends_like_an_uninterrupted_run(songs, whole, tmp_path):
    rng, out, stopped = random.Random(0), tmp_path / "out", []
    out.mkdir()
    for attempt in range(10):
        before, shards = set(os.listdir(out)), len(list(out.glob("shard-*")))
        if attempt % 2:  # at the moment a file appears, when it may be half
            run_and_kill(lambda: tokenise(songs, out), lambda: set(os.listdir(out)) - before)  # noqa: B023
        else:  # anywhere behind one more shard
            run_and_kill(lambda: tokenise(songs, out), lambda: len(list(out.glob("shard-*"))) > shards, rng.uniform(0, 0.1))  # noqa: B023
        there = contents(out)
        assert all(whole[name] == data for name, data in there.items() if not name.startswith("."))  # nothing is half
        stopped.append(sum(name.startswith("shard") for name in there))
    assert stopped == sorted(stopped) and len(set(stopped)) > 1, stopped  # kills at different points; nothing is lost
    tokenise(songs, tmp_path / "out")
    assert contents(tmp_path / "out") == whole


def test_workers_do_not_outlive_a_killed_parent(songs, whole, tmp_path):
    code = "import sys; from pathlib import Path; from counting import tokenise; from accompgen.data import executors\n"
    code += "if __name__ == '__main__': tokenise([Path(p) for p in sys.argv[2:]], Path(sys.argv[1]), workers=2)\n"
    script = tmp_path / "run.py"
    script.write_text(code)
    out = tmp_path / "out"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    run = subprocess.Popen(
        [sys.executable, str(script), str(out), *map(str, songs)], env=os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    )
    _wait(lambda: list(out.glob("shard-*.safetensors")) or run.poll() is not None)
    workers = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    children = workers.read_text().split() if workers.exists() else []
    ended = run.poll()
    run.kill()
    run.wait()
    assert ended is None and (children or not workers.exists())
    _wait(lambda: not any(_alive(pid) for pid in children))
    tokenise(songs, out)
    assert contents(out) == whole


def _wait(condition, seconds=600):  # only a busy machine comes near it
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _alive(pid):
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


# ---- Ray ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head that does not work, two machines of one worker each (all of them this one), and where they note what they try;
    the first of them never finishes anything."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
    from ray.cluster_utils import Cluster

    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    spare = {"object_store_memory": 80_000_000, "include_log_monitor": False, "no_monitor": True}
    os.environ["RAY_worker_niceness"] = "0"  # Ray lets its workers wait for everybody else
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **spare})
    machines = [made.add_node(num_cpus=1, **spare) for _ in range(2)]
    attempts = tmp_path_factory.mktemp("attempts")
    victim = str(machines[0].all_processes["raylet"][0].process.pid)
    environment = {
        "PYTHONPATH": os.pathsep.join(places), "COUNTING_ATTEMPTS": str(attempts), "COUNTING_STUCK_UNDER": victim,
    }  # fmt: skip
    ray.init(made.address, log_to_driver=False, runtime_env={"env_vars": environment})
    yield made, machines[0], victim, attempts
    ray.shutdown()
    made.shutdown()


def test_ray_passes_results_and_errors_on(cluster):
    found = list(run_tasks(Square(), {str(number): (number,) for number in range(12)}, "ray", workers=2))
    assert sorted((int(name), result[0]) for name, result in found) == [(number, number**2) for number in range(12)]
    with pytest.raises(ValueError, match="^minus one has no square here$"):
        list(run_tasks(Square(), {"a": (-1,)}, "ray"))


def test_prepare_on_ray_gives_what_one_process_gives(cluster, tmp_path):
    for number in range(3):
        for part, level in (("vocal", 0.1), ("accompaniment", 0.05)):
            wav = level * np.random.default_rng((number, len(part))).standard_normal((1, 40_000))
            audio.make_folder(tmp_path / "songs")
            audio.write(tmp_path / f"songs/{number}.{part}.wav", wav.astype(np.float32).clip(-1, 1), 16_000)
    (tmp_path / "songs/text.wav").write_text("no sound")
    config = PrepareConfig(sample_rate=16_000, segment_seconds=1.0, slack_seconds=0.2, min_seconds=0.4)
    reports = {}
    for executor in ("local", "ray"):
        folder = tmp_path / executor
        report = prepare(
            tmp_path / "songs", folder, config, separator="any", executor=executor, workers=0 if executor == "local" else 2
        )
        reports[executor] = {name: value for name, value in report.items() if name != "speed"}
    assert reports["ray"] == reports["local"] and reports["ray"]["songs"] == {"found": 4, "kept": 3}
    files = {executor: _untimed(tmp_path / executor) for executor in reports}
    assert files["ray"] == files["local"] and len(files["ray"]) > 20


def _untimed(folder):
    """Relative path -> content of all files but those that say how long it took."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith((".record.json", "report.json"))}


def test_generate_on_ray_gives_what_one_process_gives(cluster, tiny_checkpoint, tmp_path, capsys):
    for number in range(3):
        audio.write(tmp_path / f"{number}.wav", sing(0.3 + number / 10, 16_000), 16_000)
    (tmp_path / "bad.wav").write_text("no sound")
    songs = [{"id": f"s{name}", "vocal": f"{name}.wav"} for name in (0, "bad", 1, 2)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(song) + "\n" for song in songs))
    common = ["--manifest", str(tmp_path / "m.jsonl"), "--checkpoint", str(tiny_checkpoint), "--quiet", "--device", "cpu"]
    common += ["--guidance", "1", "--top-k", "4", "--workers"]
    assert main(["generate", *common, "1", "-o", str(tmp_path / "local")]) == 1  # one thread, as with Ray
    assert main(["generate", *common, "2", "--executor", "ray", "-o", str(tmp_path / "ray")]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("bad.wav: not sound") == 2
    listed = [sorted(Path(line).name for line in captured.out.split() if f"/{name}/" in line) for name in ("local", "ray")]
    assert listed[0] == listed[1] and len(listed[0]) == 9
    for number in range(3):
        for part in ("accompaniment", "mix"):
            name = f"s{number}.{part}.wav"
            assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_a_cluster_that_loses_a_machine_ends_like_an_uninterrupted_run(cluster, songs, whole, tmp_path):
    made, machine, victim, attempts = cluster

    def lose():
        _wait(lambda: list(attempts.glob(f"*@{victim}@*")) and list((tmp_path / "out").glob("shard-*")))
        made.remove_node(machine, allow_graceful=False)

    loser = threading.Thread(target=lose)
    loser.start()
    done = tokenise(songs, tmp_path / "out", executor="ray", workers=None)
    loser.join()
    assert done["made"] == 6 and len(made.list_all_nodes()) == 2
    tried = [path.name.partition("@")[0] for path in attempts.iterdir()]
    assert len(set(tried)) == 6 and len(tried) == 7  # what the lost machine was at was begun again by the other
    assert contents(tmp_path / "out") == whole


def test_ctrl_c_while_a_worker_starts_leaves_no_traceback():
    code = """
from accompgen import worker

def stopped():
    raise KeyboardInterrupt

worker.one_thread = stopped
worker.start_worker()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr == ""
