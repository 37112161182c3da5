"""Keys and chords as people write them."""

import pytest

from accompgen.analysis import labels

pytest.importorskip("mir_eval", reason="chord labels need mir_eval: pip install 'accompgen[eval]'")


@pytest.mark.parametrize(
    "text, key",
    [
        ("A minor", "A:min"), ("Am", "A:min"), ("A:min", "A:min"), ("a min", "A:min"),
        ("c# minor", "C#:min"),
        ("A", "A:maj"), ("Bb", "Bb:maj"), ("B♭ Major", "Bb:maj"), ("bb minor", "Bb:min"),
        ("E-flat major", "Eb:maj"), ("F sharp minor", "F#:min"), ("B Flat", "Bb:maj"),
        ("CM", "C:maj"), ("D dorian", "D:dor"), ("D:dor", "D:dor"), ("F#:mixolydian", "F#:mix"),
        ("A:aeolian", "A:min"),
        (" C_maj ", "C:maj"),
    ],
)  # fmt: skip
def test_keys(text, key):
    assert labels.read_key(text) == key


@pytest.mark.parametrize("text", ["", "a", "H", "C foo", "X minor", "C ma", "8A", None, 3])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(labels.LabelError, match="cannot be read; expected"):
        labels.read_key(text)


@pytest.mark.parametrize(
    "text, label, root, bass, tones",
    [
        ("Am", "A:min", 9, 9, {9, 0, 4}),
        ("F#m7", "F#:min7", 6, 6, {6, 9, 1, 4}),
        ("C:maj(9)", "C:maj(9)", 0, 0, {0, 2, 4, 7}),
        ("C:11", "C:11", 0, 0, {0, 2, 4, 5, 7, 10}),
        ("C:maj11", "C:maj11", 0, 0, {0, 2, 4, 5, 7, 11}),
        ("C", "C", 0, 0, {0, 4, 7}),
        ("CM7", "C:maj7", 0, 0, {0, 4, 7, 11}),
        ("CΔ", "C:maj7", 0, 0, {0, 4, 7, 11}),
        ("C-7", "C:min7", 0, 0, {0, 3, 7, 10}),
        ("B♭maj7", "Bb:maj7", 10, 10, {10, 2, 5, 9}),
        ("Am(maj7)", "A:minmaj7", 9, 9, {9, 0, 4, 8}),
        ("Dm7b5", "D:hdim7", 2, 2, {2, 5, 8, 0}),
        ("Cø", "C:hdim7", 0, 0, {0, 3, 6, 10}),
        ("C°7", "C:dim7", 0, 0, {0, 3, 6, 9}),
        ("C+", "C:aug", 0, 0, {0, 4, 8}),
        ("G7sus4", "G:sus4(b7)", 7, 7, {7, 0, 2, 5}),
        ("Cadd9", "C:maj(9)", 0, 0, {0, 2, 4, 7}),
        ("C6/9", "C:maj6(9)", 0, 0, {0, 2, 4, 7, 9}),
        ("D7(b9)", "D:7(b9)", 2, 2, {2, 3, 6, 9, 0}),
        ("D7b9b13", "D:7(b9,b13)", 2, 2, {2, 3, 6, 9, 10, 0}),
        ("C7#5", "C:7(*5,#5)", 0, 0, {0, 4, 8, 10}),
        ("C7no3", "C:7(*3)", 0, 0, {0, 7, 10}),
        ("C/E", "C:maj/3", 0, 4, {0, 4, 7}),
        ("Em7/D", "E:min7/b7", 4, 2, {4, 7, 11, 2}),
        ("G:maj/5", "G:maj/5", 7, 2, {7, 11, 2}),
    ],
)
def test_chords_and_their_tones(text, label, root, bass, tones):
    assert labels.read_chord(text) == label
    found = labels.harmony(label)
    assert (found.root, found.bass, set(found.pitch_classes)) == (root, bass, tones)


@pytest.mark.parametrize("text", ["N", "N.C.", "NC", "no chord", ""])
def test_no_chord(text):
    assert labels.read_chord(text) == "N" and labels.harmony("N") is None


@pytest.mark.parametrize("text", ["H:maj", "C:banana", "C:maj/x", "Foo", "am", "Cb14", "D7alt"])
def test_what_is_no_chord_is_refused(text):
    with pytest.raises(labels.LabelError, match="cannot be read; expected a symbol such as Am7"):
        labels.read_chord(text)


@pytest.mark.parametrize(
    "label, symbol",
    [
        ("C:maj", "C"), ("A:min", "Am"), ("A:min/b3", "Am/C"), ("F#:min7/b3", "F#m7/A"), ("Bb:7", "Bb7"), ("B:hdim7", "Bm7b5"),
        ("E:maj/3", "E/G#"), ("Cb:maj/3", "Cb/Eb"), ("G:sus4(b7)", "G7sus4"), ("D:maj(9)", "Dadd9"), ("C:minmaj7", "CmM7"),
        ("N", "N"), ("X", "X"), ("D:maj(*5)", "D:maj(*5)"), ("F:1", "F:1"), ("C", "C"), ("E:maj/#4", "E/#4"),
    ],
)  # fmt: skip
def test_symbols_of_labels(label, symbol):
    assert labels.chord_symbol(label) == symbol
    assert labels.full_label(labels.read_chord(symbol)) == labels.full_label(label)


def test_a_full_label_names_its_quality():
    for label, full in [("C", "C:maj"), ("C/3", "C:maj/3"), ("C:min", "C:min"), ("N", "N"), ("X", "X")]:
        assert labels.full_label(label) == full
