"""The graph of the system: rates that share one clock, which stage hears what, what cannot be; and no name of it elsewhere."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from accompgen.chart import BEAT_IDS, CHORD_IDS
from accompgen.stages import (
    ACOUSTIC,
    ALL,
    BEAT,
    CHORD,
    GRAPHS,
    OTHERS,
    PUBLISHED,
    SEMANTIC,
    STEM,
    STEM_TOKEN,
    STEMS,
    TEXT,
    VOICE,
    Graph,
    GraphError,
    Stage,
    Stream,
    accompgen,
    band,
)

PACKAGE = Path(__file__).resolve().parents[1] / "accompgen"
# Where a word is not the name of a stage or of a stream, and of what it is the name.
KEY, PART, FIGURE, REPORT = "a key of a manifest", "a part of a song's name", "a measure", "an entry of a song's report"
OPTION = "what the command line asks for"
ALLOWED = {
    ("data/facts.py", "others"): "what people call a stem",
    ("data/folder_songs.py", "vocal"): KEY,
    ("data/songs.py", "vocal"): KEY,
    ("data/synthetic/make.py", "vocal"): PART,
    ("evaluation/baselines.py", "vocal"): PART,
    ("evaluation/folders.py", "vocal"): PART,
    ("evaluation/measures.py", "fine"): FIGURE,
    ("evaluation/page.py", "vocal"): PART,
    ("evaluation/entries.py", "vocal"): PART,
    ("generation/many.py", "vocal"): REPORT,
    ("generation/pipeline.py", "chart"): REPORT,
    ("generation/mixdown.py", "others"): REPORT,
    ("generation/redo.py", "others"): REPORT,
    ("generation/report.py", "vocal"): REPORT,
    ("generation/report.py", "chart"): REPORT,
    ("evaluation/chords.py", "chart"): FIGURE,
    ("evaluation/report.py", "chart"): FIGURE,
    ("evaluation/runner.py", "chart"): FIGURE,
    ("generation/song.py", "chart"): REPORT,
    ("generation/song.py", "vocal"): REPORT,
    ("web/page.py", "chart"): "what the page shows of a chart",
    ("verbs/chart.py", "chart"): OPTION,
    ("verbs/generate.py", "chart"): OPTION,
    ("verbs/generate.py", "others"): OPTION,
    ("verbs/generate_options.py", "others"): OPTION,
    ("verbs/project.py", "others"): REPORT,
    ("verbs/redo.py", "others"): OPTION,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_each_stage_reads_what_is_known_by_then(name):
    graph = GRAPHS[name]()
    assert graph.name == name
    made = {stage.target for stage in graph.stages}
    known = {stream.name for stream in graph.streams} - made
    for stage in graph.stages:
        assert set(stage.context) <= known, f"{stage.name} reads a stream that no stage before it has made"
        known.add(stage.target)
    assert {*known} == {stream.name for stream in graph.streams}
    assert graph.vocal.name in known - made and {graph.units.name, *(stream.name for stream in graph.codes)} <= made


def test_the_published_system():
    graph = accompgen(semantic_vocab=500, bins=1024, coarse_codebooks=4, fine_codebooks=4)
    assert graph.streams == (
        Stream("vocal", SEMANTIC, VOICE, 500),
        Stream("semantic", SEMANTIC, STEM, 500),
        Stream("coarse", ACOUSTIC, STEM, 1024, 4),
        Stream("fine", ACOUSTIC, STEM, 1024, 4, first=4),
    )
    assert graph == accompgen() == GRAPHS[PUBLISHED]() and graph.stems == (ALL,)
    assert graph.stage_names == ("semantic", "coarse", "fine")
    assert [stage.context for stage in graph.stages] == [("vocal",), ("vocal", "semantic"), ("coarse",)]
    assert [stage.target for stage in graph.stages] == list(graph.stage_names)
    assert not any(stage.prefix or graph.made_for_song(stage) for stage in graph.stages)
    assert graph.vocal.name == "vocal" and graph.units.name == "semantic"
    assert [stream.name for stream in graph.codes] == ["coarse", "fine"]
    tokenizers = [graph.tokenizers_of(name) for name in graph.stage_names]
    assert tokenizers == [(SEMANTIC,), (SEMANTIC, ACOUSTIC), (ACOUSTIC,)]


def test_the_band_has_a_chart_and_stems():
    graph = band(semantic_vocab=20, bins=16, coarse_codebooks=2, fine_codebooks=3, text_vocab=50, text_pieces=6)
    assert graph.stage_names == ("chart", "semantic", "coarse", "fine") and graph.stems == (*STEMS, ALL)
    assert [graph.made_for_song(stage) for stage in graph.stages] == [True, False, False, False]
    assert (graph.stream("beat").vocab, graph.stream("chord").vocab) == (BEAT_IDS, CHORD_IDS)
    assert [stream.name for stream in graph.streams_of(OTHERS)] == ["others"]
    assert graph.prefix_sizes("semantic") == ((STEM_TOKEN, 4, 1), (TEXT, 50, 6))
    assert graph.prefix_sizes("coarse") == graph.prefix_sizes("semantic")  # units have no timbre: codes read the text, too
    assert graph.prefix_sizes("chart") == ((TEXT, 50, 6),) and graph.prefix_sizes("fine") == ()
    assert graph.tokenizers_of("chart") == (SEMANTIC,)
    assert graph.stream("fine").first == graph.stream("coarse").codebooks == 2
    without = band()
    assert without.prefix_sizes("semantic") == ((STEM_TOKEN, 4, 1),) and without.prefix_sizes("chart") == ()


def test_streams_take_their_sizes():
    graph = accompgen(semantic_vocab=64, bins=256, coarse_codebooks=2, fine_codebooks=6)
    assert (graph.vocal.vocab, graph.units.vocab) == (64, 64)
    assert [(stream.codebooks, stream.first, stream.vocab) for stream in graph.codes] == [(2, 0, 256), (6, 2, 256)]


def test_a_tick_is_the_common_clock():
    graph = band()
    assert [graph.stream(name).hz for name in ("vocal", "beat", "chord", "coarse")] == [50, 50, 25, 75]
    assert 2 * graph.vocal.ticks == 3 * graph.stream("coarse").ticks  # 2 semantic = 3 acoustic frames = 40 ms
    for stream in graph.streams:
        assert stream.ticks * stream.hz == 150


def test_arrays_of_a_stream_by_what_is_made():
    streams = {stream.name: stream for stream in band().streams}
    assert streams["vocal"].array("bass") == "semantic/vocal"
    assert streams["semantic"].array("bass") == "semantic/bass" and streams["fine"].array(ALL) == "acoustic/all"
    assert streams["others"].array("bass", "drums+harmony") == "semantic/drums+harmony"
    assert streams["others"].array("bass") is None
    assert (streams["beat"].array("bass"), streams["chord"].array("")) == (BEAT, CHORD)


VOCAL, UNITS = Stream("vocal", SEMANTIC, VOICE, 5), Stream("units", SEMANTIC, STEM, 5)
STAGE = Stage("semantic", ("vocal",), "units")


@pytest.mark.parametrize(
    "streams, stages, words",
    [
        ((VOCAL, UNITS, UNITS), (STAGE,), "stream 'units' stands there twice"),
        ((VOCAL, UNITS), (STAGE, STAGE), "stage 'semantic' stands there twice"),
        ((VOCAL, UNITS), (STAGE, replace(STAGE, name="other")), "target 'units' stands there twice"),
        ((VOCAL, replace(UNITS, tokenizer="mel")), (STAGE,), "stream 'units' is of tokenizer 'mel'.*semantic, acoustic"),
        ((VOCAL, replace(UNITS, track="choir")), (STAGE,), "track 'choir'; expected"),
        ((VOCAL, UNITS), (replace(STAGE, context=("vocals",)),), "needs 'vocals', which is no stream"),
        ((VOCAL, UNITS), (replace(STAGE, target="codes"),), "needs 'codes', which is no stream"),
        (
            (VOCAL, UNITS, Stream("codes", ACOUSTIC, STEM, 9)),
            (replace(STAGE, context=("codes",)), Stage("coarse", ("vocal",), "codes")),
            "stage 'semantic' reads 'codes' before it is made",
        ),
        ((VOCAL, UNITS), (replace(STAGE, prefix=("mood",)),), "has the prefix 'mood'"),
        ((UNITS,), (replace(STAGE, context=()),), "needs one stream of the track 'vocal'"),
        ((VOCAL, replace(VOCAL, name="second"), UNITS), (STAGE,), "needs one stream of the track 'vocal'"),
    ],
)
def test_what_cannot_be_is_named(streams, stages, words):
    with pytest.raises(GraphError, match=words):
        Graph("own", streams, stages)
    Graph("own", (VOCAL, UNITS), (STAGE,))


def test_a_name_that_is_none_is_answered_with_those_there_are():
    with pytest.raises(KeyError, match="no 'bass'; there are semantic, coarse, fine"):
        accompgen().stage("bass")
    with pytest.raises(KeyError, match="no 'chord'; there are vocal, semantic, coarse, fine"):
        accompgen().stream("chord")


# ---- nobody else knows the names ----


def literals(source: str) -> set[str]:
    """The names of stages and streams that stand in a module as texts of their own."""
    graphs = [make() for make in GRAPHS.values()]
    names = {row.name for graph in graphs for row in (*graph.streams, *graph.stages)}
    found = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and type(node.value) is str}
    return found & names


def test_the_package_names_no_stage_and_no_stream():
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where != "stages.py":
            found |= {(where, name) for name in literals(path.read_text(encoding="utf-8"))}
    assert found == set(ALLOWED), "derive it from stages.py, or say in ALLOWED what else the word means"


@pytest.mark.parametrize(
    "source", ['STAGES = ("fine",)', 'known["vocal"]', "if name == 'coarse': pass", "f(kind='semantic')", 'made == "chord"']
)
def test_a_literal_is_found(source):
    assert len(literals(source)) == 1
