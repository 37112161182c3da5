"""Prompts by section: how they are read, what is refused, and which one holds in a window."""

import math

import pytest

from accompgen.prompts import Prompt, PromptError, clock, fitted, left_out, read_prompts, text_at
from accompgen.stages import STEMS


def spans(texts, seconds=None):
    prompts = read_prompts(texts)
    if seconds is not None:
        prompts = fitted(prompts, seconds)
    return [(prompt.start, prompt.end, prompt.text) for prompt in prompts]


@pytest.mark.parametrize(
    "said, start, end, text",
    [
        ("soft ballad, piano", 0, math.inf, "soft ballad, piano"),
        ("0:40-1:10: full band", 40, 70, "full band"),
        ("40-70: full band", 40, 70, "full band"),
        ("40.25 - 1:10.5 :  full   band ", 40.25, 70.5, "full band"),
        ("0:40–1:10: full band", 40, 70, "full band"),
        ("1:10-: quiet: piano only", 70, math.inf, "quiet: piano only"),
        ("1:10-:quiet", 70, math.inf, "quiet"),
        ("1:02:03-1:02:04: end", 3723, 3724, "end"),
        ("120 bpm, swung", 0, math.inf, "120 bpm, swung"),
        ("90-100 bpm, 4/4", 0, math.inf, "90-100 bpm, 4/4"),
        ("drums: brushes", 0, math.inf, "drums: brushes"),
        ("6/8, six-eight", 0, math.inf, "6/8, six-eight"),
    ],
)
def test_a_prompt_is_read(said, start, end, text):
    assert spans([said]) == [(start, end, text)]


def test_a_prompt_without_times_holds_where_no_other_does():
    texts = ["1:00-: big end", "soft ballad", "0:20-0:30: full band", "30-40: drums only"]
    expected = [(0, 20, "soft ballad"), (20, 30, "full band"), (30, 40, "drums only"), (40, 60, "soft ballad")]
    assert spans(texts) == [*expected, (60, math.inf, "big end")]
    assert spans(texts, 61.5) == [*expected, (60, 61.5, "big end")]
    assert spans([]) == []


@pytest.mark.parametrize(
    "texts, says",
    [
        (["0:40-1:10 full band"], "'0:40-1:10 full band': its times cannot be read"),
        (["0:40: full band"], "'0:40: full band': its times cannot be read"),
        (["40: full band"], "times cannot be read"),
        (["1:2:3:4-2: x"], "times cannot be read"),
        (["-0:40: x"], "'-0:40: x': its times cannot be read"),
        (["from 0:40 to 1:10: full band"], "times cannot be read"),
        (["drums come in at 0:40"], "times cannot be read"),
        (["10s-20s: piano"], "times cannot be read"),
        (["0:40-1:70: x"], "there is no time 1:70"),
        (["1:60:00-: x"], "there is no time 1:60:00"),
        (["1:10-0:40: x"], "'1:10-0:40: x' ends at 0:40, not after its start 1:10"),
        (["40-40: x"], "not after its start"),
        (["0:40-1:10:"], "'0:40-1:10:' has no text"),
        (["  "], "has no text"),
        (["a", "b"], "'a' and 'b' are both for the whole song"),
        (["30-50: a", "0:10-0:31: b"], "'0:10-0:31: b' and '30-50: a' overlap from 0:30 on"),
        (["10-: a", "90-: b"], "overlap from 1:30 on"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_named(texts, says):
    with pytest.raises(PromptError) as error:
        read_prompts(texts)
    assert says in str(error.value)


def test_a_prompt_outside_the_song_is_named():
    with pytest.raises(PromptError, match="'3:00-: x' begins at 3:00; the song is 2:00.5 long"):
        fitted(read_prompts(["3:00-: x"]), 120.5)
    with pytest.raises(PromptError, match=r"'1:00-2:02: x' ends at 2:02; the song is 2:00.5 long; .*\"1:00-: x\""):
        fitted(read_prompts(["1:00-2:02: x"]), 120.5)
    assert spans(["1:00-2:01: x"], 120.5) == [(60, 120.5, "x")], "a song that a player shows as 2:01"
    assert spans(["all", "0-2: x"], 2.0) == [(0, 2, "x")], "nothing is left for the other"


def test_the_text_of_a_window_is_that_of_most_of_it():
    prompts = read_prompts(["soft", "10-14: loud"])
    assert [text_at(prompts, start, start + 6) for start in (0, 6, 8, 9, 13)] == ["soft", "soft", "loud", "loud", "soft"]
    assert text_at(prompts, 4, 24) == "soft", "before and after it count together"
    alone = [Prompt(10, 14, "loud")]
    assert [text_at(alone, start, start + 8) for start in (0, 5, 6, 10, 11, 20)] == ["", "", "loud", "loud", "", ""]
    both = read_prompts(["0-5: a", "5-10: b"])
    assert text_at(both, 0, 10) == "a" and text_at(both, 0.1, 10) == "b" and text_at([], 0, 10) == ""


def test_times_are_told_as_they_are_written():
    assert [clock(t) for t in (0, 65.5, 3723, 59.9996)] == ["0:00", "1:05.5", "1:02:03", "1:00"]


@pytest.mark.parametrize(
    "said, text, absent",
    [
        ("no drums", "", ("drums",)),
        ("harp, No drums", "harp", ("drums",)),
        ("soft ballad without drums or bass", "soft ballad", ("drums", "bass")),
        ("piano, no bass, no drums, slow", "piano, slow", ("drums", "bass")),
        ("no drums but loud organ", "loud organ", ("drums",)),
        ("a song with no bass", "a song", ("bass",)),
        ("without any drums with strings", "strings", ("drums",)),
        ("no drums. Slow", "Slow", ("drums",)),
        ("bass, no drums and no harmony", "bass", ("drums", "harmony")),
        ("no drums no bass", "", ("drums", "bass")),
        ("no drums without bass, harp", "harp", ("drums", "bass")),
        ("no drums until the chorus", "no drums until the chorus", ()),
        ("no bass drum, big drums", "no bass drum, big drums", ()),
        ("no piano", "no piano", ()),
        ("piano and drums", "piano and drums", ()),
    ],
)
def test_who_shall_not_play_is_understood_and_not_read(said, text, absent):
    (prompt,) = read_prompts([said], STEMS)
    assert (prompt.text, prompt.absent) == (text, absent)
    assert left_out([prompt]) == absent
    assert read_prompts([said])[0].text == " ".join(said.split()), "where there are no stems it is a text as any other"


def test_who_rests_for_a_while_is_not_left_out():
    prompts = read_prompts(["0:10-0:20: no drums", "piano"], STEMS)
    assert left_out(prompts) == () and [prompt.absent for prompt in prompts] == [(), ("drums",), ()]
    assert left_out(read_prompts(["0:10-: no drums"], STEMS)) == () == left_out([])
    assert text_at(prompts, 12.0, 18.0) == "" and text_at(prompts, 2.0, 8.0) == "piano"
