"""Songs before they sound: scores, the composer, the band's notes, syllables. No audio is made here."""

from dataclasses import replace

import numpy as np
import pytest

from accompgen.analysis.labels import harmony, pitch_class
from accompgen.data.synthetic.band import (
    BASS_LINES,
    COMPINGS,
    CRASH,
    DRUMS,
    INSTRUMENTS,
    KICK,
    PARTS,
    TOMS,
    _comp,
    _drums,
    _passages,
    arrange,
)  # fmt: skip
from accompgen.data.synthetic.bank import syllables
from accompgen.data.synthetic.compose import SCALES, STRONG, compose
from accompgen.data.synthetic.score import (
    Chord,
    Note,
    Score,
    Section,
    clip_notes,
    monophonic,
    transpose_label,
)  # fmt: skip

SONGS = [compose(np.random.default_rng(seed), 24.0) for seed in range(40)]


# score


@pytest.mark.parametrize(
    ("label", "root", "bass", "tones"),
    [
        ("C:maj", 0, 0, {0, 4, 7}),
        ("C", 0, 0, {0, 4, 7}),
        ("Bb:min7", 10, 10, {10, 1, 5, 8}),
        ("F#:maj/3", 6, 10, {6, 10, 1}),
        ("Eb:min/b3", 3, 6, {3, 6, 10}),
        ("G:7/b7", 7, 5, {7, 11, 2, 5}),
        ("Cb:sus4(b7)", 11, 11, {11, 4, 6, 9}),
        ("C:9(13)", 0, 0, {0, 4, 7, 10, 2, 9}),
        ("D:7(*5,b5)", 2, 2, {2, 6, 8, 0}),
        ("C:aug(b7)", 0, 0, {0, 4, 8, 10}),
    ],
)
def test_chord_labels(label, root, bass, tones):
    found = harmony(label)
    assert (found.root, found.bass, set(found.pitch_classes)) == (root, bass, tones)
    assert list(found.intervals) == sorted(found.intervals)


def test_where_chord_labels_differ_from_mir_eval():
    """A bass outside the chord is no tone of it, and two shorthands of the grammar have tones; all else is the same."""
    chord = pytest.importorskip("mir_eval", reason="mir_eval is not installed (extra `train`)").chord
    for label in ("C:maj7(#11)/b7", "F:min11", "Ab:13", "B:(1,5)", "D:5", "E:1/5", "G:dim7/b3", "C:maj(9)/9"):
        root, bitmap, bass = chord.encode(label, reduce_extended_chords=True)
        found = harmony(label)
        assert (found.root, (found.bass - root) % 12) == (root, bass)
        assert {*found.intervals, bass} == set(np.flatnonzero(bitmap))
    assert harmony("C:maj/2").intervals == (0, 4, 7) and chord.encode("C:maj/2")[1][2] == 1
    for label, intervals in (("C:aug7", (0, 4, 8, 10)), ("C:maj11", (0, 2, 4, 5, 7, 11))):
        assert harmony(label).intervals == intervals
        with pytest.raises(chord.InvalidChordException):
            chord.encode(label, reduce_extended_chords=True)


def test_no_chord_and_unreadable_chords():
    assert harmony("N") is None and harmony("X") is None and transpose_label("N", 3) == "N"
    for label in ("H:maj", "C:major", "C:maj/9x", "C:maj/8b", "c:maj", ""):
        with pytest.raises(ValueError, match="cannot be read"):
            harmony(label)


@pytest.mark.parametrize("rest", ["", "/5", ":maj/3", ":min7", ":7(b9)", ":sus4(b7,9)/b7", ":(3,5)"])
def test_a_transposed_chord_has_transposed_tones(rest):
    for shift in range(-5, 7):
        before, after = harmony(f"Ab{rest}"), harmony(transpose_label(f"Ab{rest}", shift))
        assert set(after.pitch_classes) == {(p + shift) % 12 for p in before.pitch_classes}
        assert after.bass == (before.bass + shift) % 12


def test_a_line_is_made_monophonic_by_hand():
    notes = [
        Note(0.00, 1.00, 60, 90),  # starts with the next one, which is higher and stays
        Note(0.02, 0.50, 67, 80),
        Note(0.80, 2.00, 64, 90),  # cut by the one that follows
        Note(1.50, 1.90, 62, 90),
        Note(1.86, 1.88, 70, 90),  # too short; still it ends the note before it
    ]
    assert monophonic(notes) == (Note(0.0, 0.8, 67, 80), Note(0.8, 1.5, 64, 90), Note(1.5, 1.86, 62, 90))


def test_clipping_keeps_what_sounds_and_drops_stumps():
    notes = [Note(0, 5.05, 60, 90), Note(4, 6, 62, 90), Note(6, 6.1, 64, 90), Note(7.95, 9, 65, 90), Note(8, 9, 66, 90)]
    assert clip_notes(notes, 5, 8) == (Note(0, 1, 62, 90), Note(1, pytest.approx(1.1), 64, 90))


def test_an_excerpt_is_transposed_as_one():
    song = SONGS[0]
    part = song.clipped(4.0, 12.0)
    moved = part.transposed(3, melody_octaves=-1)
    assert part.seconds == 8.0 and all(0 <= n.start < n.end <= 8.0 for n in part.melody)
    assert [n.pitch for n in moved.melody] == [n.pitch - 9 for n in part.melody]
    assert pitch_class(moved.key.split(":")[0]) == (pitch_class(part.key.split(":")[0]) + 3) % 12
    assert [b.position for b in part.beats] == [b.position for b in song.beats if 4.0 <= b.time < 12.0]
    assert [b.time + 4.0 for b in part.beats] == pytest.approx([b.time for b in song.beats if 4.0 <= b.time < 12.0])
    assert part.chords[0].start == 0 and part.chords[-1].end == 8.0
    assert part.sections == moved.sections and part.sections[0].start == 0 and part.sections[-1].end == 8.0
    with pytest.raises(ValueError, match="metre '5/4'"):
        Score("x", 1.0, "C:maj", 90, "5/4", (), (), ())


# composer


def test_composed_songs_are_decided_by_the_seed():
    assert compose(np.random.default_rng(3), 24.0) == SONGS[3]
    assert len({song.melody for song in SONGS}) == len(SONGS)
    assert {s.metre for s in SONGS} == {"4/4", "3/4", "6/8"}
    assert len({s.key.split(":")[0] for s in SONGS}) >= 9 and {s.key.split(":")[1] for s in SONGS} == set(SCALES)


def test_composed_sections_follow_the_form():
    long = compose(np.random.default_rng(3), 120.0)
    bar = long.beats_per_bar * 60 / long.bpm
    labels = [("verse", "verse", "bridge", "verse")[k % 4] for k in range(len(long.sections))]
    assert [s.label for s in long.sections] == labels and len(labels) > 4
    assert all(s.end - s.start == pytest.approx(8 * bar) for s in long.sections[:-1])
    assert [s.end for s in long.sections[:-1]] == [s.start for s in long.sections[1:]]
    assert long.sections[0].start == 0 and long.sections[-1].end == pytest.approx(120.0)
    second = long.sections[1]
    excerpt = long.clipped(second.start - 1.0, second.end + 2.0)
    assert excerpt.sections == (
        Section(0.0, 1.0, "verse"),
        Section(1.0, pytest.approx(1.0 + 8 * bar), "verse"),
        Section(pytest.approx(1.0 + 8 * bar), pytest.approx(3.0 + 8 * bar), "bridge"),
    )


def test_composed_melodies_take_chord_tones_on_strong_beats():
    checked = 0
    for song in SONGS:
        strong = {round(b.time, 3) for b in song.beats if b.position in STRONG[song.metre]}
        for note in song.melody:
            if round(note.start, 3) in strong:
                chord = next(c for c in song.chords if c.start - 1e-6 <= note.start < c.end - 1e-6)
                assert note.pitch % 12 in harmony(chord.label).pitch_classes
                checked += 1
    assert checked > 300


def test_composed_melodies_can_be_sung():
    for song in SONGS:
        pitches = [n.pitch for n in song.melody]
        assert min(pitches) >= 57 and max(pitches) <= 76
        assert max(abs(a - b) for a, b in zip(pitches, pitches[1:], strict=False)) <= 12
        assert np.mean([abs(a - b) for a, b in zip(pitches, pitches[1:], strict=False)]) < 4
        assert all(a.end <= b.start + 1e-9 for a, b in zip(song.melody, song.melody[1:], strict=False))
        assert song.sung_share(0, song.seconds) > 0.5


def test_composed_metres():
    for song in SONGS:
        beats = np.array([b.time for b in song.beats])
        np.testing.assert_allclose(np.diff(beats), 60 / song.bpm, atol=1e-9)
        assert [b.position for b in song.beats] == [k % song.beats_per_bar + 1 for k in range(len(beats))]
        assert song.chords[0].start == 0 and song.chords[-1].end == song.seconds == 24.0
        downbeats = {round(b.time, 6) for b in song.beats if b.position == 1}
        assert all(round(c.start, 6) in downbeats for c in song.chords)


# band


def playing(band, time):
    """The parts that play at a time."""
    return next(p.parts for p in band.passages if p.start - 1e-6 <= time < p.end - 1e-6)


def at(score, time):
    return harmony(next(c.label for c in score.chords if c.start - 0.02 <= time < c.end - 0.02))


@pytest.mark.parametrize("seed", range(12))
def test_the_band_keeps_to_chords_and_beats(seed):
    song = SONGS[seed]
    band = arrange(song, np.random.default_rng(seed))
    for part in {"keys", "pad", "bass"} & set(band.events):
        for note in band.events[part]:
            tones = at(song, note.start + 1e-6)
            assert note.pitch % 12 in {*tones.pitch_classes, tones.bass}, (part, note)
    for chord in song.chords:
        if "bass" in playing(band, chord.start):
            first = min((n for n in band.events["bass"] if n.start >= chord.start - 1e-6), key=lambda n: n.start)
            assert first.start == pytest.approx(chord.start)
            assert first.pitch % 12 == harmony(chord.label).bass and first.pitch < 52
    kicks = np.array([n.start for n in band.events.get("drums", ()) if n.pitch == KICK])
    for beat in song.beats:
        if beat.position == 1 and "drums" in playing(band, beat.time):
            assert np.abs(kicks - beat.time).min() < 1e-6


def test_sections_decide_who_plays():
    """Sections of one name are played alike, the chords are heard in all, and who rests is silent."""
    for seed in range(8):
        song = compose(np.random.default_rng(seed), 60.0)
        band = arrange(song, np.random.default_rng(seed))
        assert [(p.start, p.end, p.label) for p in band.passages] == [tuple(s) for s in song.sections]
        assert len({p.label for p in band.passages}) == len({(p.label, p.level, p.parts) for p in band.passages})
        for passage in band.passages:
            assert {"keys", "pad"} & set(passage.parts)
            for part, notes in band.events.items():
                begun = [n for n in notes if passage.start - 1e-6 <= n.start < passage.end - 0.03]
                sounding = [n for n in notes if n.start < passage.start - 0.03 and n.end > passage.start + 1e-6]
                assert bool(begun) == (part in passage.parts) or passage.end - passage.start < 3, (seed, part)
                assert part in passage.parts or not sounding


def test_choruses_are_louder_and_fuller_than_intros():
    song = replace(SONGS[0], sections=(Section(0.0, 12.0, "intro"), Section(12.0, 24.0, "chorus")))
    rng = np.random.default_rng(0)
    intros, choruses = zip(*(_passages(song, PARTS, rng) for _ in range(100)), strict=True)
    assert np.mean([p.level for p in choruses]) > np.mean([p.level for p in intros]) + 4
    assert np.mean([len(p.parts) for p in choruses]) > np.mean([len(p.parts) for p in intros]) + 0.4


def test_a_song_without_sections_is_played_in_phrases():
    song = replace(compose(np.random.default_rng(0), 60.0), sections=())
    band = arrange(song, np.random.default_rng(0))
    downbeats = [b.time for b in song.beats if b.position == 1]
    assert [p.start for p in band.passages[1:]] == downbeats[8::8] and len(band.passages) > 1
    assert band.passages[0].start == 0 and band.passages[-1].end == song.seconds
    assert {p.label for p in band.passages} == {""}
    silent = Score("x", 4.0, "C:maj", 90, "4/4", (), (Chord(0.0, 4.0, "C:maj"),), ())  # no beat is annotated
    assert [p[:2] for p in arrange(silent, np.random.default_rng(1)).passages] == [(0.0, 4.0)]


def test_drums_fill_into_a_new_section():
    song = compose(np.random.default_rng(3), 60.0)
    pattern = DRUMS[song.metre][min(DRUMS[song.metre])]
    drums = _drums(song, pattern, [s.start for s in song.sections[1:]], np.random.default_rng(0))
    for section in song.sections[1:]:
        assert any(n.pitch == CRASH and n.start == pytest.approx(section.start) for n in drums)
        beat = max(b.time for b in song.beats if b.time < section.start - 0.01)
        assert any(n.pitch in TOMS for n in drums if beat - 1e-6 <= n.start < section.start)


def test_the_band_is_decided_by_the_seed_and_various():
    bands = [arrange(song, np.random.default_rng(i)) for i, song in enumerate(SONGS)]
    assert arrange(SONGS[5], np.random.default_rng(5)) == bands[5]
    assert {b.style for b in bands} - {"no drums"} <= {style for styles in DRUMS.values() for style in styles}
    assert len({b.style for b in bands}) >= 8
    assert {b.bass_line for b in bands} == set(BASS_LINES) and {b.comping for b in bands} == set(COMPINGS)
    assert np.mean(["drums" in b.events for b in bands]) > 0.8
    assert all(b.programs[part] in INSTRUMENTS[part] for b in bands for part in b.events)


@pytest.mark.parametrize("pattern", COMPINGS)
def test_every_comping_pattern_sounds_the_whole_chord(pattern):
    song = SONGS[1]
    notes = _comp(song, pattern)
    for chord in song.chords[:4]:
        heard = {n.pitch % 12 for n in notes if chord.start - 0.02 <= n.start < chord.end - 0.02}
        assert heard == {*harmony(chord.label).pitch_classes}


# syllables


def test_words_are_cut_around_their_vowels():
    names = "pau s t aa r z f ao l pau ow n l iy pau".split()
    phones = [(name, k / 10, (k + 1) / 10) for k, name in enumerate(names)]
    found = syllables(phones, {"aa", "ao", "ow", "iy"})
    cut = [[[p[0] for p in onset], vowel[0], [p[0] for p in coda]] for onset, vowel, coda in found]
    assert cut == [[["s", "t"], "aa", ["r", "z"]], [["f"], "ao", ["l"]], [[], "ow", ["n"]], [["l"], "iy", []]]
