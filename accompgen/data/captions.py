"""Captions to learn prompts from: what a song, a span of it or a stem is called in words, drawn anew
each time from its meta alone.

What may be said, facts.py finds; the words stand in wordings.py, phrases.py puts them together. A
caption says any part of it, as tags, in a sentence or with a single word, since people write all
of these.
"""

from accompgen.data import wordings
from accompgen.data.facts import LIGHTLY_SWUNG, STEADY_DB, facts_of, stem_of
from accompgen.data.phrases import (
    band_names,
    bpm_words,
    comping_words,
    instrument_words,
    key_names,
    listed,
    metre_is_told,
    style_words,
    swing_of,
    tempo_words,
    with_article,
)

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


def captions_of(
    meta: dict, rng, count: int, stem: str | None = None, span=None, players: float = 0.0,
    beside: str | None = None,
) -> list[str]:  # fmt: skip
    """Captions in several wordings, each of any part of what is known.

    Args:
        meta: see facts.py; for an augmented copy, what `facts.changed` makes of it.
        rng: numpy Generator; its state decides everything.
        count: how many. They differ from each other where enough is known.
        stem: drums, bass or harmony, to speak of it alone; None: of the band.
        span: (start, end) in seconds, such as a window or a passage, to speak of it alone.
        players: share of the captions that name somebody who plays, whatever else they say.
        beside: drums, bass or harmony: such a caption names somebody of this stem at least, where
            it plays; None: anybody.

    Returns: none where nothing is known.
    Raises ValueError for an unknown stem or a span that ends before it begins.
    """
    facts = facts_of(meta, stem, span)
    if not _sayable(facts):
        return []
    captions = []
    for _ in range(count):
        for _ in range(REDRAWS):
            text = _draw(facts, rng, players, beside)
            if text not in captions:
                break
        captions.append(text)
    return captions


# ---- drawing a caption ----


def _draw(facts, rng, players, beside):
    sayable = _sayable(facts)
    if facts.metre == "4/4" and len(sayable) > 1 and rng.random() >= COMMON_METRE_SHARE:
        sayable.remove("metre")
    weights = [WEIGHTS[kind] for kind in sayable]
    number = min(len(sayable), 1 + int(rng.choice(len(SAID), p=SAID)))
    shares = [weight / sum(weights) for weight in weights]
    said = {sayable[i] for i in rng.choice(len(sayable), number, replace=False, p=shares)}
    forced = players and "instruments" in sayable and rng.random() < players
    said |= {"instruments"} if forced else set()
    silent = facts.stem in facts.missing
    said |= {"missing"} if silent else set()
    named = _named(facts, said, rng, beside if forced else None)
    if not silent and len(said) > 1 and rng.random() < SENTENCE_SHARE:
        return _sentence(facts, said, named, rng)
    return _tags(facts, said, named, rng)


def _sayable(facts):
    """The kinds of things that are known, in one order."""
    known = {
        "style": facts.style, "tags": facts.tags, "mood": facts.moods, "tempo": tempo_words(facts),
        "bpm": facts.bpm or facts.about_bpm,
        "metre": facts.metre in wordings.METRES,
        "key": facts.key,
        "instruments": facts.instruments, "comping": facts.comping, "bass line": facts.bass_line,
        "swing": facts.swing >= LIGHTLY_SWUNG, "missing": facts.missing, "band": band_names(facts),
        "label": facts.label, "louder": facts.louder and abs(facts.louder) >= STEADY_DB,
        "builds": facts.builds, "entering": facts.entering, "form": len(facts.form) > 1,
    }  # fmt: skip
    return [kind for kind, value in known.items() if value]


def _tags(facts, said, named, rng):
    """`soft ballad, piano and brushes, in C minor`: adjectives before their style, then the rest."""
    adjectives = [_pick(words, rng) for words in _adjectives(facts, said, rng)]
    lines = adjectives
    if "style" in said:
        tags, nouns = style_words(facts)
        if adjectives and rng.random() < 0.6:
            lines = [" ".join([*adjectives, _pick(nouns, rng)])]
        else:
            lines = [_pick(tags, rng), *adjectives]
    if "swing" in said:
        lines.append(_pick(wordings.SWINGS[swing_of(facts)], rng))
    lines += [facts.label] if "label" in said else []
    if named and rng.random() < 0.6:
        lines.append(listed(named))
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
        adjectives.append(wordings.SWINGS[swing_of(facts)][0])
    where = [_pick(words, rng) for words in _places(facts, said)]
    noun, label = _noun(facts, said, rng)
    opener = _pick(wordings.OPENERS, rng) if rng.random() < 0.4 else ""
    if facts.stem and named and noun not in style_words(facts)[1]:
        # an instrument is its own part: no `bass part with bass`
        text = opener + " ".join([_described(adjectives, listed(named)), *where])
    else:
        thing = with_article(_described(adjectives, noun))
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
        return _pick(style_words(facts)[1], rng), label
    if facts.label in wordings.SECTIONS and label and not facts.stem:
        return facts.label, []
    return _pick(wordings.NOUNS[facts.stem], rng), label


def _with_players(thing, opener, facts, said, named, rng):
    """A thing and those who play it, in one order or the other."""
    if not named:
        return opener + thing
    players = listed(named)
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
        found.append([w for w in tempo_words(facts) if w not in wordings.NO_ADJECTIVES])
    return found


def _places(facts, said):
    """Wordings of what follows a noun: in a key, at a tempo, in a metre."""
    found = []
    if "key" in said:
        found.append([f"in {name}" for name in key_names(facts.key)])
    if "bpm" in said:
        found.append([f"at {words}" for words in bpm_words(facts) if not words.startswith("tempo")])
    if "metre" in said and not metre_is_told(facts, said):
        found.append([wordings.METRES[facts.metre][0]])
    return found


def _details(facts, said, rng):
    """What stands by itself, each as one phrase."""
    found = []
    if "key" in said:
        name = _pick(key_names(facts.key), rng)
        found.append(_pick((name, f"in {name}", f"key of {name}"), rng))
    if "bpm" in said:
        found.append(_pick(bpm_words(facts), rng))
    if "metre" in said and not (metre_is_told(facts, said) and len(said) > 1):
        found.append(_pick(wordings.METRES[facts.metre], rng))
    if "tags" in said:
        found += [tag for tag in facts.tags if rng.random() < 0.6] or [_pick(facts.tags, rng)]
    if "missing" in said:
        found.append(f"{_pick(('no', 'without'), rng)} {' or '.join(facts.missing)}")
    if "band" in said:
        found.append(_pick(band_names(facts), rng))
    if "builds" in said:
        found.append(_pick(wordings.BUILDS, rng))
    if "entering" in said:
        word = _pick(instrument_words(_pick(facts.entering, rng)), rng)
        found.append(_pick((f"{word} coming in later", f"later with {word}"), rng))
    if "form" in said:
        found.append(_pick((" - ".join(facts.form), ", then ".join(facts.form)), rng))
    return found


def _named(facts, said, rng, beside):
    """Who is spoken of, some of those who play or all, with how they play where that is said;
    somebody of the stem `beside` at least, where it plays."""
    players = list(facts.instruments)
    chosen = set()
    if "instruments" in said:
        everybody = rng.random() < 0.45
        number = len(players) if everybody else 1 + int(rng.integers(len(players)))
        chosen = {players[i] for i in rng.permutation(len(players))[:number]}
        own = [player for player in players if beside and stem_of(player) == beside]
        if own and not chosen & set(own):
            chosen.add(own[int(rng.integers(len(own)))])
    ways = {}
    if "comping" in said:
        pattern, player = facts.comping
        ways[player] = comping_words(pattern, player)
    if "bass line" in said:
        pattern, player = facts.bass_line
        ways[player] = wordings.BASS_LINES[pattern]
    words = []
    for player in players:
        if player in chosen or player in ways:
            word = _pick(instrument_words(player), rng)
            words.append(_pick(ways[player], rng).format(word) if player in ways else word)
    if rng.random() < 0.4:
        words = [words[i] for i in rng.permutation(len(words))]
    return list(dict.fromkeys(words))


def _pick(wordings_of, rng):
    """One of several, the first as often as all others together."""
    many = list(wordings_of)
    if len(many) == 1 or rng.random() < 0.5:
        return many[0]
    return many[1 + int(rng.integers(len(many) - 1))]
