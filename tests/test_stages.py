"""The table of the system: rates that share one clock, and which stage hears what."""

import ast
from pathlib import Path

import pytest

from accompgen.stages import STAGES, Stream, streams

PACKAGE = Path(__file__).resolve().parents[1] / "accompgen"
# Where a word is not the name of a stage or a stream: the vocal's entry in a song's report, and a kind of tokenizer.
OTHERS = {("generation/many.py", "vocal"), ("generation/pipeline.py", "vocal"), ("generation/pipeline.py", "semantic"),
          ("verbs/generate.py", "semantic")}  # fmt: skip


def test_each_stage_reads_what_is_known_by_then():
    assert list(STAGES) == ["semantic", "coarse", "fine"]
    known = {"vocal"}
    for name, stage in STAGES.items():
        assert stage.name == name == stage.target
        assert set(stage.context) <= known, f"{name} reads a stream that no stage before it has made"
        known.add(stage.target)
    assert STAGES["coarse"].context == ("vocal", "semantic") and STAGES["fine"].context == ("coarse",)


def test_streams_of_the_published_system():
    table = streams(semantic_vocab=500, bins=1024, coarse_codebooks=4, fine_codebooks=4)
    assert table["vocal"] == Stream("vocal", hz=50, codebooks=1, vocab=500)
    assert table["semantic"] == Stream("semantic", hz=50, codebooks=1, vocab=500)
    assert table["coarse"] == Stream("coarse", hz=75, codebooks=4, vocab=1024)
    assert table["fine"] == Stream("fine", hz=75, codebooks=4, vocab=1024)
    assert all(name == stream.name for name, stream in table.items())


def test_streams_take_their_sizes():
    table = streams(semantic_vocab=64, bins=256, coarse_codebooks=2, fine_codebooks=6)
    assert (table["vocal"].vocab, table["semantic"].vocab) == (64, 64)
    assert (table["coarse"].codebooks, table["fine"].codebooks, table["fine"].vocab) == (2, 6, 256)


def test_a_tick_is_the_common_clock():
    table = streams(500, 1024, 4, 4)
    assert (table["vocal"].ticks, table["coarse"].ticks) == (3, 2)
    assert 2 * table["vocal"].ticks == 3 * table["coarse"].ticks  # 2 semantic = 3 acoustic frames = 40 ms
    for stream in table.values():
        assert stream.ticks * stream.hz == 150


def literals(source: str) -> set[str]:
    """The names of stages and streams that stand in a module as texts of their own."""
    names = {name for stage in STAGES.values() for name in (stage.name, stage.target, *stage.context)}
    found = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and type(node.value) is str}
    return found & names


def test_generation_names_no_stage_and_no_stream():
    found = set()
    for path in [*sorted((PACKAGE / "generation").glob("*.py")), PACKAGE / "verbs" / "generate.py"]:
        where = str(path.relative_to(PACKAGE))
        found |= {(where, name) for name in literals(path.read_text(encoding="utf-8"))}
    assert found == OTHERS, "derive it from stages.py"


@pytest.mark.parametrize("source", ['STAGES = ("fine",)', 'known["vocal"]', "if name == 'coarse': pass", "f(kind='semantic')"])
def test_a_literal_is_found(source):
    assert len(literals(source)) == 1
