"""The speaking voices: which take part, what they say and when, and the banks cut from them."""

import json
import shutil

import numpy as np
import pytest
from conftest import FLITE

from accompgen.data.synthetic import bank, speech, voices, world
from accompgen.data.synthetic.languages import LANGUAGES, PAUSES
from accompgen.data.synthetic.voices import UNSEEN, VOICES, take_part

ALL = tuple(VOICES)


@pytest.fixture
def installed(monkeypatch):
    """A function that makes some voices the only ones that are installed."""

    def only(*names):
        def lacks(voice, folder=None):
            return None if voice.name in names else f"voice {voice.name} needs something"

        monkeypatch.setattr(voices, "missing", lacks)

    return only


# which take part


def test_every_voice_has_a_language_a_licence_and_kinds_of_singer():
    from accompgen.data.synthetic.singer import KINDS

    for voice in VOICES.values():
        assert voice.language in LANGUAGES and voice.timbre in KINDS and voice.engine in ("flite", "festival", "hts")
        assert voice.licence in voice.sentence and voice.credit in voice.sentence and voice.package
    others = [voice for voice in VOICES.values() if voice.name != UNSEEN]
    unseen = VOICES[UNSEEN]
    assert unseen.language not in {voice.language for voice in others}
    assert unseen.speaker not in {voice.speaker for voice in others}
    for language in LANGUAGES.values():
        assert len(set(language.words)) == len(language.words) > 50
        assert not language.vowels & (language.unvoiced | PAUSES) and not language.unvoiced & PAUSES
        " ".join(language.words).encode(language.encoding)


def test_all_installed_voices_sing_unless_some_are_named(installed, tmp_path):
    installed("rms", "slt", UNSEEN, "mei")
    present, remarks = take_part(tmp_path)
    assert present == ("slt", "rms", UNSEEN, "mei") and len(remarks) == 1
    assert f"{len(VOICES) - 4} voices are not installed" in remarks[0]
    assert take_part(tmp_path, ["mei", "slt"]) == (("slt", "mei"), [])
    assert take_part(tmp_path, ["mei", "lp"]) == (("mei",), ["voice lp needs something"])
    assert take_part(tmp_path, ["permissive"])[0] == ("slt", "rms", "mei")


def test_a_missing_unseen_voice_is_told(installed, tmp_path):
    installed("slt")
    assert take_part(tmp_path)[1][1:] == [f"voice {UNSEEN} needs something"]
    assert take_part(tmp_path, ["slt"]) == (("slt",), [])


def test_a_folder_keeps_its_voices(installed, tmp_path):
    installed(*ALL)
    (tmp_path / "settings.json").write_text(json.dumps({"voices": ["slt", "lp"]}))
    assert take_part(tmp_path) == (("slt", "lp"), [])
    installed("slt")
    assert take_part(tmp_path) == (("slt",), ["voice lp needs something"])
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "lp.npz").touch()
    assert take_part(tmp_path) == (("slt", "lp"), [])


def test_no_voice_is_an_error_of_one_line(installed, tmp_path):
    with pytest.raises(ValueError, match="voice 'bob' is none of slt, rms"):
        take_part(tmp_path, ["bob"])
    installed(UNSEEN)
    with pytest.raises(FileNotFoundError, match=f"{UNSEEN} sings in validation alone"):
        take_part(tmp_path, [UNSEEN])
    installed()
    with pytest.raises(FileNotFoundError, match="left to sing: voice lp needs something; voice mei needs"):
        take_part(tmp_path, ["lp", "mei"])
    with pytest.raises(FileNotFoundError, match=f"{len(VOICES)} voices are not installed .*; voice slt needs"):
        take_part(tmp_path)


def test_what_to_install_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    voices._festival_voices.cache_clear()
    try:
        assert "apt-get install flite)" in voices.missing(VOICES["slt"])
        assert "apt-get install festvox-italp16k)" in voices.missing(VOICES["lp"])
        monkeypatch.setattr(voices.importlib.util, "find_spec", lambda name: None)
        assert "pip install 'accompgen[voices]'" in voices.missing(VOICES["mei"])
        with pytest.raises(FileNotFoundError, match="voice slt needs the system package flite"):
            speech.speak(VOICES["slt"], ["la"])
    finally:
        voices._festival_voices.cache_clear()


def test_hts_voices_are_found_in_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(voices.importlib.util, "find_spec", lambda name: type("Spec", (), {"submodule_search_locations": ()}))
    assert "tohoku-f01-happy.htsvoice: name the folder" in voices.missing(VOICES["tohoku-happy"], tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "tohoku-f01-happy.htsvoice").touch()
    assert voices.missing(VOICES["tohoku-happy"], tmp_path) is None
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        voices.missing(VOICES["tohoku-happy"], tmp_path / "nowhere")


# what they say


@pytest.fixture(scope="session")
def hts_folder(root):
    folder = root.parent / "shared" / "data" / "hts_voices"
    return folder if folder.is_dir() else None


def loudness_of(wave, phones, names):
    """RMS of the middles of the phones with such names."""
    middles = [(phone.start + phone.end) / 2 for phone in phones if phone.name in names]
    pieces = [wave[max(0, round((t - 0.01) * 16000)) : round((t + 0.01) * 16000)] for t in middles]
    return np.sqrt(np.mean(np.concatenate(pieces) ** 2))


@pytest.mark.parametrize("name", [name for name in VOICES if name not in FLITE[1:]])
def test_a_voice_speaks_and_its_phones_are_where_they_sound(name, hts_folder):
    pytest.importorskip("pyworld", reason="pyworld is not installed (extra `train`)")
    voice = VOICES[name]
    if reason := voices.missing(voice, hts_folder):
        pytest.skip(reason)
    language = LANGUAGES[voice.language]
    ((wave, phones),) = speech.speak(voice, [" ".join(language.words[:8])], hts_folder)
    assert all(a.end == b.start and b.end > b.start for a, b in zip(phones, phones[1:], strict=False))
    assert phones[-1].end <= len(wave) / world.SAMPLE_RATE + 0.1
    sung = loudness_of(wave, phones, language.vowels)
    assert sung > 4 * loudness_of(wave, phones, PAUSES) and sung > 1.5 * loudness_of(wave, phones, language.unvoiced)
    f0 = world.pitch(wave, world.SAMPLE_RATE, 60, 600)
    vowels = [f0[round((phone.start + phone.end) * 100)] for phone in phones if phone.name in language.vowels]
    assert len(vowels) >= 6 and np.mean(np.array(vowels) > 0) > 0.6
    found = bank._cut(wave, phones, language)
    assert len(found) >= 3 and all(0 <= start < end <= len(envelope) for envelope, *_, start, end in found)


def test_an_engine_that_fails_says_which_voice(tmp_path, monkeypatch):
    program = tmp_path / "flite"
    program.write_text("#!/bin/sh\necho no such voice >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(speech.shutil, "which", lambda name: str(program))
    with pytest.raises(RuntimeError, match=r"voice slt: flite failed \(3\): no such voice"):
        speech.speak(VOICES["slt"], ["la"])


# banks


def test_a_bank_is_saved_without_pickled_objects(voices, tmp_path):
    found = bank.Bank.load(voices / "slt.npz")  # np.load refuses pickled objects there
    assert len(found) == 16 and found.envelope.shape == (found.first[-1], world.COEFFICIENTS)
    assert (found.vowel_start >= 0).all() and (found.vowel_end <= np.diff(found.first)).all()
    spans = zip(found.vowel_start, found.vowel_end, found.first[:-1], strict=True)
    vowels = np.concatenate([np.arange(start, end) + first for start, end, first in spans])
    assert not found.unvoiced[vowels].any() and 0.02 < found.unvoiced.mean() < 0.5
    assert (found.aperiodicity[~found.unvoiced] < bank._NOISE_DB).all()
    found.save(tmp_path / "again.npz")
    again = bank.Bank.load(tmp_path / "again.npz")
    assert all(np.array_equal(getattr(found, name), getattr(again, name)) for name in vars(found))


def test_a_bank_is_decided_by_voice_and_seed(voices):
    if shutil.which("flite") is None:
        pytest.skip("flite is not installed (system package `flite`)")
    first, again, other = bank.build("slt", size=4), bank.build("slt", size=4), bank.build("slt", size=4, seed=1)
    assert np.array_equal(first.envelope, again.envelope) and len(first) == 4
    assert not np.array_equal(first.first, other.first)
    with pytest.raises(ValueError, match="voice 'bob' is none of slt"):
        bank.build("bob")


def test_a_bank_says_whose_voice_it_is(monkeypatch, voices, tmp_path):
    ready = bank.Bank.load(voices / "rms.npz")
    monkeypatch.setattr(bank, "build", lambda name, hts_folder=None: ready)
    assert len(bank.open_bank("rms", tmp_path / "new")) == len(ready)
    assert (tmp_path / "new" / "rms.txt").read_text() == VOICES["rms"].sentence + "\n"
    monkeypatch.setattr(bank, "build", None)  # it is there, so it is not built again
    assert len(bank.open_bank("rms", tmp_path / "new")) == len(ready)


def test_faults_that_stretching_would_lengthen_are_mended():
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 1, 30)[:, None] * rng.normal(size=45)
    envelope, aperiodicity = smooth.copy(), np.full((30, 1), -12.0)
    envelope[14:16] += 5  # a click in the vowel
    aperiodicity[[3, 16, 17]] = 0.0  # taken for noise: an unvoiced consonant and two frames of the vowel
    unvoiced = np.arange(30) < 6
    mended, periodic, *rest = bank._mended(envelope, aperiodicity, unvoiced, 8, 26)
    assert np.abs(mended[8:26] - smooth[8:26]).max() < 0.5 and np.array_equal(mended[:8], smooth[:8])
    assert periodic[3] == 0 and (periodic[6:] == -12).all() and aperiodicity[16] == 0 and rest[1:] == [8, 26]
