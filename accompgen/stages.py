"""The graph of the system as data: which streams of ids there are, and which stage predicts which stream from which.

Everything else derives from it: the layout of a sequence, the embeddings of a model, what shards must hold, the order of
generation, the components of a checkpoint. A checkpoint's config.json carries its own graph; two ship here (GRAPHS).

A stream is a grid of integers [B, Q, T]: Q codebooks at a frame rate. The rates share one clock (time.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from accompgen.time import ACOUSTIC_HZ, BLOCKS_PER_SECOND, SEMANTIC_HZ, ticks_of

# what makes the ids of a stream: a tokenizer of sound, which is trained, or the chart of a song (chart.py)
SEMANTIC, ACOUSTIC = "semantic", "acoustic"
BEAT, CHORD = "beat", "chord"
TOKENIZERS = (SEMANTIC, ACOUSTIC)
RATES = {SEMANTIC: SEMANTIC_HZ, ACOUSTIC: ACOUSTIC_HZ, BEAT: SEMANTIC_HZ, CHORD: BLOCKS_PER_SECOND}
# whose sound they are ids of
VOICE, OTHERS, STEM = "vocal", "others", "stem"
TRACKS = ("", VOICE, OTHERS, STEM)  # "": of none, but of the song
ALL = "all"  # the stem that is the whole accompaniment
STEMS = ("drums", "bass", "harmony")  # of a band, in the order in which they are made
FROM_SILENCE = ("drums",)  # that begin behind silence: generation/lead_in.py
# what can stand before the first step of a stage
STEM_TOKEN, TEXT = "stem", "text"
PREFIXES = (STEM_TOKEN, TEXT)


class GraphError(ValueError):
    """A graph that cannot be: the message names the stream or the stage."""


@dataclass(frozen=True)
class Stream:
    """One stream of tokens: `codebooks` ids a frame, each in 0..vocab-1.

    `tokenizer` says what makes them (and so how many frames a second has), `track` of what: the voice, all that is known of the
    others, the stem that is being made, or no sound at all. Of the codebooks that a tokenizer gives, `first` is the first one.
    `rate` is the frames a second of a tokenizer with another number than is usual here, such as MusicGen's codec; 0: as usual.
    """

    name: str
    tokenizer: str
    track: str
    vocab: int
    codebooks: int = 1
    first: int = 0
    rate: int = 0

    @property
    def hz(self) -> int:
        """Frames a second."""
        return self.rate or RATES[self.tokenizer]

    @property
    def ticks(self) -> int:
        """Duration of a frame in ticks of 1/150 s."""
        return ticks_of(self.hz)

    def array(self, stem: str, others: str = "") -> str | None:
        """What shards call its ids where `stem` is made beside the mixture `others`; None where there is none."""
        mix = {"": "", VOICE: VOICE, STEM: stem, OTHERS: others}[self.track]
        if not self.track:
            return self.tokenizer
        return f"{self.tokenizer}/{mix}" if mix else None


@dataclass(frozen=True)
class Stage:
    """One transformer: it reads the `context` streams and what `prefix` names, and predicts the `target` stream.

    In a song that is longer than its windows, each begins with what those before it gave, over `prompt_share` of its length.
    With 0 the windows do not depend on each other.
    """

    name: str
    context: tuple[str, ...]
    target: str
    prompt_share: float = 0.0
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """The streams and the stages, these in the order in which a song needs them.

    `stems` are what can be made one by one; `text_vocab` is how many pieces a prompt is made of, `text_pieces` how many of them
    a stage reads.

    Raises:
        GraphError: a stage that reads or predicts what is no stream, two for one stream, one that comes too early, an unknown
            tokenizer, track or prefix; no voice, unless all of its streams are codes.
    """

    name: str
    streams: tuple[Stream, ...]
    stages: tuple[Stage, ...]
    stems: tuple[str, ...] = (ALL,)
    text_vocab: int = 0
    text_pieces: int = 0

    def __post_init__(self):
        names = [stream.name for stream in self.streams]
        made = [stage.target for stage in self.stages]
        for kind, found in (("stream", names), ("stage", [stage.name for stage in self.stages]), ("target", made)):
            if twice := sorted({name for name in found if found.count(name) > 1}):
                raise GraphError(f"graph {self.name!r}: {kind} {twice[0]!r} stands there twice")
        for stream in self.streams:
            if stream.tokenizer not in RATES or stream.track not in TRACKS:
                raise GraphError(
                    f"graph {self.name!r}: stream {stream.name!r} is of tokenizer {stream.tokenizer!r} and track "
                    f"{stream.track!r}; expected one of {', '.join(RATES)} and one of {', '.join(map(repr, TRACKS))}"
                )
        for number, stage in enumerate(self.stages):
            for name in (*stage.context, stage.target):
                if name not in names:
                    raise GraphError(f"graph {self.name!r}: stage {stage.name!r} needs {name!r}, which is no stream of it")
            if early := sorted(set(stage.context) & set(made[number + 1 :])):
                raise GraphError(f"graph {self.name!r}: stage {stage.name!r} reads {early[0]!r} before it is made")
            if unknown := sorted(set(stage.prefix) - set(PREFIXES)):
                raise GraphError(
                    f"graph {self.name!r}: stage {stage.name!r} has the prefix {unknown[0]!r}; "
                    f"expected {PREFIXES}"
                )
        if self.has_units and len([stream for stream in self.streams if stream.track == VOICE]) != 1:
            raise GraphError(f"graph {self.name!r} needs one stream of the track {VOICE!r}")

    def stream(self, name: str) -> Stream:
        """The stream of this name. Raises KeyError."""
        return next((stream for stream in self.streams if stream.name == name), None) or _no(name, self.streams)

    def stage(self, name: str) -> Stage:
        """The stage of this name. Raises KeyError that lists those there are."""
        return next((stage for stage in self.stages if stage.name == name), None) or _no(name, self.stages)

    def streams_of(self, track: str) -> Iterator[Stream]:
        """The streams of a track, in order."""
        return (stream for stream in self.streams if stream.track == track)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """In the order in which a song needs them."""
        return tuple(stage.name for stage in self.stages)

    @property
    def vocal(self) -> Stream:
        """The units of the voice: what every song begins with."""
        return next(self.streams_of(VOICE))

    @property
    def units(self) -> Stream:
        """The units of the stem that is made."""
        return next(stream for stream in self.streams_of(STEM) if stream.tokenizer == SEMANTIC)

    @property
    def codes(self) -> tuple[Stream, ...]:
        """The codes of the stem that is made, the lowest codebooks first."""
        return tuple(sorted((s for s in self.streams_of(STEM) if s.tokenizer == ACOUSTIC), key=lambda stream: stream.first))

    @property
    def others(self) -> Stream | None:
        """What else is played already; None where stages hear the voice alone."""
        return next(self.streams_of(OTHERS), None)

    @property
    def has_units(self) -> bool:
        """Whether anything but codes is read or made; a graph without is single-stage (`single_stage`)."""
        return not self.streams or any(stream.tokenizer != ACOUSTIC for stream in self.streams)

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The trained tokenizers of sound that its streams need."""
        return tuple(kind for kind in TOKENIZERS if any(stream.tokenizer == kind for stream in self.streams))

    @property
    def has_chart(self) -> bool:
        """Whether stages hear beats or chords of the song."""
        return any(stream.tokenizer in (BEAT, CHORD) for stream in self.streams)

    def made_for_song(self, stage: Stage) -> bool:
        """Whether a stage is played once for a song (a chart), and not for each stem."""
        return self.stream(stage.target).track == ""

    def tokenizers_of(self, stage: str) -> tuple[str, ...]:
        """The trained tokenizers whose ids a stage reads or writes."""
        row = self.stage(stage)
        found = {self.stream(name).tokenizer for name in (*row.context, row.target)}
        return tuple(kind for kind in TOKENIZERS if kind in found)

    def prefix_sizes(self, stage: str) -> tuple[tuple[str, int, int], ...]:
        """(name, ids there are, ids that are read) of each part of the prefix of a stage."""
        sizes = {STEM_TOKEN: (len(self.stems), 1), TEXT: (self.text_vocab, self.text_pieces)}
        return tuple((name, *sizes[name]) for name in self.stage(stage).prefix)


def _no(name, rows):
    raise KeyError(f"no {name!r}; there are {', '.join(row.name for row in rows)}")


def accompgen(
    semantic_vocab: int = 500, bins: int = 1024, coarse_codebooks: int = 4, fine_codebooks: int = 4, **_
) -> Graph:
    """The published system: one track, from the voice alone."""
    return Graph(
        "accompgen",
        streams=(
            Stream("vocal", SEMANTIC, VOICE, semantic_vocab),
            Stream("semantic", SEMANTIC, STEM, semantic_vocab),
            Stream("coarse", ACOUSTIC, STEM, bins, coarse_codebooks),
            Stream("fine", ACOUSTIC, STEM, bins, fine_codebooks, first=coarse_codebooks),
        ),
        stages=(
            Stage("semantic", context=("vocal",), target="semantic", prompt_share=1 / 2),
            Stage("coarse", context=("vocal", "semantic"), target="coarse", prompt_share=1 / 3),
            Stage("fine", context=("coarse",), target="fine"),
        ),
    )


def band(
    semantic_vocab: int = 500, bins: int = 1024, coarse_codebooks: int = 4, fine_codebooks: int = 4, *, beat_ids: int = 32,
    chord_ids: int = 109, text_vocab: int = 0, text_pieces: int = 0,
) -> Graph:  # fmt: skip
    """Ours: a chart between the voice and the band, which is made stem by stem. Ids of the chart: chart.py."""
    text = (TEXT,) if text_vocab else ()
    return Graph(
        "band",
        streams=(
            Stream("vocal", SEMANTIC, VOICE, semantic_vocab),
            Stream("others", SEMANTIC, OTHERS, semantic_vocab),
            Stream("beat", BEAT, "", beat_ids),
            Stream("given", CHORD, "", chord_ids),
            Stream("chord", CHORD, "", chord_ids),
            Stream("semantic", SEMANTIC, STEM, semantic_vocab),
            Stream("coarse", ACOUSTIC, STEM, bins, coarse_codebooks),
            Stream("fine", ACOUSTIC, STEM, bins, fine_codebooks, first=coarse_codebooks),
        ),
        stages=(
            Stage("chart", context=("vocal", "beat", "given"), target="chord", prompt_share=1 / 2, prefix=text),
            Stage(
                "semantic", context=("vocal", "others", "beat", "chord"), target="semantic", prompt_share=1 / 2,
                prefix=(STEM_TOKEN, *text),
            ),
            Stage("coarse", context=("semantic", "chord"), target="coarse", prompt_share=1 / 3, prefix=(STEM_TOKEN, *text)),
            Stage("fine", context=("coarse",), target="fine"),
        ),
        stems=(*STEMS, ALL),
        text_vocab=text_vocab,
        text_pieces=text_pieces,
    )  # fmt: skip


def single_stage(stems: tuple[str, ...], bins: int, codebooks: int, rate: int, *, context: bool, prompt_share: float) -> Graph:
    """MusicGen and STAGE: each stem by one transformer over the codes of all that is heard, where `context` says that it hears
    anything. The stages have the names of their stems. It is no row of GRAPHS: a checkpoint that was adopted carries it."""
    heard = (Stream("mixture", ACOUSTIC, OTHERS, bins, codebooks, rate=rate),) if context else ()
    names = tuple(stream.name for stream in heard)
    return Graph(
        "single_stage",
        streams=(*heard, *(Stream(stem, ACOUSTIC, STEM, bins, codebooks, rate=rate) for stem in stems)),
        stages=tuple(Stage(stem, context=names, target=stem, prompt_share=prompt_share) for stem in stems),
        stems=stems,
    )


PUBLISHED = "accompgen"
GRAPHS = {PUBLISHED: accompgen, "band": band}


def no_stem(stem: str, known: tuple[str, ...], who: str = "this checkpoint makes") -> str:
    """What to say of a stem that somebody asks for and that is none of those known."""
    if known == (ALL,):
        return f"no stem {stem!r}; {who} one track, named {ALL!r}; the checkpoint band makes stems (--checkpoint band)"
    return f"no stem {stem!r}; {who} {', '.join(known)}"
