"""What a song is made with: which stems, how each stage draws its ids, and the numbers that a person gives."""

from accompgen import audio
from accompgen.checkpoint import Checkpoint, find_checkpoint, read_graph, read_info
from accompgen.component import CheckpointError
from accompgen.generation.sampling import PUBLISHED, Sampling
from accompgen.stages import Graph, no_stem

HEADROOM_RANGE = 6.0, 60.0  # dB: a sine's peaks stand at 3
FADER_RANGE = -20.0, 20.0  # dB


def chosen_stems(
    stems, known: tuple[str, ...], who: str = "this checkpoint makes"
) -> tuple[str, ...]:
    """The stems to make, some of those known; `who` says in errors whose these are.

    Raises ValueError for one that is unknown, or twice there, or for none.
    """
    stems = tuple(stems)
    if unknown := [stem for stem in stems if stem not in known]:
        raise ValueError(no_stem(unknown[0], known, who))
    if not stems or len(set(stems)) < len(stems):
        raise ValueError(f"stems are {', '.join(stems) or 'none'}; expected some of {', '.join(known)}, each once")
    return stems


def chosen_settings(
    given: dict[str, Sampling] | None, own: dict[str, Sampling], names: tuple[str, ...] | None = None
) -> dict[str, Sampling]:
    """The settings of each stage, and of a stage for one stem, such as `coarse/bass`: its own, but for those given.

    What is given of a stage holds for all of its stems, what is given of a stem for it alone. `names` are those that can be
    given (None: those of `own`).

    Raises ValueError for an unknown stage or stem, TypeError for anything that is no Sampling.
    """
    given, names = given or {}, tuple(own) if names is None else names
    if unknown := sorted(set(given) - set(names)):
        raise ValueError(f"no stage {unknown[0]!r}; this checkpoint has {', '.join(names)}")
    for stage, sampling in given.items():
        if sampling is not None and not isinstance(sampling, Sampling):
            raise TypeError(f"{stage} is {sampling!r}; expected accompgen.Sampling(temperature=0.8, ...) or None")
    chosen = {}
    for name in (name for name in names if name in own or name in given):
        stage = name.partition("/")[0]
        settings = (given.get(stage) or Sampling()).over(own.get(name, own[stage]))
        chosen[name] = (given.get(name) or Sampling()).over(settings)
    return chosen


def setting_names(graph: Graph) -> tuple[str, ...]:
    """What settings can be given for: each stage, and `stage/stem` where it is played for each of several stems."""
    several = graph.stems if graph.has_units and len(graph.stems) > 1 else ()  # a single stage has the name of its stem
    of_stems = [f"{stage.name}/{stem}" for stage in graph.stages if not graph.made_for_song(stage) for stem in several]
    return (*graph.stage_names, *of_stems)


def sampling_of(checkpoint) -> dict[str, Sampling]:
    """The settings of each stage that a checkpoint (a name or a directory) asks for in its config.json: `sampling`, by stage,
    or by stage and stem (`coarse/bass`); AccompGen's published values where it says none. Raises CheckpointError for settings
    that cannot be.
    """
    path = find_checkpoint(checkpoint)
    found, graph = read_info(path).get("sampling", {}), read_graph(path)
    names = setting_names(graph)
    try:
        if unknown := set(found) - set(names):
            raise ValueError(f"unknown stage {sorted(unknown)[0]!r}")
        own = {name: Sampling(**values) for name, values in found.items()}
        return chosen_settings(own, dict.fromkeys(graph.stage_names, PUBLISHED), names)
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: the sampling in its config.json cannot be used ({error}); see `make sweep`") from error


def headroom_of(checkpoint: Checkpoint) -> dict[str, float]:
    """How far the peaks of a checkpoint's stems may stand above their level, stem -> dB.

    It is `headroom_db` in config.json. A stem that is not there has the peaks that it was decoded
    with.

    Raises CheckpointError for an unknown stem, or a number that cannot be one.
    """
    return _decibels_of(checkpoint, "headroom_db", HEADROOM_RANGE, 20)


def faders_of(checkpoint: Checkpoint) -> dict[str, float]:
    """By how much a checkpoint's stems are louder in the mix than they were decoded, stem -> dB.

    It is `fader_db` in config.json, 0 dB for a stem that is not there.

    Raises CheckpointError for an unknown stem, or a number that cannot be one.
    """
    return _decibels_of(checkpoint, "fader_db", FADER_RANGE, 2)


def _decibels_of(checkpoint, entry, limits, example):
    found, stems = checkpoint.config.get(entry, {}), checkpoint.graph.stems
    least, most = limits
    where = f"{checkpoint.path}: {entry} in its config.json"
    if not isinstance(found, dict):
        expected = f'dB by stem, such as {{"drums": {example:.1f}}}'
        raise CheckpointError(f"{where} is {found!r}; expected {expected}")
    for stem, db in found.items():
        if stem not in stems:
            raise CheckpointError(f"{where}: {no_stem(stem, stems)}")
        if isinstance(db, bool) or not isinstance(db, int | float) or not least <= db <= most:
            expected = f"{least:g} to {most:g} dB, such as {example}"
            raise CheckpointError(f"{where}: {stem} has {db!r}; expected {expected}")
    return {stem: float(db) for stem, db in found.items()}


def check_settings(balance: float, noise: float, loudness: float | None = None, rate=None, channels=None) -> None:
    """Raise ValueError for a balance, a noise, a loudness, a rate or a number of channels out of range."""
    if rate is not None and not audio.MIN_RATE <= rate <= audio.MAX_RATE:
        raise ValueError(f"the rate is {rate} Hz; expected {audio.MIN_RATE} to {audio.MAX_RATE}, such as 48000")
    if channels not in (None, 1, 2):
        raise ValueError(f"{channels} channels; expected 1, 2, or None for those that the decoder has")
    if loudness is not None and not -70 <= loudness <= 0:
        raise ValueError(f"loudness is {loudness} LUFS; expected -70 to 0, such as -14")
    if not -40 <= balance <= 40:
        raise ValueError(f"balance is {balance} LU; expected -40 to 40")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is {noise}; expected a sigma from 0 to 1")


def check_seed(seed) -> None:
    """Raise TypeError for a seed that is no integer: such as samples and a rate that were not given as a pair."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"the seed is {seed!r}; expected an integer")
