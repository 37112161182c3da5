"""The two grades of a piece: each figure on sound that has its fault and on sound that has not, and the best share."""

import numpy as np
import pytest
from made_songs import RATE, clipped, low_passed, noisy, verses

from accompgen import audio
from accompgen.analysis.agreement import onset_agreement, tonal_agreement
from accompgen.analysis.faults import bleed, flat_top_share, frames_of, noise_floor
from accompgen.analysis.features import hear
from accompgen.data import grading

PAIRS = [verses(*song) for song in ((1, 0, 0.5), (2, 5, 0.43), (3, 2, 0.57), (4, 9, 0.47))]
HEARD = [[hear(track, RATE) for track in pair] for pair in PAIRS]
VOICE, BAND = PAIRS[0]


def technical(voice=VOICE, band=BAND):
    return grading.grade_technical(voice, band, RATE, (voice[None], band[None]))


CLEAN = technical()

# The recording


def test_a_clean_pair_has_no_fault():
    assert CLEAN["technical"] > 0.9
    assert CLEAN["clipped_share"] == 0 and CLEAN["noise_db"] == [-100, -100] and CLEAN["bleed"] < 5e-4
    assert min(CLEAN["bandwidth_hz"]) > 10_000


@pytest.mark.parametrize("hz", [8_000, 4_000])
def test_a_low_passed_copy_is_graded_by_its_bandwidth(hz):
    for pair in ((low_passed(VOICE, hz), BAND), (VOICE, low_passed(BAND, hz))):
        faulty = technical(*pair)
        assert min(faulty["bandwidth_hz"]) == pytest.approx(hz, rel=0.05)
        assert faulty["technical"] < (0.85 if hz == 8_000 else 0.5) * CLEAN["technical"]


def test_clipping_is_found_at_any_level_and_more_of_it_grades_lower():
    grades = []
    for decibel in (0, 3, 6, 12):
        harsh = clipped(BAND, decibel)
        assert flat_top_share(0.2 * harsh) == pytest.approx(flat_top_share(harsh), abs=1e-5)
        grades.append(technical(band=harsh)["technical"])
    assert grades == sorted(grades, reverse=True) and len(set(grades)) == 4 and grades[-1] < 0.3
    assert technical(clipped(VOICE, 6))["technical"] < 0.6 * CLEAN["technical"]


def test_the_crest_of_a_tone_is_no_clipping():
    time = np.arange(RATE) / RATE
    for hertz in (3000, 440, 55, 30):
        tone = np.sin(2 * np.pi * hertz * time)
        assert flat_top_share(tone) == 0
        assert hertz == 3000 or flat_top_share(clipped(tone, 1)) > 0.2  # 8 samples a period: no run of 3
    one_sided = np.stack([tone, np.minimum(tone, 0.8)])  # the second channel alone, at one side
    assert 0.1 < flat_top_share(one_sided) < 0.3
    assert flat_top_share(np.zeros((2, 100))) == 0


def test_steady_noise_is_measured_and_music_is_none():
    levels = []
    for decibel in (30, 40):
        faulty = technical(noisy(VOICE, decibel))
        levels.append(faulty["noise_db"][0])
        assert faulty["technical"] < CLEAN["technical"]
        assert technical(band=noisy(BAND, decibel))["noise_db"][1] > -60
    assert levels[0] - levels[1] == pytest.approx(10, abs=2)
    hiss = np.random.default_rng(0).normal(size=10 * RATE).astype(np.float32)
    assert noise_floor(frames_of(hiss, RATE)) == pytest.approx(0, abs=2)
    gated = noisy(VOICE, 40) * (np.abs(np.sin(np.arange(len(VOICE)) / RATE)) > 0.3)  # noise cut away with the sound
    assert noise_floor(frames_of(gated, RATE)) > -60
    assert noise_floor(frames_of(np.zeros(RATE, np.float32), RATE)) == -100


def test_noise_of_a_narrow_voice_is_measured_whatever_is_added_above():
    hissing = low_passed(noisy(VOICE, 30), 8_000)  # as a voice synthesised at 16 kHz
    level = technical(hissing)["noise_db"][0]
    assert level == pytest.approx(technical(noisy(VOICE, 30))["noise_db"][0], abs=3)
    for more in (noisy(hissing, 40), hissing + 0.0316 * BAND):
        assert level - 1 < technical(more)["noise_db"][0] < level + 3


def test_noise_does_not_hide_that_a_recording_is_narrow():
    narrow = technical(low_passed(VOICE, 4_000))
    for decibel in (30, 40):
        hissing = technical(noisy(low_passed(VOICE, 4_000), decibel))
        assert hissing["bandwidth_hz"][0] == pytest.approx(4_000, rel=0.1)
        assert hissing["technical"] < narrow["technical"]


def test_a_track_that_is_heard_in_the_other_is_found_either_way():
    shares = [technical(VOICE + leak * BAND)["bleed"] for leak in (0.01, 0.0316, 0.1, 0.316)]
    assert shares == sorted(shares) and shares[0] > 0.003 and shares[-1] > 0.05
    ghost = technical(band=BAND + 0.1 * VOICE)
    assert ghost["bleed"] > 0.003
    assert technical(VOICE + 0.1 * BAND)["technical"] < 0.5 * CLEAN["technical"]
    late = VOICE + 0.1 * np.roll(BAND, 240)  # the band 10 ms away from the singer's microphone
    assert technical(late)["bleed"] > 0.5 * shares[2]
    same = frames_of(BAND, RATE)
    assert bleed(same, same) > 0.1 and bleed(same, 0.1 * same) == pytest.approx(bleed(same, same))


def test_a_masked_mixture_has_residue():
    """What a separator with a coarse mask leaves: each track holds some of the other."""
    size = 1024
    frames = [np.fft.rfft(track[: len(track) // size * size].reshape(-1, size)) for track in (VOICE, BAND)]
    power = [np.convolve((np.abs(part) ** 2).mean(0), np.ones(9) / 9, "same") for part in frames]
    mask = power[0] / (power[0] + power[1])
    voice, band = (np.fft.irfft(sum(frames) * part).ravel().astype(np.float32) for part in (mask, 1 - mask))
    assert technical(voice, band)["bleed"] > 0.01


# Voice and band


def test_true_pairs_rank_above_shuffled_ones():
    grades = {(a, b): grading.grade_musical(HEARD[a][0], HEARD[b][1]) for a in range(4) for b in range(4)}
    true = [grades[a, a]["musical"] for a in range(4)]
    shuffled = [grade["musical"] for (a, b), grade in grades.items() if a != b]
    assert min(true) > max(shuffled)
    assert min(true) > 0.75


def test_a_voice_in_another_key_or_late_agrees_less():
    voice, band = HEARD[0]
    assert tonal_agreement(voice, band) > 0.4
    semitone = hear(verses(1, 1)[0], RATE)  # the same line a semitone higher
    assert tonal_agreement(semitone, band) < 0
    assert onset_agreement(semitone, band) == pytest.approx(onset_agreement(voice, band), abs=0.1)
    late = hear(np.roll(VOICE, round(0.12 * RATE)), RATE)
    assert onset_agreement(voice, band) > 0.12 > onset_agreement(late, band) + 0.05
    a_little = hear(np.roll(VOICE, round(0.03 * RATE)), RATE)
    assert onset_agreement(a_little, band) > 0.12


def test_neither_level_nor_tuning_nor_rate_changes_the_musical_grade():
    expected = grading.grade_musical(*HEARD[0])["musical"]
    quiet = grading.grade_musical(hear(0.01 * VOICE, RATE), hear(BAND, RATE))["musical"]
    assert quiet == pytest.approx(expected, abs=1e-3)
    other_rate = [hear(audio.resample(track, RATE, 44_100), 44_100) for track in (VOICE, BAND)]
    assert grading.grade_musical(*other_rate)["musical"] == pytest.approx(expected, abs=0.02)
    off = [hear(audio.resample(track, 24_000, 24_350), 24_000) for track in (VOICE, BAND)]  # a quarter tone lower
    assert grading.grade_musical(*off)["tonal"] == pytest.approx(grading.grade_musical(*HEARD[0])["tonal"], abs=0.15)


def test_what_cannot_be_told_is_left_out():
    silence, band = hear(np.zeros(10 * RATE, np.float32), RATE), HEARD[0][1]
    assert grading.grade_musical(silence, band) == {"musical": 0.5, "tonal": None, "onsets": None}
    brief = [track.between(0, 3) for track in HEARD[0]]
    assert grading.grade_musical(*brief)["onsets"] is None and grading.grade_musical(*brief)["tonal"] > 0.2


# The best share


def graded(technical, musical):
    return {"technical": technical, "musical": musical}


def test_a_piece_is_as_good_as_the_worse_of_its_ranks():
    grades = {"a": graded(0.9, 0.5), "b": graded(0.8, 0.8), "c": graded(0.7, 0.9), "d": graded(0.99, 0.1)}
    grades["e"] = graded(0.9, 0.5)
    ranks = grading.rank(grades)
    assert ranks == {
        "a": graded(2, 3), "b": graded(4, 2), "c": graded(5, 1), "d": graded(1, 5), "e": graded(2, 3),
    }  # fmt: skip
    order = [grading.choose_best(ranks, share) for share in (0.01, 0.2, 0.4, 0.6, 0.8, 1)]
    assert order == [{"a"}, {"a"}, {"a", "e"}, {"a", "b", "e"}, {"a", "b", "c", "e"}, set(grades)]
    assert grading.choose_best({}, 0.5) == set()


def test_both_distributions_are_printed():
    grades = [graded(k / 20, 0.95) for k in range(21)]
    summary = grading.summarise(grades)
    assert summary["technical"]["median"] == 0.5 and sum(summary["technical"]["histogram"]) == 21
    assert summary["musical"]["histogram"] == [0] * 9 + [21]
    text = grading.table(summary)
    assert text[0].split() == ["grade", "technical", "musical"] and len(text) == 16
    assert text[1].startswith(".9 to 1.0") and text[1].count("#") > 20 and text[10].startswith(".0 to .1")
    assert text[13].split() == ["median", "0.50", "0.95"]
    assert grading.table(grading.summarise([])) == []


# The command that measures the grades


def test_the_table_says_how_well_each_fault_is_told(load_tools, monkeypatch):
    tool = load_tools("grading_table")
    assert tool.auc([2, 3], [1, 2]) == 0.875
    monkeypatch.setattr(tool, "faults", lambda voice, band: {"clipped": (voice, clipped(band, 6)), "none": (voice, band)})
    lines = tool.grades_table(PAIRS[:2]).splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith(("| technical", "| musical"))]
    assert [row[1:4] for row in rows] == [
        ["clipped", "1.000", "1.00"], ["none", "0.500", "0.00"], ["the band of another song", "1.000", "1.00"],
    ]  # fmt: skip
    assert tool.sections_table([]) == "no song's meta file knows two sections or more"
