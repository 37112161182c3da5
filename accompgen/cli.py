"""The command line: reads the arguments, calls a verb (verbs/), and says what went wrong.

Results go to stdout, progress and remarks to stderr. Exit status: 0 all done, 1 something failed, 2 usage, 130 interrupted.
Whatever takes time to import is imported inside the verbs, so that --help answers at once.
"""

import argparse
import difflib
import io
import sys
import warnings

from accompgen.verbs import (
    adopt,
    chart,
    data,
    evaluation,
    generate,
    project,
    redo,
    tokens,
    training,
    web,
)
from accompgen.verbs.shared import close_stdout, complain, explains_itself


def _print_any_name():
    """A name that stdout cannot show is no failure of what was done: its bytes are written, or an escape stands for them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf else "backslashreplace")


def main(argv=None) -> int:
    """Run one command; returns the exit status."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()
        return 0


def _run(argv):
    from accompgen.files import SoundWarning, show_warnings_plainly

    parser = argparse.ArgumentParser(prog="accompgen", description="A singing voice goes in, a band comes out.")
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # put here by deepspeed's launcher; the environment has it
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for add in (generate.add_generate, redo.add_redo, chart.add_chart, project.add_project, web.add_web):
        add(verbs)
    for add in (tokens.add_encode, tokens.add_decode):
        add(verbs)
    for add in (data.add_synthesize, data.add_prepare, data.add_tokenize, training.add_train, training.add_export):
        add(verbs)
    adopt.add_adopt(verbs)
    for add in (evaluation.add_evaluate, evaluation.add_baselines, training.add_fetch, evaluation.add_info):
        add(verbs)
    _print_any_name()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        _refuse(verbs.choices[args.verb], unknown)
    show_warnings_plainly()
    try:
        with warnings.catch_warnings():
            if getattr(args, "quiet", False):
                warnings.simplefilter("ignore", SoundWarning)
            return args.run(args)
    except KeyboardInterrupt:
        print("accompgen: interrupted; what was finished is kept, nothing is half-written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if not explains_itself(error):
            raise
        complain(error)
        return 1


def _refuse(parser, unknown):
    """A usage error of the verb itself, with the options that look like what was given."""
    given = next((word for word in unknown if word.startswith("-")), unknown[0]).partition("=")[0]
    options = [name for name in parser._option_string_actions if name.startswith("--")]
    near = difflib.get_close_matches(given, options, n=2, cutoff=0.7)
    parser.error(f"there is no {given}{'; did you mean ' + ' or '.join(near) + '?' if near else f'; see {parser.prog} --help'}")
