"""The benchmark in quick mode on minute models: every row and ratio is there, and the numbers fit each other."""

import json
import runpy
import subprocess
from dataclasses import replace
from itertools import product

import pytest
import tiny
import torch
from torch.utils.flop_counter import FlopCounterMode

from accompgen.config import StageConfig
from accompgen.generation.decode import decode
from accompgen.generation.sampling import Sampling
from accompgen.model.stage_lm import StageLM

pytest.importorskip("x_transformers", reason="the peers need x-transformers: pip install 'accompgen[reference]'")
PEERS = ("x-transformers", "Llama", "MusicGen")
LEAST = dict(width=32, layers=2, heads=2, context_layers=1)


@pytest.fixture
def tools(load_tools, monkeypatch):
    """The modules of the benchmark by name, with minute sizes."""
    # each after those that it imports
    names = ("report", "peers", "summary", "decode", "song", "training", "start", "busy")
    modules = {name: load_tools(f"bench_{name}") for name in names} | {"bench": load_tools("bench")}
    monkeypatch.setattr(modules["decode"], "QUICK_SIZES", {"least": (LEAST, 16, 8)})
    monkeypatch.setattr(modules["decode"], "QUICK_LOAD", (16, 8))
    monkeypatch.setattr(modules["decode"], "QUICK_BUFFER_MB", 1)
    monkeypatch.setattr(modules["training"], "QUICK_SIZES", {"least": (LEAST, 2, 6, False)})
    monkeypatch.setattr(modules["training"], "QUICK_PEAK_SIDE", 64)
    return modules


@pytest.fixture
def quick(tools, tiny_checkpoint):
    """Options for a minute benchmark of the CPU."""
    return tools["report"].Options(checkpoint=str(tiny_checkpoint), quick=True, devices=("cpu",))


def test_decoding_has_every_row_and_its_numbers_fit(tools, quick):
    part = tools["decode"]
    measured = part.measure(quick)
    types = dict.fromkeys(["float32", str(part.decoding_dtype("cpu")).removeprefix("torch.")])
    systems = [*(f"accompgen, {stage}" for stage in part.STAGES), *PEERS]
    cells = [
        (size, weights, songs)
        for size, weights in product((quick.checkpoint, "least"), types)
        for songs in (part.QUICK_SONGS if weights == [*types][-1] else (1,))
    ]
    names = ("size", "weights", "songs", "system")
    rows = {tuple(row[name] for name in names): row for row in measured["rows"]}
    theirs = {"float32": "float32", "float16": "bfloat16", "bfloat16": "bfloat16"}  # ours -> the peers' beside it
    expected = [(*cell, system) for cell in cells for system in systems]
    expected = [(size, theirs[w] if system in PEERS else w, songs, system) for size, w, songs, system in expected]
    compiled = {row: rows.pop(row) for row in list(rows) if "onnx" in row[3]}
    assert list(rows) == expected
    if part.choose_engine("auto", "cpu") == "onnx":
        songs = {row[2] for row in compiled}
        assert {row[3] for row in compiled} >= {f"accompgen, {stage}, onnx float32" for stage in part.STAGES}
        assert songs == set(part.QUICK_SONGS)
    for row in rows.values():
        speed, limit, share = (row[name].runs for name in ("steps_per_second", "bandwidth", "share_of_bandwidth"))
        assert share == pytest.approx([a * row["bytes_per_step"] / b for a, b in zip(speed, limit)])
        assert min(speed) > 0 and min(limit) > 1e8
    plain = [row for row in measured["rows"] if "onnx" not in row["system"]]
    rows = dict(zip([(*cell, system) for cell in cells for system in systems], plain))  # by our weights
    for cell in cells:
        assert len({rows[*cell, system]["positions"] for system in ("accompgen, coarse", *PEERS)}) == 1, "as long a cache"
    coarse, llama = (rows["least", "float32", 1, system] for system in ("accompgen, coarse", "Llama"))
    assert coarse["parameters"] == pytest.approx(llama["parameters"], rel=0.02), "but for norms and biases"
    ratios = [ratio for ratio in measured["ratios"] if "onnx" not in ratio["of"]]
    for ratio in ratios:
        cell = tuple(ratio[name] for name in names[:3])
        over = ratio["over"].removeprefix("the best peer, ")
        a, b = (rows[*cell, system]["steps_per_second"].runs for system in ("accompgen, coarse", over))
        assert ratio["ratio"].runs == pytest.approx([x / y for x, y in zip(a, b)])
        if over != ratio["over"]:
            best = max(PEERS, key=lambda peer: rows[*cell, peer]["steps_per_second"].median)
            assert over == best
    assert len(ratios) == len(cells) * (len(PEERS) + 1) and len(measured["ratios"]) == len(ratios) + len(compiled)
    shown = part.text(measured)
    assert shown.count("\n| cpu ") == len(rows) + len(compiled) + len(measured["ratios"])


def test_bytes_of_a_step_by_hand(tools):
    model = tiny.make_stage("coarse")
    ours = tools["decode"].Ours("coarse", model, None, songs=3, positions=16, steps=8, device="cpu")
    blocks = model.decoder.state_dict().values()
    layers, width, rows = model.config.layers, model.config.width, 2 * 3
    assert (ours.positions, ours.frames) == (17, 8 + 1 + 4), "two codebooks a frame, BOS"
    cache = (17 + 26) / 2 * 2 * layers * rows * width * 4  # in the middle of the steps
    heads = tiny.BINS * width * 4  # those of one codebook
    assert ours.bytes_per_step == sum(tensor.nbytes for tensor in blocks) + heads + cache
    assert ours.sound_per_step == 3 / 150, "three songs, 75 frames of two codebooks a second"
    (llama,) = (p for p in tools["peers"].peers(StageConfig("coarse", **LEAST), 100, 50, "cpu") if p.name == "Llama")
    weights = 2 * (16 * 32 * 32 + 2 * 32) + 32 + 100 * 32  # matrices and norms of two layers, last norm, head
    assert llama.bytes_per_step(20, songs=3) == 4 * (weights + 20 * 6 * 2 * 2 * 32)


def test_steps_are_counted_as_the_model_takes_them(tools, monkeypatch):
    for stage, pattern in [("semantic", "interleave"), ("coarse", "interleave"), ("coarse", "delay"), ("fine", "delay")]:
        model = StageLM(replace(tiny.make_stage(stage).config, pattern=pattern)).eval()
        ours = tools["decode"].Ours(stage, model, None, songs=1, positions=8, steps=8, device="cpu")
        now, steps, step = [0.0], [0], model.step

        def counted(*args, step=step, now=now, steps=steps):
            now[0], steps[0] = now[0] + 0.5, steps[0] + 1
            return step(*args)

        monkeypatch.setattr(model, "step", counted)
        monkeypatch.setattr(tools["decode"], "wait", lambda device, now=now: now[0])
        assert ours() == 2.0, "half a second each"
        assert steps[0] >= 8


def test_what_is_remembered_of_a_prompt_changes_no_code(tools):
    model = tiny.make_stage("coarse")
    context = {"vocal": torch.randint(20, (1, 1, 8)), "semantic": torch.randint(20, (1, 1, 8))}
    prompt = torch.randint(16, (1, 2, 4))

    def codes():
        return decode(model, context, 12, Sampling(), [torch.Generator().manual_seed(1)], prompt)

    plain = codes()
    memory = tools["peers"].Remembered(model, "start")
    for _ in range(3):  # the first reads the prompt, the others have the cache of a step before its first write
        memory.begin("it")
        assert torch.equal(codes(), plain)
    prompt = (prompt + 1) % 16
    memory.begin("another")
    other = codes()
    memory.begin("another")
    assert torch.equal(codes(), other) and torch.equal(other[..., :4], prompt)


def test_songs_are_measured_in_parts_that_add_up(tools, quick, monkeypatch):
    part = tools["song"]
    monkeypatch.setattr(part, "QUICK_LENGTHS", {1.2: 2, 2.4: 1})
    answer = lambda command: json.dumps(part.main(json.loads(command[2])))  # noqa: E731, in this process: it is faster
    done = lambda command, **_: subprocess.CompletedProcess(command, 0, f"a line\n{answer(command)}\n", "")  # noqa: E731
    monkeypatch.setattr(part.subprocess, "run", done)
    measured = part.measure(quick)
    short, long = measured["rows"]
    assert [row["length_seconds"] for row in (short, long)] == [1.2, 2.4]
    assert [len(row["real_time_factor"].runs) for row in (short, long)] == [2, 1]
    for row in (short, long):
        parts = [row["seconds"][name].runs for name in part.STEPS]
        assert [sum(run) for run in zip(*parts)] == pytest.approx(row["seconds"]["total"].runs, abs=0.005)
        assert row["real_time_factor"].times(row["length_seconds"]).runs == pytest.approx(row["seconds"]["total"].runs)
        assert row["peak_mb"] >= row["loaded_mb"] > 50
    (growth,) = measured["growth"]
    extra = long["seconds"]["total"].median - short["seconds"]["total"].median
    assert growth["seconds_per_second"] == pytest.approx(extra / 1.2)
    assert growth["mb_per_minute"] == pytest.approx((long["peak_mb"] - short["peak_mb"]) * 50)
    assert "| 1.2 s " in part.text(measured)


def test_a_song_that_fails_says_why(tools, quick, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nCheckpointError: no such checkpoint\n")
    monkeypatch.setattr(tools["song"].subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(tools["report"].BenchError, match="1.2 s on cpu was not made: CheckpointError: no such checkpoint"):
        tools["song"].measure(quick)


def test_training_has_every_row_and_its_numbers_fit(tools, quick):
    measured = tools["training"].measure(quick)
    rows = {(row["arithmetic"], row["system"]): row for row in measured["rows"]}
    assert list(rows) == [*product(("float32", "bfloat16"), ("accompgen", "x-transformers"))]
    for row in rows.values():
        speed, peak = row["positions_per_second"].runs, row["peak_flop_per_second"].runs
        assert row["utilisation"].runs == pytest.approx([a * row["flop_per_position"] / b for a, b in zip(speed, peak)])
        assert row["positions_a_step"] == 2 * 6 * 4
    for ratio in measured["ratios"]:
        a, b = (rows[ratio["arithmetic"], name]["positions_per_second"].runs for name in ("accompgen", "x-transformers"))
        assert ratio["ratio"].runs == pytest.approx([x / y for x, y in zip(a, b)])
    assert "x-transformers" in tools["training"].text(measured)


@pytest.mark.parametrize("pattern, positions", [("interleave", 12 * 4), ("delay", 12 + 3)])
def test_model_flop_are_those_that_torch_counts(tools, pattern, positions):
    part = tools["training"]
    model = StageLM(StageConfig("coarse", width=32, layers=3, heads=2, context_layers=2, pattern=pattern))
    context, target = part._ids(model, batch=2, frames=12)
    with FlopCounterMode(display=False) as counter:
        part.Ours(model, context, target)().backward()
    counts = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    masked = 3 * 2 * positions * 6 * positions * 32  # half of the decoder's attention: torch counts it, the formulas do not
    assert part.flop(model, 2, 12) + masked == pytest.approx(sum(counts.values()), rel=0.03)


def test_a_device_that_is_not_there_is_not_measured(tools, quick, monkeypatch):
    options = tools["report"].Options(quick.checkpoint, quick=True, devices=("cuda",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("decode", "song", "training"):
        measured = tools[name].measure(options)
        assert [row["device"] for row in measured["rows"]] == ["cuda"]
        assert "not measured" in tools[name].text(measured)


def test_starting_is_measured_in_fresh_processes(tools, quick, monkeypatch):
    commands, run = [], tools["start"]._run
    cheap = lambda words, threads: run(words, threads) if "generate" not in words else 1.5  # noqa: E731
    monkeypatch.setattr(tools["start"], "_run", lambda words, threads: (commands.append(words), cheap(words, threads))[1])
    measured = tools["start"].measure(quick)
    seconds = {row["what"]: row["seconds"].median for row in measured["rows"]}
    assert seconds["accompgen generate, 1.2 s of singing, cpu"] == 1.5
    assert 0 < seconds["python, nothing imported"] < seconds["accompgen --help"]
    assert commands[-1][:3] == ["-m", "accompgen", "generate"] and quick.checkpoint in commands[-1]
    with pytest.raises(tools["report"].BenchError, match="ZeroDivisionError"):
        run(["-c", "1 / 0"], 1)


def test_a_busy_machine_is_measured_beside_an_idle_one(tools, quick, monkeypatch):
    beside, busy = [], tools["busy"]._busy
    monkeypatch.setattr(tools["busy"], "_busy", lambda: (beside.append(1), busy())[1])
    monkeypatch.setattr(tools["busy"], "_run", lambda command, threads: (2.0 + len(beside), 2.0))
    measured = tools["busy"].measure(quick)
    assert [row["busy"] for row in measured["rows"]] == [0, 1, 2] and len(beside) == 3
    assert [row["wall_ratio"].median for row in measured["rows"]] == [1.0, 1.5, 2.5]
    assert {row["processor_ratio"].median for row in measured["rows"]} == {1.0}
    assert tools["busy"].text(measured).count("\n") == 5


@pytest.mark.parametrize("name", ["decode", "song", "training", "start", "busy"])
def test_a_part_can_be_called_by_itself(name, tools, root, monkeypatch):
    asked = []
    monkeypatch.setattr(tools["bench"], "main", lambda words: asked.append(words) or 3)
    monkeypatch.setattr("sys.argv", [f"bench_{name}.py", "--quick"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tools" / f"bench_{name}.py"), run_name="__main__")
    assert asked == [[name, "--quick"]] and end.value.code == 3


def test_a_busy_run_counts_its_own_time_and_says_why_it_failed(tools):
    wall, processor = tools["busy"]._run([tools["bench"].sys.executable, "-c", "import time; time.sleep(0.3)"], 0)
    assert wall >= 0.3 > processor > 0
    with pytest.raises(tools["report"].BenchError, match="failed: oh no$"):
        tools["busy"]._run([tools["bench"].sys.executable, "-c", "raise SystemExit('oh no')"], 0)


def test_results_keep_the_parts_of_other_calls(tools, quick, tmp_path, capsys):
    asked = ["--quick", "--checkpoint", quick.checkpoint, "--devices", "cpu", "-o", str(tmp_path)]
    assert tools["bench"].main(["training", *asked]) == 0
    first = json.loads((tmp_path / "results.json").read_text())
    earlier = first["training"] | {
        "rows": [{"what": "python", "seconds": first["training"]["rows"][0]["positions_per_second"]}]
    }
    (tmp_path / "results.json").write_text(json.dumps({"start": earlier}))
    assert tools["bench"].main(["training", "--seed", "3", *asked]) == 0
    both = json.loads((tmp_path / "results.json").read_text())
    assert both["start"] == earlier and both["training"]["about"]["seed"] == 3
    assert {"cpu", "cores", "threads", "gpu", "torch", "commit", "date"} <= set(both["training"]["about"])
    figure = both["training"]["rows"][0]["positions_per_second"]
    assert figure["low"] <= figure["median"] <= figure["high"] and len(figure["runs"]) == 2
    printed, written = capsys.readouterr().out, (tmp_path / "results.md").read_text()
    assert (tmp_path / "summary.md").read_text().count("| training on cpu, least, bfloat16") == 1
    assert both["training"]["text"] in printed and both["training"]["text"] in written and "## start" in written


def test_the_summary_sets_goals_beside_the_figures_that_have_one(tools):
    def figure(median):
        return {"median": median, "low": median / 2, "high": median * 2}

    about = {"cpu": "a chip", "threads": 2, "torch": "2", "commit": "abc", "date": "2026-11-20T20:00", "quick": False}
    about["checkpoint"] = "pocket"
    cell = {"device": "cpu", "size": "35 M", "songs": 1}
    steps = dict(system="accompgen, coarse", steps_per_second=figure(100), share_of_bandwidth=figure(0.6))
    decode = [cell | steps | {"weights": "float32"}, cell | steps | {"weights": "float16", "steps_per_second": figure(150)}]
    best = {"of": "coarse", "over": "the best peer, Llama", "ratio": figure(2.5)}
    others = [cell | best | {"weights": "float32"}, cell | best | {"weights": "float16", "ratio": figure(3)}]
    others.append(others[-1] | {"over": "Llama"})
    songs = [dict(device="cpu", length_seconds=s, real_time_factor=figure(0.4), peak_mb=900.4) for s in (30.0, 240.0)]
    start = [dict(what=name, seconds=figure(0.25)) for name in ("python, nothing imported", "accompgen --help")]
    results = {
        "decode": dict(about=about, rows=[*decode, dict(device="cuda", steps_per_second="not measured")], ratios=others),
        "song": dict(about=about, rows=[*songs, dict(device="cuda", real_time_factor="not measured")]),
        "start": dict(about=about | {"commit": "def"}, rows=start),
    }
    shown = tools["summary"].summary(results)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if line.startswith("| ")][1:]
    coarse = "decoding on cpu, 35 M, one song, float16 weights: "
    assert cells == [
        [coarse + "guided steps a second", "–", "150 (75.0–300)"],
        [coarse + "share of the memory's bandwidth", "at least 60 %", "60.0 % (30.0–120)"],
        [coarse + "over the best peer, Llama", "at least 2.5", "3.00 (1.50–6.00)"],
        ["30 s of song on cpu, pocket: real-time factor", "at most 0.5", "0.400 (0.200–0.800)"],
        ["240 s of song on cpu, pocket: real-time factor", "–", "0.400 (0.200–0.800)"],
        ["240 s of song on cpu, pocket: peak memory", "at most 2000 MB", "900 MB"],
        ["decoding on cuda, 250 M, one song: share of the memory's bandwidth", "at least 50 %", "not measured"],
        ["a song on cuda, base: real-time factor", "at most 0.05", "not measured"],
        ["accompgen --help", "–", "0.250 s (0.125–0.500)"],
    ]
    assert "decode, song: a chip, 2 threads, torch 2, commit abc, 2026-11-20." in shown and "start: a chip" in shown


@pytest.mark.parametrize(
    "options, status, says",
    [
        (["dekode"], 2, "no such part: dekode; there are decode, song, training, start, busy"),
        (["--devices", "tpu"], 2, "invalid choice: 'tpu'"),
        (["training", "--threads", "999"], 1, "threads is 999; expected 1 to"),
        (["decode", "--devices", "cpu", "--quick", "--checkpoint", "nobody"], 1, "nobody"),
    ],
)
def test_wrong_options_get_a_clear_line(tools, tmp_path, capsys, options, status, says):
    try:
        found = tools["bench"].main([*options, "-o", str(tmp_path)])
    except SystemExit as end:
        found = end.code
    assert (found, list(tmp_path.iterdir())) == (status, []) and says in capsys.readouterr().err


def test_a_foreign_file_is_not_replaced(tools, tmp_path, capsys):
    (tmp_path / "results.json").write_text('{"mine": 1}')
    assert tools["bench"].main(["start", "--quick", "-o", str(tmp_path)]) == 1
    assert (tmp_path / "results.json").read_text() == '{"mine": 1}'
    assert "does not hold results of this benchmark" in capsys.readouterr().err


def test_figures_read_well(tools):
    figure, short = tools["report"].Figure, tools["report"].short
    assert str(figure((2.0, 1.0, 4.0))) == "2.00 (1.00–4.00)" and str(figure((12345.6,))) == "12346 (one run)"
    assert [short(value) for value in (0.0123, 0.999, 12.345, 0, 123456.7)] == ["0.0123", "0.999", "12.3", "0", "123457"]
    turns = []
    runs = {"a": lambda: turns.append("a") or len(turns), "b": lambda: turns.append("b") or len(turns)}
    found = tools["report"].rounds(runs, 2)
    assert turns == ["a", "b"] * 3 and found["a"].runs == (3, 5) and found["a"].over(found["b"]).runs == (3 / 4, 5 / 6)


def test_make_passes_its_options_on(root):
    command = ["make", "-n", "bench", "WHAT=decode song", "QUICK=1", "VENV=somewhere"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert "somewhere/bin/python tools/bench.py decode song --quick -o 'bench'" in done.stdout
