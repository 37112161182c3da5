"""What can be said of a song, of a span of it or of one stem, from its meta alone. Pure.

Meta is the JSON beside a prepared piece or a synthetic song. A fact that is not there is not
spoken of.
"""

from dataclasses import dataclass, replace

from accompgen.data import wordings
from accompgen.data.synthetic.score import transpose_label

# the stems of a synthetic song, by its parts
STEMS = {"drums": ("drums",), "bass": ("bass",), "harmony": ("keys", "pad", "lead")}
# names of stems that say nothing
GENERIC = ("other", "others", "rest", "residual", "mix")
NAMED_SHARE = 0.25  # who plays for less of the time is not named
LATE_SHARE = 0.2  # who rests for so much of the time, and then plays, comes in later
STEADY_DB = 1.5  # a section within so much of the song's mean is neither louder nor softer
SWELL_DB = 2.5  # by which the end of a passage is louder than its start, to say that it builds
RISE_DB = 3.0  # by which the last of rising sections is louder than the first
SWUNG, LIGHTLY_SWUNG = 0.1, 0.04  # share of a beat by which its second half comes late
FULL = 0.8  # fullness from which on the whole band plays
SAME_KEY = 0.25  # semitones by which a copy may be off and still be in a key


@dataclass(frozen=True)
class Facts:
    """What is true of a song, a span or a stem.

    style: the drum pattern, where drums play. tags: a manifest's. bpm: beats a minute as annotated,
    about_bpm: as heard. key: `A:min`. swing: share of a beat. instruments: names of those that
    play. missing: `drums` or `bass`, where nobody plays them. complete: nobody else plays. full:
    drums, bass and harmony play all the time. comping, bass_line: how the chords and the bass are
    played, and by whom. label: of the section that a span lies in; form: labels of a song's
    sections. louder: dB of a span against the song. builds: it gets louder. entering: names of
    those who come in later. moods: keys of wordings.MOODS. stem: drums, bass, harmony or None.
    """

    style: str | None = None
    tags: tuple[str, ...] = ()
    bpm: float | None = None
    about_bpm: float | None = None
    metre: str | None = None
    key: str | None = None
    swing: float = 0.0
    instruments: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    complete: bool = False
    full: bool = False
    comping: tuple[str, str] | None = None  # (pattern, name of who plays it)
    bass_line: tuple[str, str] | None = None
    label: str | None = None
    form: tuple[str, ...] = ()
    louder: float | None = None
    builds: bool = False
    entering: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    stem: str | None = None


@dataclass(frozen=True)
class _Part:
    """A section or passage: who plays there (None: not known), dB against the song, dB of swell."""

    start: float
    end: float
    label: str | None
    players: tuple[str, ...] | None
    loudness: float | None
    swell: float
    fullness: float | None


def changed(meta: dict, speed: float = 1.0, semitones: float = 0.0) -> dict:
    """The meta of a copy that is played at `speed` times the tempo and so many semitones higher.

    Tempo, key, and the times of sections and passages follow; beats, chords and notes, of which no
    caption is made, stay. Between two keys there is none.
    """
    meta = dict(meta)
    if meta.get("bpm"):
        meta["bpm"] = float(meta["bpm"]) * speed
    if meta.get("estimated"):
        meta["estimated"] = changed(meta["estimated"], speed, semitones)
    if meta.get("key"):
        meta["key"] = _transposed(meta["key"], semitones)
    for kind in ("sections", "passages"):
        if meta.get(kind):
            meta[kind] = [_at_speed(part, speed) for part in _as_dicts(meta[kind])]
    return meta


def _at_speed(part, speed):
    return part | {name: float(part[name]) / speed for name in ("start", "end")}


def sections_of(meta: dict) -> list[dict]:
    """The sections of a meta as dicts with start, end and label at least; scores write [start, end,
    label]."""
    return _as_dicts(meta.get("sections"))


def instruments_of(meta: dict) -> list[str]:
    """Names of what plays in a song, without repetition; what says nothing is left out."""
    known = meta.get("instruments") or ()
    return names(known.values() if isinstance(known, dict) else known)


def names(instruments) -> list[str]:
    """Names without repetition, lists within flattened; what says nothing is left out."""
    flat = []
    for name in instruments:
        flat += [name] if isinstance(name, str) else list(name)
    plain = dict.fromkeys(name.replace("_", " ") for name in flat)
    return [name for name in plain if name not in GENERIC]


def facts_of(meta: dict, stem: str | None = None, span: tuple[float, float] | None = None) -> Facts:
    """What is true of a song, or of one of its stems, or of a span of it in seconds.

    Raises ValueError for a stem that is none of STEMS, or a span that ends before it begins.
    """
    if stem is not None and stem not in STEMS:
        raise ValueError(f"stem is {stem!r}; expected one of {', '.join(STEMS)}, or None for all")
    if span is not None and not span[0] < span[1]:
        raise ValueError(f"span is {span[0]:g} to {span[1]:g} s; expected an end after the start")
    parts = _parts(meta)
    inside = [part for part in parts if span is None or part.start < span[1] and part.end > span[0]]
    band = _playing(meta, None, inside, span)
    play = _playing(meta, stem, inside, span) if stem else band
    estimated = meta.get("estimated") or {}
    key = meta.get("key") or estimated.get("key")
    # the style of a synthetic song is what its drums play
    styled = not isinstance(meta.get("instruments"), dict)
    styled = styled or any(stem_of(name) == "drums" for name in band.named)
    facts = Facts(
        style=meta.get("style") if styled else None,
        tags=tuple(str(tag) for tag in meta.get("tags") or () if tag != meta.get("style")),
        bpm=float(meta["bpm"]) if meta.get("bpm") else None,
        about_bpm=estimated.get("bpm") if not meta.get("bpm") else None,
        metre=meta.get("metre"),
        key=None if stem == "drums" else key,
        swing=float(meta.get("swing") or 0),
        instruments=play.named, missing=play.missing, complete=play.complete, full=play.full,
        entering=play.entering, form=_form(meta) if span is None else (),
        builds=_builds(inside, span), stem=stem, **_one_section(inside, span),
        comping=_pattern(meta, "comping", "keys", play.named),
        bass_line=_pattern(meta, "bass_line", "bass", play.named),
    )  # fmt: skip
    whole = replace(facts, instruments=band.named, key=key)
    return replace(facts, moods=_moods(whole, inside))


@dataclass(frozen=True)
class _Play:
    named: tuple[str, ...]
    missing: tuple[str, ...]
    complete: bool
    full: bool
    entering: tuple[str, ...]


def _playing(meta, stem, inside, span):
    """Who plays: by the parts of a synthetic song, or by the names of a prepared one."""
    known = meta.get("instruments") or ()
    by_part = isinstance(known, dict)
    wanted = STEMS[stem] if stem else None
    if by_part:
        called = {part: names([name]) for part, name in known.items()}
        players = [part for part in called if wanted is None or part in wanted]
    else:
        called = {name: [name] for name in names(known)}
        players = [name for name in called if stem is None or stem_of(name) == stem]
    shares = {player: _share(player, inside, span) for player in players}
    named = [name for p in players if shares[p] >= NAMED_SHARE for name in called[p]]
    named = tuple(dict.fromkeys(named))
    heard = [p for p in called if _share(p, inside, span) > 0]
    stems = {stem_of(p) if not by_part else _part_stem(p) for p in heard}
    # a prepared song's list may be of a few instruments alone: what is not in it may play
    missing = [s for s in ("drums", "bass") if s not in stems] if by_part and heard else []
    everybody = all(_share(p, inside, span) > 0.95 for p in called)
    return _Play(
        named,
        tuple(m for m in missing if stem in (None, m)),
        complete=by_part and stem is None and len(heard) == len(named),
        full=by_part and stem is None and everybody and stems >= set(STEMS),
        entering=tuple(n for p in players if _enters(p, inside, span) for n in called[p]),
    )


def _part_stem(part):
    return next((stem for stem, parts in STEMS.items() if part in parts), None)


def stem_of(name: str) -> str:
    """The stem that an instrument of this name belongs to: drums, bass or harmony."""
    if name in wordings.KITS or "drum" in name:
        return "drums"
    return "bass" if name in wordings.BASSES else "harmony"


def _share(player, inside, span):
    """Share of the time in which somebody plays; all of it, where no passage says who does."""
    known = [part for part in inside if part.players is not None]
    whole = sum(_length(part, span) for part in known)
    plays = sum(_length(part, span) for part in known if _is_in(player, part))
    return plays / whole if whole else 1.0


def _is_in(player, part):
    """Whether somebody plays in a passage, which names parts, instruments or stems."""
    return player in part.players or _part_stem(player) in part.players


def _length(part, span):
    first, last = (part.start, part.end) if span is None else span
    return max(0.0, min(part.end, last) - max(part.start, first))


def _enters(player, inside, span):
    """Whether somebody rests at first, plays from some passage on, and does so to the end."""
    plays = [_is_in(player, part) for part in inside if part.players is not None]
    if not plays or plays != sorted(plays) or plays[0] or not plays[-1]:
        return False
    return NAMED_SHARE <= _share(player, inside, span) <= 1 - LATE_SHARE


def _parts(meta):
    """The passages of a synthetic song, the sections of a prepared one."""
    return [
        _Part(
            float(part["start"]), float(part["end"]), part.get("label") or None,
            _players(part), part.get("loudness"), float(part.get("swell") or 0),
            part.get("fullness"),
        )
        for part in _as_dicts(meta.get("passages") or meta.get("sections"))
    ]  # fmt: skip


def _players(part):
    if part.get("parts") is not None:
        return tuple(part["parts"])
    return tuple(names(part["instruments"])) if part.get("instruments") is not None else None


def _one_section(inside, span):
    """Label and loudness, where a span lies in one section as good as alone."""
    if span is None or not inside:
        return {}
    longest = max(inside, key=lambda part: _length(part, span))
    if _length(longest, span) < 0.8 * (span[1] - span[0]):
        return {}
    return {"label": longest.label, "louder": longest.loudness}


def _builds(inside, span):
    """Whether it gets louder: within a passage, or from section to section."""
    if span is not None and len(inside) == 1:
        part = inside[0]
        return part.swell >= SWELL_DB and _length(part, span) > 0.8 * (part.end - part.start)
    heard = [part for part in inside if part.loudness is not None and _length(part, span) > 2]
    levels = [part.loudness for part in heard]
    return len(levels) > 2 and levels == sorted(levels) and levels[-1] - levels[0] >= RISE_DB


def _form(meta):
    return tuple(part["label"] for part in sections_of(meta) if part.get("label"))


def _pattern(meta, field, part, named):
    """(pattern, name of who plays it), where it is known and somebody who is named does."""
    known = meta.get("instruments")
    table = {"comping": wordings.COMPINGS, "bass_line": wordings.BASS_LINES}[field]
    if not isinstance(known, dict) or meta.get(field) not in table:
        return None
    name = (names([known[part]]) or [None])[0] if part in known else None
    return (meta[field], name) if name in named else None


def _moods(facts, inside):
    """Keys of wordings.MOODS, each from two facts at least; slow minor sad and fast major happy
    after Hevner (American Journal of Psychology 47 to 49, 1935 to 1937)."""
    playing, bpm, style = set(facts.instruments), facts.bpm, facts.style
    if not playing:
        return ()
    drums = any(stem_of(name) == "drums" for name in playing)
    mode = (facts.key or "").partition(":")[2]
    loud, pad = playing & set(wordings.LOUD), playing & set(wordings.AIRY)
    gentle = not loud and (not drums or style in wordings.SOFT_STYLES)
    lively = drums and style not in wordings.UNHURRIED_STYLES + wordings.SOFT_STYLES
    fullness = [part.fullness for part in inside if part.fullness is not None]
    busy = sum(fullness) / len(fullness) >= FULL if fullness else style in wordings.LIVELY_STYLES
    found = {
        "soft": gentle and bpm and bpm < 108,
        "energetic": lively and busy and bpm and bpm >= 108,
        "calm": gentle and not drums and bpm and bpm < 84,
        "sad": mode == "min" and bpm and bpm < 84 and style not in ("dance", "funk", "rock"),
        "happy": mode == "maj" and lively and bpm and bpm >= 108,
        "dreamy": pad and gentle and bpm and bpm < 84,
        "powerful": "power drum kit" in playing and style in ("rock", "half time"),
        "acoustic": playing <= set(wordings.ACOUSTIC) and len(playing) > 1,
        "electronic": playing <= set(wordings.ELECTRONIC) and len(playing) > 1,
    }
    return tuple(mood for mood, holds in found.items() if holds)


def _transposed(key, semitones):
    """A key moved by so many semitones; None between two keys."""
    steps = round(semitones)
    return transpose_label(key, steps) if abs(semitones - steps) <= SAME_KEY else None


def _as_dicts(parts):
    fields = ("start", "end", "label")
    return [dict(p) if isinstance(p, dict) else dict(zip(fields, p)) for p in parts or ()]
