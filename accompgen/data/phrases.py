"""What is known of a song (facts.py) -> what it may be called, the usual phrase first. Pure: nothing is drawn here."""

from accompgen.data import wordings
from accompgen.data.facts import SWUNG


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


def comping_words(pattern, player):
    """How somebody plays chords; a guitar's are strummed or picked."""
    if player not in wordings.GUITARS:
        return wordings.COMPINGS[pattern]
    own = [words for patterns, words in wordings.GUITAR_COMPINGS if pattern in patterns]
    return sum(own, ()) + wordings.COMPINGS[pattern]


def band_names(facts):
    """What a band like this is called."""
    found = ["full band"] if facts.full else []
    if not facts.complete or not facts.instruments:
        return found
    number = len(facts.instruments)
    if number == 1:
        word = instrument_words(facts.instruments[0])[0]
        return [f"solo {word}", f"{word} only", f"just {word}"]
    found += [wordings.BANDS[number]] if number in wordings.BANDS else []
    if number == 2:
        found.append("sparse")
    playing = set(facts.instruments)
    kinds = wordings.PIANOS, wordings.BASSES, wordings.KITS
    if number == 3 and all(playing & set(kind) for kind in kinds):
        found.append("piano trio")
    return found


def style_words(facts):
    """(tags, nouns) of a style; a corpus's own word stands for itself."""
    word = str(facts.style)
    tags, nouns = wordings.STYLES.get(word, ((word,), (f"{word} song", f"{word} track")))
    if facts.stem == "drums" and word in wordings.SIDE_STICK_STYLES:
        tags = (*tags, "cross-stick")
    if facts.stem != "drums":
        return tags, nouns
    return tuple(tuple(w for w in words if not w.endswith("song")) for words in (tags, nouns))


def swing_of(facts):
    return "swung" if facts.swing >= SWUNG else "light"


def tempo_words(facts):
    """Words for a tempo that is annotated; an estimated one may be half or twice the felt one."""
    if not facts.bpm:
        return ()
    words = next(words for limit, words in wordings.TEMPI if facts.bpm < limit)
    unhurried = facts.style in wordings.UNHURRIED_STYLES and facts.bpm >= 108
    return () if unhurried else words


def bpm_words(facts):
    if not facts.bpm:
        return (f"about {round(facts.about_bpm)} bpm",)
    number = round(facts.bpm)
    return (
        f"{number} bpm", f"{number} BPM", f"tempo {number}", f"{number} beats per minute",
        f"around {10 * round(facts.bpm / 10)} bpm",
    )  # fmt: skip


def metre_is_told(facts, said):
    """Whether the style names the metre: no waltz is in three-four by chance."""
    return "style" in said and facts.style in wordings.THREES + wordings.SIXES


def instrument_words(name):
    return wordings.INSTRUMENTS.get(name, (name,))


def with_article(text):
    return f"{'an' if text[0].lower() in 'aeiou' else 'a'} {text}"


def listed(words):
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
