"""The sections of songs made by rule: where they begin, which are the same, what they are
called."""

import numpy as np
import pytest
from made_songs import CHORUS, RATE, VERSE, song

pytest.importorskip("librosa", reason="sections need librosa: pip install 'accompgen[train]'")

from accompgen.analysis.features import hear
from accompgen.analysis.sections import describe_sections, find_sections

BAR = 2.0  # seconds
INTRO = ("intro", VERSE, 8, False, False, 1.0)
A = ("verse", VERSE, 8, True, True, 0.6)
B = ("chorus", CHORUS, 8, True, True, 1.4)
FORMS = {"ABAB": (A, B, A, B), "intro AB": (INTRO, A, B)}


@pytest.fixture(scope="module")
def songs():
    made = {name: song(parts, seed=1) for name, parts in FORMS.items()}
    made |= {
        f"{'A' * count}{seed}": song((A,) * count, seed=seed)
        for count, seed in ((2, 0), (4, 1), (4, 2))
    }
    return {
        name: (hear(voice, RATE), hear(band, RATE), true)
        for name, (voice, band, true) in made.items()
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("known", ["beats and bars", "nothing"])
def test_borders_are_found_within_a_bar(songs, form, known):
    voice, band, true = songs[form]
    end = true[-1][1]
    times = (np.arange(0, end, BAR / 4), np.arange(0, end, BAR)) if known != "nothing" else ()
    found = find_sections(voice, band, *times)
    assert len(found) == len(true)
    for section, (start, stop, _) in zip(found, true):
        assert abs(section.start - start) <= BAR and abs(section.end - stop) <= BAR
    assert found[0].start == 0 and found[-1].end == pytest.approx(end, abs=0.05)
    assert all(first.end == second.start for first, second in zip(found, found[1:]))


def test_what_comes_back_has_one_letter_and_the_louder_is_the_chorus(songs):
    voice, band, true = songs["ABAB"]
    found = find_sections(voice, band, np.arange(0, true[-1][1], BAR / 4))
    assert [section.letter for section in found] == ["A", "B", "A", "B"]
    assert [section.label for section in found] == ["verse", "chorus", "verse", "chorus"]
    assert (
        found[1].loudness > 0 > found[0].loudness and min(section.sung for section in found) > 0.3
    )


def test_what_nobody_sings_before_the_first_voice_is_the_intro(songs):
    voice, band, true = songs["intro AB"]
    found = find_sections(voice, band, np.arange(0, true[-1][1], BAR / 4))
    assert (
        found[0].label == "intro"
        and found[0].sung < 0.05
        and found[0].letter not in (found[1].letter, found[2].letter)
    )


@pytest.mark.parametrize("form", ["AA0", "AAAA1", "AAAA2"])
def test_a_song_without_form_is_one_section(songs, form):
    """Four chords that go round, however often."""
    voice, band, true = songs[form]
    for beats in ((), np.arange(0, true[-1][1], BAR / 4)):
        (only,) = find_sections(voice, band, beats)
        assert (only.start, only.label) == (0, "verse") and only.end == pytest.approx(
            true[-1][1], abs=0.05
        )
    (short,) = find_sections(voice.between(0, 6), band.between(0, 6))
    assert short.end == pytest.approx(6, abs=0.05)


def test_sections_that_are_known_keep_their_names(songs):
    voice, band, true = songs["ABAB"]
    found = describe_sections(voice, band, true)
    assert [(part.start, part.end, part.label) for part in found] == true
    assert all(part.letter is None for part in found)
    assert found[1].loudness > found[0].loudness + 1
