"""The clock: each conversion by hand, and that no other module has its rates as numbers."""

import ast
from pathlib import Path

import pytest

from accompgen.time import (
    ACOUSTIC_HZ,
    BLOCKS_PER_SECOND,
    SEMANTIC_HZ,
    TICKS_PER_SECOND,
    blocks_covering,
    blocks_of,
    blocks_within,
    frames_of,
    seconds_of,
    ticks_of,
    whole_blocks,
)

PACKAGE = Path(__file__).resolve().parents[1] / "accompgen"
CONVERSIONS = {function.__name__ for function in (blocks_covering, frames_of, ticks_of, whole_blocks)}
RATES = {SEMANTIC_HZ, ACOUSTIC_HZ, BLOCKS_PER_SECOND, TICKS_PER_SECOND}
RATE_NAMES = ("hz", "per_second", "rate", "fps")  # how a name ends that holds a rate
# Numbers that only look like rates of the clock: module -> where they stand.
OTHERS = {
    "data.synthetic.microphone": {"hum_hz = 50.0"},  # the mains
    "training.decoder_losses": {"50 * magnitude"},  # how fine a logarithm looks
}


# The conversions


def test_the_rates_share_one_clock():
    assert (ticks_of(SEMANTIC_HZ), ticks_of(ACOUSTIC_HZ)) == (3, 2)
    assert ticks_of(SEMANTIC_HZ) * SEMANTIC_HZ == ticks_of(ACOUSTIC_HZ) * ACOUSTIC_HZ == TICKS_PER_SECOND
    assert (frames_of(1, SEMANTIC_HZ), frames_of(1, ACOUSTIC_HZ)) == (2, 3)


@pytest.mark.parametrize("seconds, semantic, acoustic", [(0.04, 2, 3), (0.2, 10, 15), (3.0, 150, 225), (33.2, 1660, 2490)])
def test_frames_of_a_span(seconds, semantic, acoustic):
    blocks = blocks_of(seconds)
    assert (frames_of(blocks, 50), frames_of(blocks, 75)) == (semantic, acoustic) and seconds_of(blocks) == seconds
    for frames, hz in ((semantic, 50), (acoustic, 75), (round(44_100 * seconds), 44_100)):
        assert whole_blocks(frames, hz) == blocks_covering(frames, hz) == blocks
        assert (whole_blocks(frames - 1, hz), blocks_covering(frames - 1, hz)) == (blocks - 1, blocks)
        assert (whole_blocks(frames + 1, hz), blocks_covering(frames + 1, hz)) == (blocks, blocks + 1)


@pytest.mark.parametrize("seconds", [0, -1, 0.02, 0.05, 1 / 75, 2.999])
def test_a_span_that_is_no_multiple_of_40_ms(seconds):
    with pytest.raises(ValueError, match="not a multiple of 0.04 s"):
        blocks_of(seconds)


def test_blocks_within_a_span():
    assert [blocks_within(seconds) for seconds in (0, 0.039, 0.04, 0.0799, 1.16, 30.0)] == [0, 0, 1, 1, 29, 750]
    assert 1.16 * 25 < 29, "what rounding leaves of a whole block counts as one"


# The numbers


def clock_numbers(source: str) -> list[str]:
    """Where a module has a rate of the clock as a number: as a factor, as the value of a name for rates, or in a conversion."""

    def is_rate(node):
        return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value in RATES

    def is_name(text):
        return text.lower().endswith(RATE_NAMES)

    def arguments(node):
        args = [*node.posonlyargs, *node.args]
        with_default = args[len(args) - len(node.defaults) :]
        yield from zip([*with_default, *node.kwonlyargs], [*node.defaults, *node.kw_defaults])

    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)):
            found += [ast.unparse(node)] * (is_rate(node.left) or is_rate(node.right))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names, values = ((part.elts if isinstance(part, ast.Tuple) else [part]) for part in (target, node.value))
                for name, value in zip(names, values):
                    if is_rate(value) and is_name(ast.unparse(name)):
                        found.append(f"{ast.unparse(name)} = {ast.unparse(value)}")
        elif isinstance(node, ast.arguments):
            found += [f"{arg.arg} = {ast.unparse(default)}" for arg, default in arguments(node)
                      if is_rate(default) and is_name(arg.arg)]  # fmt: skip
        elif isinstance(node, ast.Call):
            found += [f"{word.arg} = {ast.unparse(word.value)}" for word in node.keywords
                      if is_rate(word.value) and is_name(word.arg or "")]  # fmt: skip
            converts = ast.unparse(node.func).rpartition(".")[2] in CONVERSIONS
            found += [ast.unparse(node)] * (converts and any(map(is_rate, node.args)))
    return found


def test_only_the_clock_has_its_numbers():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if module != "time" and (numbers := set(clock_numbers(path.read_text(encoding="utf-8")))):
            found[module] = numbers
    assert found == OTHERS, "a rate as a number: derive it from accompgen/time.py"


@pytest.mark.parametrize(
    "source",
    [
        "blocks = round(seconds * 25)", "stop / 25", "25 * samples", "blocks * rate // 25", "rate % 25", "75.0 * seconds",
        "FRAME_HZ = 75.0", "hz: int = 50", "LOW, TICKS_PER_SECOND = 2, 150", "def lock(wav, hop_hz=75): pass",
        "def lock(wav, *, hop_hz=75): pass", "Stream(hz=50)", "frames_of(3, 75)", "time.whole_blocks(frames, 50)",
    ],
)  # fmt: skip
def test_a_number_of_the_clock_is_found(source):
    assert len(clock_numbers(source)) == 1


@pytest.mark.parametrize(
    "source",
    ["GROUPS = 50", "low - 75", "uniform(20, 50)", "x * 2.5", "rate = 44100", "frames_of(blocks, rate)", "max(25, 3 * hz)"],
)
def test_other_numbers_pass(source):
    assert clock_numbers(source) == []
