"""What a song, a span of it or a stem is called in words, from its meta alone: captions to learn
prompts from. Pure.

What may be said, facts.py finds; the words stand in wordings.py. A caption says any part of it, as
tags, in a sentence or with a single word, since people write all of these.
"""

from accompgen.data import wordings
from accompgen.data.facts import (
    LIGHTLY_SWUNG,
    STEADY_DB,
    SWUNG,
    facts_of,
    instruments_of,
    names,
    sections_of,
)

FULL, PARTLY = 0.8, 0.4  # fullness from which on the whole band, or part of it, plays
MIN_CAPTION_SECONDS = 2.0  # shorter remains of a section are not spoken of
LOWEST_SUNG = 0.2
# how often a caption says so many things
SAID = (0.15, 0.2, 0.25, 0.2, 0.12, 0.08)
# how readily each thing is said, beside the others
WEIGHTS = {
    "style": 3.0, "tags": 2.0, "mood": 1.5, "tempo": 2.0, "bpm": 1.2, "metre": 1.0, "key": 1.0,
    "instruments": 3.5, "comping": 0.7, "bass line": 0.5, "swing": 1.5, "missing": 1.2, "band": 0.8,
    "label": 3.0, "louder": 2.0, "builds": 1.5, "entering": 1.0, "form": 0.2,
}  # fmt: skip
COMMON_METRE_SHARE = 0.05  # of the captions may say 4/4: hardly anybody does
SENTENCE_SHARE = 0.45  # of the captions; the others are tags
REDRAWS = 10  # of a caption that stands there already


def captions_of(meta: dict, rng, count: int, stem: str | None = None, span=None) -> list[str]:
    """Captions in several wordings, each of any part of what is known.

    Args:
        meta: see facts.py; for an augmented copy, what `facts.changed` makes of it.
        rng: numpy Generator; its state decides everything.
        count: how many. They differ from each other where enough is known.
        stem: drums, bass or harmony, to speak of it alone; None: of the band.
        span: (start, end) in seconds, such as a window or a passage, to speak of it alone.

    Returns: none where nothing is known.
    Raises ValueError for an unknown stem or a span that ends before it begins.
    """
    facts = facts_of(meta, stem, span)
    if not _sayable(facts):
        return []
    captions = []
    for _ in range(count):
        for _ in range(REDRAWS):
            text = _draw(facts, rng)
            if text not in captions:
                break
        captions.append(text)
    return captions


def caption(meta: dict) -> str:
    """One line with all that is known of a whole piece, such as `pop, mid-tempo, 96 bpm, in C
    major, electric piano, bass and drums`; "" where nothing is."""
    facts = facts_of(meta)
    said = [str(meta["style"])] if meta.get("style") else []
    said += [*facts.tags, *(wordings.MOODS[mood][0] for mood in facts.moods)]
    if facts.builds:
        said.append(wordings.BUILDS[0])
    if facts.bpm:
        said += [_tempo_words(facts)[0], f"{round(facts.bpm)} bpm"]
    elif facts.about_bpm:
        said.append(f"about {round(facts.about_bpm)} bpm")
    if facts.metre and facts.metre != "4/4":
        said.append(f"in {facts.metre}")
    if facts.key:
        said.append(f"in {key_names(facts.key)[0]}")
    instruments = instruments_of(meta)
    if instruments:
        said.append(_listed(instruments))
    if len(facts.form) > 1:
        said.append(f"sections: {' - '.join(facts.form)}")
    return ", ".join(said)


def section_captions(meta: dict) -> list[str]:
    """A line for each section, such as `section 2: chorus, louder, full band`; those under 2 s are
    left out."""
    lines = []
    for number, section in enumerate(sections_of(meta), 1):
        if section["end"] - section["start"] < MIN_CAPTION_SECONDS:
            continue
        words = [section["label"]] if section.get("label") else []
        level = section.get("loudness") or 0.0
        if abs(level) >= STEADY_DB:
            words.append("louder" if level > 0 else "softer")
        lines.append(f"section {number}: {', '.join([*words, *_section_players(section)])}")
    return lines


def _section_players(section):
    """Who plays in a section, in words."""
    instruments = names(section.get("instruments") or ())
    fullness, sung = section.get("fullness"), section.get("sung")
    if fullness is None:
        return [_listed(instruments)] if instruments else []
    if fullness == 0:
        return ["voice alone" if sung is None or sung >= LOWEST_SUNG else "nobody plays"]
    part = "part of the band" if fullness >= PARTLY else "sparse band"
    band = "full band" if fullness >= FULL else part
    words = [band, _listed(instruments)] if instruments else [band]
    return [*words, "no voice"] if sung is not None and sung < LOWEST_SUNG else words


def key_names(label: str) -> list[str]:
    """What a key such as `Db:min` is called, the usual name first: C# minor, C#m, C sharp minor,
    Db minor."""
    tonic, colon, mode = str(label).partition(":")
    if not colon:
        return [str(label)]
    table = wordings.MINOR_TONICS if mode in ("min", "dor") else wordings.MAJOR_TONICS
    spellings, name = table.get(tonic, (tonic,)), wordings.MODES.get(mode, mode)
    found = [f"{spellings[0]} {name}"]
    found += [f"{spellings[0]}m"] if mode == "min" else []
    spoken = spellings[0][0] + spellings[0][1:].replace("#", " sharp").replace("b", " flat")
    found += [f"{spoken} {name}"] if spoken != spellings[0] else []
    return found + [f"{other} {name}" for other in spellings[1:]]


# ---- drawing a caption ----


def _draw(facts, rng):
    sayable = _sayable(facts)
    if facts.metre == "4/4" and len(sayable) > 1 and rng.random() >= COMMON_METRE_SHARE:
        sayable.remove("metre")
    weights = [WEIGHTS[kind] for kind in sayable]
    number = min(len(sayable), 1 + int(rng.choice(len(SAID), p=SAID)))
    shares = [weight / sum(weights) for weight in weights]
    said = {sayable[i] for i in rng.choice(len(sayable), number, replace=False, p=shares)}
    silent = facts.stem in facts.missing
    said |= {"missing"} if silent else set()
    named = _named(facts, said, rng)
    if not silent and len(said) > 1 and rng.random() < SENTENCE_SHARE:
        return _sentence(facts, said, named, rng)
    return _tags(facts, said, named, rng)


def _sayable(facts):
    """The kinds of things that are known, in one order."""
    known = {
        "style": facts.style, "tags": facts.tags, "mood": facts.moods, "tempo": _tempo_words(facts),
        "bpm": facts.bpm or facts.about_bpm,
        "metre": facts.metre in wordings.METRES,
        "key": facts.key,
        "instruments": facts.instruments, "comping": facts.comping, "bass line": facts.bass_line,
        "swing": facts.swing >= LIGHTLY_SWUNG, "missing": facts.missing, "band": _band(facts),
        "label": facts.label, "louder": facts.louder and abs(facts.louder) >= STEADY_DB,
        "builds": facts.builds, "entering": facts.entering, "form": len(facts.form) > 1,
    }  # fmt: skip
    return [kind for kind, value in known.items() if value]


def _tags(facts, said, named, rng):
    """`soft ballad, piano and brushes, in C minor`: adjectives before their style, then the rest."""
    adjectives = [_pick(words, rng) for words in _adjectives(facts, said, rng)]
    lines = adjectives
    if "style" in said:
        tags, nouns = _style(facts)
        if adjectives and rng.random() < 0.6:
            lines = [" ".join([*adjectives, _pick(nouns, rng)])]
        else:
            lines = [_pick(tags, rng), *adjectives]
    if "swing" in said:
        lines.append(_pick(wordings.SWINGS[_swing(facts)], rng))
    lines += [facts.label] if "label" in said else []
    if named and rng.random() < 0.6:
        lines.append(_listed(named))
    else:
        lines += named
    details = _details(facts, said, rng)
    order = rng.permutation(len(details))
    lines += [details[i] for i in order]
    if rng.random() < 0.25:
        lines = [lines[i] for i in rng.permutation(len(lines))]
    return ", ".join(lines)


def _sentence(facts, said, named, rng):
    """`A slow rock song in D minor with organ and drums`, and other ways to say so."""
    adjectives = [_pick(words, rng) for words in _adjectives(facts, said, rng)]
    if "swing" in said:
        adjectives.append(wordings.SWINGS[_swing(facts)][0])
    where = [_pick(words, rng) for words in _places(facts, said)]
    noun, label = _noun(facts, said, rng)
    opener = _pick(wordings.OPENERS, rng) if rng.random() < 0.4 else ""
    if facts.stem and named and noun not in _style(facts)[1]:
        # an instrument is its own part: no `bass part with bass`
        text = opener + " ".join([_described(adjectives, _listed(named)), *where])
    else:
        thing = _with_article(_described(adjectives, noun))
        thing = " ".join([thing, *where]) + "".join(f", {text}" for text in label)
        text = _with_players(thing, opener, facts, said, named, rng)
    more = _details(facts, said - {"key", "bpm", "metre"}, rng)
    text = ", ".join([text, *more])
    return text[0].upper() + text[1:] + "." if rng.random() < 0.5 else text


def _described(adjectives, noun):
    return " ".join([", ".join(adjectives), noun]) if adjectives else noun


def _noun(facts, said, rng):
    """What a sentence is about, and its section where that is not the noun."""
    label = [facts.label] if "label" in said else []
    if "style" in said:
        return _pick(_style(facts)[1], rng), label
    if facts.label in wordings.SECTIONS and label and not facts.stem:
        return facts.label, []
    return _pick(wordings.NOUNS[facts.stem], rng), label


def _with_players(thing, opener, facts, said, named, rng):
    """A thing and those who play it, in one order or the other."""
    if not named:
        return opener + thing
    players = _listed(named)
    if facts.stem in ("bass", "harmony"):
        return f"{opener}{players} for {thing}"
    if not said & {"comping", "bass line"} and rng.random() < 0.3:
        return f"{players} {_pick(('playing', 'in'), rng)} {thing}"
    return opener + thing + _pick((" with ", ", with ", ": ", " played by "), rng) + players


def _adjectives(facts, said, rng):
    """Wordings of what may stand before a noun."""
    found = []
    if "louder" in said:
        found.append(wordings.LOUDNESS["louder" if facts.louder > 0 else "softer"])
    if "mood" in said:
        found.append(wordings.MOODS[_pick(facts.moods, rng)])
    if "tempo" in said:
        found.append([w for w in _tempo_words(facts) if w not in wordings.NO_ADJECTIVES])
    return found


def _places(facts, said):
    """Wordings of what follows a noun: in a key, at a tempo, in a metre."""
    found = []
    if "key" in said:
        found.append([f"in {name}" for name in key_names(facts.key)])
    if "bpm" in said:
        found.append([f"at {words}" for words in _bpm(facts) if not words.startswith("tempo")])
    if "metre" in said and not _metre_is_told(facts, said):
        found.append([wordings.METRES[facts.metre][0]])
    return found


def _details(facts, said, rng):
    """What stands by itself, each as one phrase."""
    found = []
    if "key" in said:
        name = _pick(key_names(facts.key), rng)
        found.append(_pick((name, f"in {name}", f"key of {name}"), rng))
    if "bpm" in said:
        found.append(_pick(_bpm(facts), rng))
    if "metre" in said and not (_metre_is_told(facts, said) and len(said) > 1):
        found.append(_pick(wordings.METRES[facts.metre], rng))
    if "tags" in said:
        found += [tag for tag in facts.tags if rng.random() < 0.6] or [_pick(facts.tags, rng)]
    if "missing" in said:
        found.append(f"{_pick(('no', 'without'), rng)} {' or '.join(facts.missing)}")
    if "band" in said:
        found.append(_pick(_band(facts), rng))
    if "builds" in said:
        found.append(_pick(wordings.BUILDS, rng))
    if "entering" in said:
        word = _pick(_words(_pick(facts.entering, rng)), rng)
        found.append(_pick((f"{word} coming in later", f"later with {word}"), rng))
    if "form" in said:
        found.append(_pick((" - ".join(facts.form), ", then ".join(facts.form)), rng))
    return found


def _named(facts, said, rng):
    """Who is spoken of, some of those who play or all, with how they play where that is said."""
    players = list(facts.instruments)
    chosen = set()
    if "instruments" in said:
        everybody = rng.random() < 0.45
        number = len(players) if everybody else 1 + int(rng.integers(len(players)))
        chosen = {players[i] for i in rng.permutation(len(players))[:number]}
    ways = {}
    if "comping" in said:
        pattern, player = facts.comping
        ways[player] = _comping_words(pattern, player)
    if "bass line" in said:
        pattern, player = facts.bass_line
        ways[player] = wordings.BASS_LINES[pattern]
    words = []
    for player in players:
        if player in chosen or player in ways:
            word = _pick(_words(player), rng)
            words.append(_pick(ways[player], rng).format(word) if player in ways else word)
    if rng.random() < 0.4:
        words = [words[i] for i in rng.permutation(len(words))]
    return list(dict.fromkeys(words))


def _comping_words(pattern, player):
    """How somebody plays chords; a guitar's are strummed or picked."""
    if player not in wordings.GUITARS:
        return wordings.COMPINGS[pattern]
    own = [words for patterns, words in wordings.GUITAR_COMPINGS if pattern in patterns]
    return sum(own, ()) + wordings.COMPINGS[pattern]


def _band(facts):
    """What a band like this is called."""
    found = ["full band"] if facts.full else []
    if not facts.complete or not facts.instruments:
        return found
    number = len(facts.instruments)
    if number == 1:
        word = _words(facts.instruments[0])[0]
        return [f"solo {word}", f"{word} only", f"just {word}"]
    found += [wordings.BANDS[number]] if number in wordings.BANDS else []
    if number == 2:
        found.append("sparse")
    playing = set(facts.instruments)
    kinds = wordings.PIANOS, wordings.BASSES, wordings.KITS
    if number == 3 and all(playing & set(kind) for kind in kinds):
        found.append("piano trio")
    return found


def _style(facts):
    """(tags, nouns) of a style; a corpus's own word stands for itself."""
    word = str(facts.style)
    tags, nouns = wordings.STYLES.get(word, ((word,), (f"{word} song", f"{word} track")))
    if facts.stem == "drums" and word in wordings.SIDE_STICK_STYLES:
        tags = (*tags, "cross-stick")
    if facts.stem != "drums":
        return tags, nouns
    return tuple(tuple(w for w in words if not w.endswith("song")) for words in (tags, nouns))


def _swing(facts):
    return "swung" if facts.swing >= SWUNG else "light"


def _tempo_words(facts):
    """Words for a tempo that is annotated; an estimated one may be half or twice the felt one."""
    if not facts.bpm:
        return ()
    words = next(words for limit, words in wordings.TEMPI if facts.bpm < limit)
    unhurried = facts.style in wordings.UNHURRIED_STYLES and facts.bpm >= 108
    return () if unhurried else words


def _bpm(facts):
    if not facts.bpm:
        return (f"about {round(facts.about_bpm)} bpm",)
    number = round(facts.bpm)
    return (
        f"{number} bpm", f"{number} BPM", f"tempo {number}", f"{number} beats per minute",
        f"around {10 * round(facts.bpm / 10)} bpm",
    )  # fmt: skip


def _metre_is_told(facts, said):
    """Whether the style names the metre: no waltz is in three-four by chance."""
    return "style" in said and facts.style in wordings.THREES + wordings.SIXES


def _words(name):
    return wordings.INSTRUMENTS.get(name, (name,))


def _with_article(text):
    return f"{'an' if text[0].lower() in 'aeiou' else 'a'} {text}"


def _pick(wordings_of, rng):
    """One of several, the first as often as all others together."""
    many = list(wordings_of)
    if len(many) == 1 or rng.random() < 0.5:
        return many[0]
    return many[1 + int(rng.integers(len(many) - 1))]


def _listed(words):
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
