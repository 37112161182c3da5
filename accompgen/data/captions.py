"""What a song or a piece of one is called in words, from its meta alone: captions to learn prompts from. Pure.

Meta is the JSON beside a prepared piece or a synthetic song: style, tags, instruments, bpm, metre, key, sections,
estimated. A fact that is not there is not spoken of, and a mood is named only where tempo, level and playing say it.
"""

import random

STEADY_DB = 1.5  # a section within so much of the song's mean is neither louder nor softer
FULL, PARTLY = 0.8, 0.4  # fullness from which on the whole band, or part of it, plays
MIN_CAPTION_SECONDS = 2.0  # shorter remains of a section are not spoken of
LOWEST_SUNG = 0.2
TEMPI = ((66, "very slow"), (84, "slow"), (108, "mid-tempo"), (138, "fast"), (1000, "very fast"))
MODES = {"maj": "major", "min": "minor", "dor": "dorian", "mix": "mixolydian", "": "major"}
GENERIC = ("other", "others", "rest", "residual", "mix")  # names of stems that say nothing
KEEP_PROBABILITY = 0.75  # of each fact, in a variant


def caption(meta: dict, variant: int | str | None = None) -> str:
    """One line about a whole piece, such as `pop, mid-tempo, 96 bpm, in C major, electric piano, bass and drums`.

    Args:
        meta: see above.
        variant: None says all facts in one order. Any other value draws an order, wordings and the facts that are left
            out (at least one stays); the same meta and variant give the same line.

    Returns: "" where nothing is known.
    """
    facts = _facts(meta)
    if variant is None:
        return ", ".join(wordings[0] for wordings in facts)
    draw = random.Random(f"{variant} {facts}")
    said = [draw.choice(wordings) for wordings in facts if draw.random() < KEEP_PROBABILITY]
    if not said and facts:
        said = [draw.choice(draw.choice(facts))]
    draw.shuffle(said)
    return ", ".join(said)


def section_captions(meta: dict) -> list[str]:
    """A line for each section, such as `section 2: chorus, louder, full band`; those under 2 s are left out."""
    lines = []
    for number, section in enumerate(sections_of(meta), 1):
        if section["end"] - section["start"] < MIN_CAPTION_SECONDS:
            continue
        words = [section["label"]] if section.get("label") else []
        level = section.get("loudness") or 0.0
        if abs(level) >= STEADY_DB:
            words.append("louder" if level > 0 else "softer")
        lines.append(f"section {number}: {', '.join([*words, *_playing(section)])}")
    return lines


def _playing(section):
    """Who plays in a section, in words."""
    instruments = _names(section.get("instruments") or ())
    fullness, sung = section.get("fullness"), section.get("sung")
    if fullness is None:
        return [_listed(instruments)] if instruments else []
    if fullness == 0:
        return ["voice alone" if sung is None or sung >= LOWEST_SUNG else "nobody plays"]
    band = "full band" if fullness >= FULL else "part of the band" if fullness >= PARTLY else "sparse band"
    words = [band, _listed(instruments)] if instruments else [band]
    return [*words, "no voice"] if sung is not None and sung < LOWEST_SUNG else words


def _facts(meta):
    """Facts in the order of a full caption, each as a list of wordings, the usual one first."""
    facts = []
    if meta.get("style"):
        facts.append([str(meta["style"])])
    facts += [[str(tag)] for tag in meta.get("tags") or () if str(tag) != meta.get("style")]
    facts += [[mood] for mood in _moods(meta)]
    facts += _tempo(meta)
    if meta.get("metre") and meta["metre"] != "4/4":
        facts.append([f"in {meta['metre']}", f"{meta['metre']} time"])
    facts += _key(meta)
    instruments = _instruments(meta)
    if instruments:
        facts.append([_listed(instruments), f"with {_listed(instruments)}", f"played by {_listed(instruments)}"])
    labels = [section["label"] for section in sections_of(meta) if section.get("label")]
    if len(labels) > 1:
        facts.append([f"sections: {' - '.join(labels)}", " then ".join(labels)])
    return facts


def _tempo(meta):
    """Word and number; an estimated tempo may be half or twice the felt one, so its number alone is said, with `about`."""
    if meta.get("bpm"):
        number = f"{round(float(meta['bpm']))} bpm"
        return [[_tempo_word(meta), f"{_tempo_word(meta)} tempo"], [number, f"{number.removesuffix(' bpm')} beats per minute"]]
    estimated = (meta.get("estimated") or {}).get("bpm")
    return [[f"about {round(estimated)} bpm"]] if estimated else []


def _tempo_word(meta):
    return next(word for limit, word in TEMPI if float(meta["bpm"]) < limit)


def _key(meta):
    label = meta.get("key") or (meta.get("estimated") or {}).get("key")
    if not label:
        return []
    tonic, colon, mode = str(label).partition(":")
    name = f"{tonic} {MODES.get(mode, mode)}" if colon else str(label)
    return [[f"in {name}", f"key of {name}"]]


def _moods(meta):
    """Words for how it goes, each from two facts at least."""
    bpm, sections = meta.get("bpm"), sections_of(meta)
    words, played = [], [section["fullness"] for section in sections if section.get("fullness") is not None]
    drums = any("drum" in name for name in _instruments(meta))
    if bpm and float(bpm) >= 108 and drums and played and sum(played) / len(played) >= FULL:
        words.append("energetic")
    if bpm and float(bpm) < 84 and _instruments(meta) and not drums:
        words.append("calm")
    levels = [section["loudness"] for section in sections if section.get("loudness") is not None]
    if len(levels) > 2 and levels == sorted(levels) and levels[-1] - levels[0] >= 2 * STEADY_DB:
        words.append("builds up")
    return words


def _instruments(meta):
    known = meta.get("instruments") or ()
    return _names(known.values() if isinstance(known, dict) else known)


def _names(instruments):
    """Names without repetition, lists within flattened; what says nothing is left out."""
    flat = []
    for name in instruments:
        flat += [name] if isinstance(name, str) else list(name)
    return [name for name in dict.fromkeys(name.replace("_", " ") for name in flat) if name not in GENERIC]


def _listed(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def sections_of(meta: dict) -> list[dict]:
    """The sections of a meta as dicts with start, end and label at least; scores write [start, end, label]."""
    found = meta.get("sections") or ()
    return [dict(part) if isinstance(part, dict) else dict(zip(("start", "end", "label"), part)) for part in found]
