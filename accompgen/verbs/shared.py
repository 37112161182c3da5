"""What the verbs have in common: what is printed where, what an error of one file means, options of several."""

import argparse
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from accompgen import CHECKPOINT
from accompgen.engines import ENGINES

FORMATS_READ = "wav, flac, mp3, m4a, ogg, webm, or a video's sound"  # the most usual; docs/desk.md has all
RECORDING = f"a recording of a voice: {FORMATS_READ}"
# A path that ends so is meant as a file: of sound, of a score, of tokens or weights, of a report.
FILE_ENDINGS = (
    "wav", "flac", "mp3", "ogg", "m4a", "aac", "opus", "aif", "aiff", "mid", "midi", "lab", "txt",
    "json", "jsonl", "safetensors", "npy", "npz",
)  # fmt: skip


def explains_itself(error) -> bool:
    """Whether an error's message is meant for the user; any other one is a fault of ours and keeps its traceback."""
    return isinstance(error, (ValueError, OSError, ImportError)) or type(error).__module__.startswith("accompgen.")


def complain(error):
    """One line on stderr, whatever the message."""
    print("accompgen:", " ".join(str(error).split()), file=sys.stderr)


def for_each(paths, work) -> int:
    """Call `work(path)` for each path and print the paths it returns; an error of one file does not stop the others."""
    failed = 0
    for path in paths:
        try:
            for result in work(path):
                print_path(result)
        except Exception as error:
            if not explains_itself(error):
                raise
            failed += 1
            complain(error)
    return 1 if failed else 0


def add_out(parser, text: str, required: bool = False, default: Path | None = None):
    """The option -o of verbs that write into a folder; `text` is its help."""
    parser.add_argument(
        "-o", "--out", metavar="DIR", type=out_path, required=required, default=default, help=text
    )


def out_path(text: str, formats: tuple[str, ...] = (), takes: str = "a folder") -> Path:
    """The path that -o was given: of a folder, which need not be there yet.

    Args:
        text: what was given. A folder that is there may have any name.
        formats: the endings of files that -o takes as well, and `takes` says so.

    Raises argparse.ArgumentTypeError, which is a usage error, for another path that ends like a
    file.
    """
    path = Path(text)
    ending = path.suffix.lower()[1:]
    if ending in FILE_ENDINGS and ending not in formats and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} ends like a file; -o takes {takes}")
    return path


def refuse_same_names(parser, paths):
    """Two inputs of one name would write the same files: a usage error, before any work."""
    seen = {}
    for path in paths:
        if path.stem in seen:
            parser.error(f"{seen[path.stem]} and {path} would write the same files; rename one, or call twice")
        seen[path.stem] = path


def print_path(path):
    """A path on stdout. A reader that has gone does not stop the work."""
    try:
        print(path, flush=True)
    except BrokenPipeError:
        close_stdout()


def close_stdout():
    """Send what is printed from now on nowhere: nobody reads it, as after `| head -1`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def remark(args, text):
    """A line on stderr that --quiet leaves out."""
    if not args.quiet:
        print(text, file=sys.stderr)


def print_values(values, indent=""):
    """Nested dicts as indented lines of `name: value`."""
    for name, value in values.items():
        if isinstance(value, dict):
            print(f"{indent}{name}:")
            print_values(value, indent + "  ")
        else:
            print(f"{indent}{name}: {value}")


@contextmanager
def song_bar(quiet):
    """A progress bar over songs on stderr, as the function progress(done, total); it is there from the first song on, so that
    an error before it has a line of its own."""
    from tqdm import tqdm

    bar = None

    def show(done, total):
        nonlocal bar
        bar = bar or tqdm(desc="songs", unit="song", file=sys.stderr, disable=quiet, leave=False)
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def add_model(parser, shown: str = CHECKPOINT):
    """The options of verbs that load weights; `shown`: the default checkpoint as the help names it."""
    parser.add_argument("--checkpoint", metavar="NAME|DIR", default=CHECKPOINT, help=f"the weights (default: {shown})")
    parser.add_argument("--device", metavar="DEVICE", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no remarks on stderr, only errors")


def add_engine(parser):
    """The option of verbs that run the stages."""
    parser.add_argument(
        "--engine", choices=ENGINES, default="auto",
        help="what makes a stage's steps (default: auto, which is onnx on a CPU where onnxruntime is installed, else torch)",
    )  # fmt: skip


def add_executor(parser):
    """The options of verbs that work on many songs."""
    parser.add_argument("--executor", choices=("local", "ray"), default="local", help="processes or a cluster (default: local)")
    add_workers(parser)


def add_workers(parser):
    """How many processes work on many songs. None where it is not given."""
    parser.add_argument("--workers", metavar="N", type=int, help="processes of one thread each, 0: none but this (default: 2)")
