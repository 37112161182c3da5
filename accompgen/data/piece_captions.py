"""All that is known of a piece, in a line for the whole and one for each section: what `prepare` writes. Pure."""

from accompgen.data import wordings
from accompgen.data.facts import STEADY_DB, facts_of, instruments_of, names, sections_of
from accompgen.data.phrases import key_names, listed, tempo_words

FULL, PARTLY = 0.8, 0.4  # fullness from which on the whole band, or part of it, plays
MIN_CAPTION_SECONDS = 2.0  # shorter remains of a section are not spoken of
LOWEST_SUNG = 0.2


def caption(meta: dict) -> str:
    """One line with all that is known of a whole piece, such as `pop, mid-tempo, 96 bpm, in C
    major, electric piano, bass and drums`; "" where nothing is."""
    facts = facts_of(meta)
    said = [str(meta["style"])] if meta.get("style") else []
    said += [*facts.tags, *(wordings.MOODS[mood][0] for mood in facts.moods)]
    if facts.builds:
        said.append(wordings.BUILDS[0])
    if facts.bpm:
        said += [tempo_words(facts)[0], f"{round(facts.bpm)} bpm"]
    elif facts.about_bpm:
        said.append(f"about {round(facts.about_bpm)} bpm")
    if facts.metre and facts.metre != "4/4":
        said.append(f"in {facts.metre}")
    if facts.key:
        said.append(f"in {key_names(facts.key)[0]}")
    instruments = instruments_of(meta)
    if instruments:
        said.append(listed(instruments))
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
        return [listed(instruments)] if instruments else []
    if fullness == 0:
        return ["voice alone" if sung is None or sung >= LOWEST_SUNG else "nobody plays"]
    part = "part of the band" if fullness >= PARTLY else "sparse band"
    band = "full band" if fullness >= FULL else part
    words = [band, listed(instruments)] if instruments else [band]
    return [*words, "no voice"] if sung is not None and sung < LOWEST_SUNG else words
