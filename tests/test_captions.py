"""Captions say what is true of a song, in many wordings, and nothing else."""

import re

import numpy as np
import pytest

from accompgen.data import wordings
from accompgen.data.captions import captions_of
from accompgen.data.facts import STEMS, changed, facts_of
from accompgen.data.phrases import key_names
from accompgen.data.piece_captions import caption, section_captions
from accompgen.data.synthetic import band

# what a word in a caption may stand for: written by hand, not read from wordings.py
MAY_BE = {
    "electric piano": ("electric piano", "FM electric piano"), "e-piano": ("electric piano", "FM electric piano"),
    "rhodes": ("electric piano",), "digital piano": ("FM electric piano",),
    "piano": ("acoustic grand piano", "bright acoustic piano"), "harpsichord": ("harpsichord",),
    "vibraphone": ("vibraphone",), "vibes": ("vibraphone",), "harp": ("harp",),
    "electric guitar": ("jazz guitar", "clean electric guitar"), "jazz guitar": ("jazz guitar",),
    "acoustic guitar": ("nylon-string guitar", "steel-string guitar"),
    "guitar": ("nylon-string guitar", "steel-string guitar", "jazz guitar", "clean electric guitar"),
    "strummed": ("nylon-string guitar", "steel-string guitar", "jazz guitar", "clean electric guitar"),
    "fretless bass": ("fretless bass",), "synth bass": ("synth bass", "rubber synth bass"),
    "double bass": ("acoustic bass",), "upright bass": ("acoustic bass",),
    "bass guitar": ("fingered electric bass", "picked electric bass"),
    "electric bass": ("fingered electric bass", "picked electric bass"),
    "bass": tuple(band.INSTRUMENTS["bass"].values()),
    "organ": ("drawbar organ", "church organ"), "hammond": ("drawbar organ",), "church organ": ("church organ",),
    "synth strings": ("synth strings", "slow synth strings"), "strings": ("string ensemble", "slow strings"),
    "string section": ("string ensemble",), "string ensemble": ("string ensemble",),
    "brass": ("brass section",), "horns": ("brass section",), "choir": ("choir pad",),
    "pad": ("warm synth pad", "polysynth pad", "choir pad", "halo pad"), "polysynth": ("polysynth pad",),
    "violin": ("violin",), "trumpet": ("trumpet",), "sax": ("alto saxophone",), "saxophone": ("alto saxophone",),
    "oboe": ("oboe",), "clarinet": ("clarinet",), "flute": ("flute",),
    "synth lead": ("square synth lead", "sawtooth synth lead"), "lead synth": ("square synth lead", "sawtooth synth lead"),
    "square lead": ("square synth lead",), "saw lead": ("sawtooth synth lead",),
    "brushes": ("brushed drum kit",), "brushed": ("brushed drum kit",), "drum machine": ("drum machine",),
    "electronic beat": ("drum machine",), "electronic drums": ("electronic drum kit",),
    "jazz drums": ("jazz drum kit",), "jazz kit": ("jazz drum kit",), "big drums": ("power drum kit",),
    "acoustic drums": ("standard drum kit", "room drum kit", "jazz drum kit"),
    "drums": tuple(band.INSTRUMENTS["drums"].values()), "kit": tuple(band.INSTRUMENTS["drums"].values()),
}  # fmt: skip
# words about everything else -> whether they are true of a song with these values
TRUE_OF = {
    r"\brock\b": lambda m: m["style"] == "rock", r"\bfunk": lambda m: m["style"] == "funk",
    r"\bpop\b": lambda m: m["style"] in ("pop", "pop waltz"), r"\bwaltz": lambda m: "waltz" in m["style"],
    r"\bballad": lambda m: m["style"] == "ballad", r"\bdance|four.on.the": lambda m: m["style"] == "dance",
    r"half.time": lambda m: m["style"] == "half time",
    r"6/8|six-eight": lambda m: m["metre"] == "6/8", r"3/4|three-four|in three": lambda m: m["metre"] == "3/4",
    r"4/4": lambda m: m["metre"] == "4/4", r"\bvery slow\b": lambda m: m["bpm"] < 60,
    r"\bslow\b(?! (strings|synth))": lambda m: m["bpm"] < 84,
    r"mid-tempo|medium tempo|moderate": lambda m: 84 <= m["bpm"] < 112,
    r"\bfast|up-?tempo": lambda m: m["bpm"] >= 112 and m["style"] not in ("ballad", "half time"),
    r"swung|swing": lambda m: m["swing"] > 0, r"minor|[A-G]#?b?m\b": lambda m: m["key"].endswith("min"),
    r"major": lambda m: m["key"].endswith("maj"), r"dorian": lambda m: m["key"].endswith("dor"),
    r"(no|without) drums": lambda m: "drums" not in m["instruments"],
    r"(no|without) (drums or )?bass": lambda m: "bass" not in m["instruments"],
    r"full band": lambda m: {"drums", "bass"} < set(m["instruments"]),
    r"\btrio": lambda m: len(m["instruments"]) == 3, r"quartet": lambda m: len(m["instruments"]) == 4,
    r"arpegg|fingerpicked": lambda m: m["comping"] in ("arpeggio", "broken"), r"block": lambda m: m["comping"] == "block",
    r"octave": lambda m: m["bass_line"] == "octaves", r"root.fifth|root and fifth": lambda m: "fifth" in m["bass_line"],
    r"\bsad\b|wistful|melancholic": lambda m: m["key"].endswith("min") and m["bpm"] < 84,
    r"happy|cheerful|joyful": lambda m: m["key"].endswith("maj") and m["bpm"] >= 108 and "drums" in m["instruments"],
    r"energetic|lively|upbeat": lambda m: m["bpm"] >= 108 and "drums" in m["instruments"],
    r"unplugged": lambda m: not any("synth" in name or "electr" in name for name in m["instruments"].values()),
}  # fmt: skip


def made_up(rng):
    """A song of the band's own vocabulary, its parts drawn."""
    metre = str(rng.choice(["4/4", "3/4", "6/8"], p=[0.6, 0.2, 0.2]))
    parts = [part for part in band.PARTS if rng.random() < band.PLAYS[part]] or ["keys"]
    instruments = {part: str(rng.choice(list(band.INSTRUMENTS[part].values()))) for part in parts}
    half = [part for part in parts if rng.random() < 0.8] or parts
    return {
        "key": f"{rng.choice(['C', 'Db', 'Gb', 'Ab', 'B'])}:{rng.choice(['maj', 'min', 'dor'])}",
        "bpm": float(rng.uniform(50, 160)), "metre": metre, "instruments": instruments,
        "style": str(rng.choice(list(band.DRUMS[metre]))) if "drums" in parts else "no drums",
        "comping": str(rng.choice([*band.COMPINGS, "piano part"])), "bass_line": str(rng.choice(band.BASS_LINES)),
        "swing": float(rng.choice([0, 0.06, 0.15])), "sections": [[0.0, 12.0, "verse"], [12.0, 30.0, "chorus"]],
        "passages": [
            {"start": 0.0, "end": 12.0, "label": "verse", "parts": half, "level": -2.0, "swell": 3.0, "loudness": -3.0},
            {"start": 12.0, "end": 30.0, "label": "chorus", "parts": parts, "level": 2.0, "swell": 0.0, "loudness": 1.8},
        ],
    }  # fmt: skip


def spoken_of(text):
    """The instruments that a caption names, each as the names that it may stand for."""
    # what a missing player, the kind of a song or a way to be sung says is no instrument
    text = re.sub(r"(?i)(no|without) (drums or bass|drums|bass)|bass (line|part)|drum (part|track)|brass chords", "", text)
    text = re.sub(r"piano trio|five-piece band", "", text).lower()
    found = []
    for word in sorted(MAY_BE, key=len, reverse=True):
        text, times = re.subn(rf"\b{word}\b", "", text)
        found += [word] * bool(times)
    return found


def untrue(text, meta, playing):
    """What a caption says that is not so."""
    wrong = [word for word in spoken_of(text) if not set(MAY_BE[word]) & set(playing)]
    wrong += [pattern for pattern, holds in TRUE_OF.items() if re.search(pattern, text) and not holds(meta)]
    for number in re.findall(r"(?<!around )\b(\d+) (?:bpm|BPM|beats)", text):
        wrong += [number] if int(number) != round(meta["bpm"]) else []
    return wrong


def test_captions_are_true_of_songs_and_of_stems():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(45):
        meta = made_up(rng)
        for stem in (None, *STEMS):
            parts = band.PARTS if stem is None else band.STEMS[stem]
            playing = [name for part, name in meta["instruments"].items() if part in parts]
            for text in captions_of(meta, rng, 7, stem=stem):
                assert untrue(text, meta, playing) == [], (text, meta)
                seen |= {pattern for pattern in TRUE_OF if re.search(pattern, text)} | set(spoken_of(text))
    # the test must have seen the words that it judges
    assert seen >= TRUE_OF.keys() - {r"unplugged"} and len(seen & MAY_BE.keys()) > 35


def test_a_caption_that_is_not_true_would_be_found():
    meta = {"instruments": {"keys": "electric piano"}, "bpm": 70.0, "style": "no drums", "metre": "4/4"}
    meta |= {"swing": 0.0, "key": "C:maj"}
    for text in ("piano", "a rock song", "with drums", "swung", "C minor", "71 bpm", "fast", "in 3/4", "trio"):
        assert untrue(text, meta, ["electric piano"]), text
    assert untrue("slow e-piano in C major at 70 bpm, no drums", meta, ["electric piano"]) == []


def test_the_words_cover_the_band():
    for part, programs in band.INSTRUMENTS.items():
        assert set(programs.values()) <= wordings.INSTRUMENTS.keys(), part
    assert {style for styles in band.DRUMS.values() for style in styles} == wordings.STYLES.keys()
    assert wordings.COMPINGS.keys() == set(band.COMPINGS) and wordings.BASS_LINES.keys() == set(band.BASS_LINES)
    assert STEMS.keys() == band.STEMS.keys() and all(set(STEMS[stem]) == set(band.STEMS[stem]) for stem in STEMS)
    every = {*wordings.ACOUSTIC, *wordings.ELECTRONIC, *wordings.LOUD, *wordings.AIRY, *wordings.PIANOS, *wordings.GUITARS}
    assert every <= wordings.INSTRUMENTS.keys()


SONG = {
    "key": "Db:min", "bpm": 72.4, "metre": "4/4", "style": "ballad", "swing": 0.0, "comping": "arpeggio", "bass_line": "long",
    "instruments": {"keys": "acoustic grand piano", "bass": "acoustic bass", "drums": "brushed drum kit"},
    "passages": [
        {"start": 0, "end": 10, "label": "verse", "parts": ["keys"], "loudness": -4.0, "swell": 3.1},
        {"start": 10, "end": 20, "label": "chorus", "parts": ["keys", "bass", "drums"], "loudness": 2.0, "swell": 0.0},
    ],
}  # fmt: skip


def every(meta, count=250, **what):
    return captions_of(meta, np.random.default_rng(1), count, **what)


def test_captions_of_a_seed_repeat_and_differ_from_each_other():
    assert every(SONG, 20) == every(SONG, 20) != captions_of(SONG, np.random.default_rng(2), 20)
    assert len(set(every(SONG, 50))) == 50
    assert every({"style": "pop"}, 8) and set(every({"style": "pop"}, 60)) <= {"pop", "pop beat", "pop song"}
    assert every({}, 5) == [] and caption({}) == ""


def test_people_write_tags_sentences_and_single_words():
    texts = every(SONG)
    assert "ballad" in texts and "slow" in texts and any(text.endswith(".") for text in texts)
    assert any(re.match(r"(soft|gentle|tender) ballad, ", text) for text in texts)
    assert any(re.search(r"C#m|C# minor", text) for text in texts) and any("C sharp minor" in text for text in texts)
    assert any("brushes" in text and "piano" in text and "bass" not in text for text in texts), "any subset"
    assert np.mean([len(text.split()) for text in texts]) < 12 and max(len(text) for text in texts) < 200


def test_who_plays_is_named_as_often_as_asked_for():
    song = {"style": "pop", "key": "C:maj", "bpm": 100, "metre": "3/4", "instruments": {"keys": "harp"}}
    named = [np.mean(["harp" in text.lower() for text in every(song, players=share)]) for share in (0.0, 0.5, 1.0)]
    assert named[0] + 0.07 < named[1] < named[2] - 0.07 and named[2] == 1.0
    assert every({"style": "pop"}, 8, players=1.0) == every({"style": "pop"}, 8), "nobody is known"


def test_a_caption_beside_a_stem_names_somebody_of_it():
    song = SONG | {"instruments": {"keys": "harp", "bass": "fretless bass", "drums": "room drum kit"}}
    texts = {stem: every(song, players=1.0, beside=stem) for stem in (None, "drums", "harmony")}
    share = {stem: np.mean(["harp" in text.lower() for text in said]) for stem, said in texts.items()}
    assert share["harmony"] == 1.0 and share[None] < 0.9 and share["drums"] < 0.9
    alone = {"key": "C:maj", "bpm": 100, "instruments": {"bass": "fretless bass"}}
    assert every(alone, players=1.0, beside="harmony"), "of a stem that nobody plays, somebody else"


def test_a_passage_is_spoken_of_by_itself():
    verse, chorus = every(SONG, span=(0, 10)), every(SONG, span=(10, 20))
    assert not any(re.search(r"(?<!no )(?<!without )(?<!or )\b(bass|drums|brushes|ballad)\b", text) for text in verse)
    assert any(re.search(r"solo piano|just piano|piano only", text) for text in verse)
    assert any(re.search(r"(no|without) drums or bass", text) for text in verse)
    assert any("quiet" in text and "verse" in text for text in verse) and any("building up" in text for text in verse)
    assert any("loud" in text and "chorus" in text for text in chorus) and any("full band" in text for text in chorus)
    assert not any("verse" in text or "quiet" in text or "building" in text for text in chorus)
    whole, both = every(SONG), every(SONG, span=(5, 15))
    assert any(re.search("(brushe[sd]|drums).* coming in later|later with ", text) for text in both)
    assert not any("verse" in text or "chorus" in text or "full band" in text for text in [*whole, *both])
    with pytest.raises(ValueError, match="span is 5 to 5 s"):
        captions_of(SONG, np.random.default_rng(0), 1, span=(5, 5))


def test_who_hardly_plays_is_neither_named_nor_denied():
    texts = every(SONG, span=(0, 12))
    assert not any(re.search(r"\bbass\b|drums|brushes|ballad|full band|solo", text) for text in texts)


def test_a_stem_that_is_silent_is_said_to_be():
    song = SONG | {"instruments": {"keys": "harp"}, "style": "no drums", "passages": []}
    assert all(re.search(r"(no|without) drums", text) for text in every(song, 60, stem="drums"))
    assert not any(re.search(r"\b(no|without)\b", text) for text in every(song, 60, stem="harmony"))
    with pytest.raises(ValueError, match="stem is 'horns'; expected one of drums, bass, harmony"):
        every(song, stem="horns")


def test_a_copy_in_another_key_and_tempo_is_called_so():
    faster = changed(SONG | {"estimated": {"bpm": 70.0, "key": "C:maj"}}, speed=1.25, semitones=3)
    assert (faster["key"], faster["bpm"], faster["estimated"]) == ("E:min", 90.5, {"bpm": 87.5, "key": "Eb:maj"})
    assert [(part["start"], part["end"]) for part in faster["passages"]] == [(0, 8), (8, 16)]
    assert SONG["key"] == "Db:min" and SONG["passages"][0]["end"] == 10, "the song itself stays"
    assert changed(SONG, semitones=0.5)["key"] is None and facts_of(changed(SONG, semitones=0.5)).key is None
    assert changed(SONG)["key"] == "Db:min" and "estimated" not in changed(SONG)


def test_a_prepared_piece_is_spoken_of_by_what_it_has():
    piece = {
        "tags": ["jazz", "live"], "estimated": {"bpm": 93.2, "key": "A:min"},
        "instruments": ["drums", "bass", "other", "piano"],
        "sections": [
            {"start": 0, "end": 8, "label": "intro", "instruments": ["piano"], "loudness": -5.0, "fullness": 0.3, "sung": 0.0},
            {"start": 8, "end": 9, "label": "verse"},
            {"start": 9, "end": 30, "label": "chorus", "instruments": ["drums", "bass"], "loudness": 2.0, "fullness": 0.9},
        ],
    }  # fmt: skip
    expected = "jazz, live, about 93 bpm, in A minor, drums, bass and piano, sections: intro - verse - chorus"
    assert caption(piece) == expected
    texts = every(piece)
    assert not any(re.search(r"slow|mid-tempo|fast|\bother\b|no drums", text) for text in texts)
    assert any("about 93 bpm" in text for text in texts) and any("jazz" in text for text in texts)
    assert any("quiet" in text and "piano" in text for text in every(piece, span=(0, 8)))
    assert not any("piano" in text for text in every(piece, span=(10, 30)))
    assert section_captions(piece) == [
        "section 1: intro, softer, sparse band, piano, no voice", "section 3: chorus, louder, full band, drums and bass",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "label, names",
    [
        ("Db:min", ["C# minor", "C#m", "C sharp minor", "Db minor"]),
        ("Bb:maj", ["Bb major", "B flat major"]),
        ("D:dor", ["D dorian"]),
        ("Gb:maj", ["F# major", "F sharp major", "Gb major"]),
        ("A:min", ["A minor", "Am"]),
    ],
)
def test_keys_are_called_as_musicians_call_them(label, names):
    assert key_names(label) == names
