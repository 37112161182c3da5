"""How a band plays what is written: feel, swing, accents, dynamics. No audio is made here."""

from dataclasses import replace

import numpy as np
import pytest

from accompgen.data.synthetic.band import PARTS, Arrangement, Passage, arrange
from accompgen.data.synthetic.compose import compose
from accompgen.data.synthetic.players import Player, draw_player, draw_swing, dynamics, play_along, swung
from accompgen.data.synthetic.score import Beat, Note, Score

MACHINE = Player(lag=0, looseness=0, swing=0, accents=0, unevenness=0, strum=0, length=1)
BAR = 2.0  # four beats of half a second
SONG = Score("x", 16.0, "C:maj", 120.0, "4/4", (), (), tuple(Beat(k / 2, k % 4 + 1) for k in range(32)))
FLAT = (Passage(0.0, 16.0, "", 0.0, 0.0, PARTS),)


def played(notes, player, passages=FLAT, seed=0, part="keys"):
    arrangement = Arrangement("pop", "long", "block", {part: 0}, {part: tuple(notes)}, passages)
    return play_along(arrangement, SONG, {part: player}, np.random.default_rng(seed)).events[part]


def test_a_machine_plays_what_is_written():
    song = compose(np.random.default_rng(1), 24.0)
    written = arrange(song, np.random.default_rng(1))
    written = replace(written, passages=tuple(p._replace(level=0.0, swell=0.0) for p in written.passages))
    heard = play_along(written, song, dict.fromkeys(PARTS, MACHINE), np.random.default_rng(0))
    for part, notes in written.events.items():
        assert heard.events[part] == tuple(sorted(notes, key=lambda n: (n.start, n.pitch)))


def test_players_of_a_song_differ_and_keep_the_notes():
    song = compose(np.random.default_rng(2), 24.0)
    written = arrange(song, np.random.default_rng(2))
    players = {part: draw_player(part, 0, 0.0, np.random.default_rng([2, i])) for i, part in enumerate(written.events)}
    assert len({player.lag for player in players.values()}) == len(players)
    heard = play_along(written, song, players, np.random.default_rng(0))
    assert heard == play_along(written, song, players, np.random.default_rng(0))
    for part, notes in written.events.items():
        notes = sorted(notes, key=lambda n: (n.start, n.pitch))
        assert [n.pitch for n in heard.events[part]] == [n.pitch for n in notes]
        late = np.array([b.start - a.start for a, b in zip(notes, heard.events[part], strict=True)])
        assert np.abs(late).max() <= 0.08 and late.std() > 0.001
        assert all(0 <= n.start < n.end and 1 <= n.velocity <= 127 for n in heard.events[part])


def test_looseness_and_lag_are_as_drawn():
    notes = [Note(k / 4, k / 4 + 0.2, 60, 90) for k in range(1, 60)]
    late = np.array([n.start for n in played(notes, replace(MACHINE, lag=0.01, looseness=0.005))]) - [n.start for n in notes]
    assert late.mean() == pytest.approx(0.01, abs=0.002) and late.std() == pytest.approx(0.005, abs=0.0015)


def test_a_chord_is_struck_together_and_strummed_from_one_end():
    chord = [Note(1.0, 2.0, pitch, 90) for pitch in (48, 60, 64, 67)]
    together = played(chord, replace(MACHINE, looseness=0.01))
    assert len({n.start for n in together}) == 1 and together[0].start != 1.0
    directions = set()
    for seed in range(40):
        starts = [n.start for n in played(chord, replace(MACHINE, strum=0.03), seed=seed)]
        assert sorted(starts) == pytest.approx([1.0, 1.01, 1.02, 1.03])
        directions.add(starts[0] < starts[-1])
    assert directions == {True, False}


def test_swing_moves_the_second_half_of_a_beat_alone():
    notes = [Note(k / 4, k / 4 + 0.25, 60, 90) for k in range(8)]
    for heard in (played(notes, replace(MACHINE, swing=1 / 6)), swung(SONG, notes, 1 / 6)):
        assert [n.start for n in heard[::2]] == pytest.approx([0, 0.5, 1, 1.5])
        assert [n.start for n in heard[1::2]] == pytest.approx([x + 1 / 3 for x in (0, 0.5, 1, 1.5)])
    sung = swung(SONG, notes, 1 / 6)
    assert [n.end for n in sung] == pytest.approx([*(n.start for n in sung[1:]), 2.0])  # still one note after the other
    assert swung(SONG, notes, 0.0) == tuple(notes)


def test_only_songs_that_can_swing_do():
    straight = replace(SONG, melody=tuple(Note(k / 2, k / 2 + 0.4, 60, 90) for k in range(20)))
    busy = replace(SONG, melody=tuple(Note(k / 8, k / 8 + 0.1, 60, 90) for k in range(80)))
    triple = replace(straight, metre="6/8")
    drawn = {name: [draw_swing(score, np.random.default_rng(seed)) for seed in range(60)]
             for name, score in (("straight", straight), ("busy", busy), ("triple", triple))}  # fmt: skip
    assert not any(drawn["busy"]) and not any(drawn["triple"])
    swings = [swing for swing in drawn["straight"] if swing]
    assert 6 < len(swings) < 30 and min(swings) >= 0.05 and max(swings) <= 0.1667


def test_accents_follow_the_metre():
    notes = [Note(k / 4, k / 4 + 0.2, 60, 80) for k in range(8)]
    velocities = [n.velocity for n in played(notes, replace(MACHINE, accents=10))]
    assert velocities == [90, 75, 80, 75, 85, 75, 80, 75]


def test_dynamics_follow_the_sections():
    passages = (
        Passage(0.0, 8.0, "verse", -6.0, 0.0, PARTS),
        Passage(8.0, 16.0, "chorus", 2.0, 4.0, PARTS),
    )
    times, levels = dynamics(passages, BAR)
    at = np.interp([1.0, 5.9, 7.9, 8.0, 11.0, 15.0], times, levels)
    assert at[:2] == pytest.approx([-6, -6]) and -6 < at[2] < 0  # the last bar leads into the louder chorus
    assert at[3] == pytest.approx(0, abs=0.01) and at[3] < at[4] < at[5] == pytest.approx(4)
    notes = [Note(time, time + 0.2, 60, 80) for time in (1.0, 15.0)]
    soft, loud = (n.velocity for n in played(notes, MACHINE, passages))
    assert 40 * np.log10(loud / soft) == pytest.approx(10, abs=0.5)  # as synthesizers turn velocity into level
