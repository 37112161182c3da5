"""What a DAW gets: another rate, mono or stereo, time stamps, projects."""

import io
import wave
import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from tiny import sing

import accompgen
from accompgen import audio
from accompgen.chart import Chart
from accompgen.cli import main
from accompgen.export.dawproject import SoundTrack, write_dawproject
from accompgen.export.grid import grid_of
from accompgen.export.project import voice_of
from accompgen.files import SoundWarning
from accompgen.generation.redo import redo
from accompgen.generation.song import read_song
from accompgen.generation.vocal import read_vocal
from accompgen.stages import STEMS

RATE, DESK_RATE, SECONDS = 16_000, 48_000, 0.48  # a voice memo, and the session it goes into
STAMP = 3600 * RATE + 5  # an hour after midnight


@pytest.fixture(scope="module")
def model(band_checkpoint):
    return accompgen.load(band_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def memo(tmp_path_factory):
    """A recording at 16 kHz that a DAW put an hour after midnight."""
    path = tmp_path_factory.mktemp("memo") / "memo.wav"
    path.write_bytes(audio.encode(sing(SECONDS, RATE), RATE, ".wav", where="take 3", stamp=STAMP))
    return path


@pytest.fixture(scope="module")
def song(model, memo):
    """A song for it as a session has them, in stereo."""
    return model.accompany(memo, seed=1, rate=DESK_RATE, channels=2, chart=Chart.steady(SECONDS, bpm=300))


def ffmpeg_stamp(path):
    """What FFmpeg reads of the time stamp, or None."""
    with av.open(str(path)) as container:
        found = container.metadata.get("time_reference")
    return None if found is None else int(found)


def treble(wav, rate):
    """Power above 8.5 kHz beside all of it."""
    power = np.abs(np.fft.rfft(audio.to_mono(wav))) ** 2
    return power[np.fft.rfftfreq(wav.shape[1], 1 / rate) > 8500].sum() / power.sum()


def test_stems_at_another_rate_have_their_own_treble_and_the_vocal_its_place(model, memo, song):
    plain = model.accompany(memo, seed=1, chart=song.chart)
    assert (plain.rate, song.rate) == (RATE, DESK_RATE)
    for stem in STEMS:
        assert np.array_equal(plain.tokens[stem].codes, song.tokens[stem].codes)  # it is the same song
        assert song.tracks[stem].shape == (2, round(SECONDS * DESK_RATE))
        assert treble(song.tracks[stem], DESK_RATE) > 0.01  # the decoder's, that no file of 16 kHz could hold
    gain = np.float32(10 ** (song.report["levels"]["vocal_gain_db"] / 20))
    voice = gain * audio.resample(audio.read(memo)[0], RATE, DESK_RATE)
    assert np.abs(voice + song.accompaniment - song.mix).max() < 1e-5 and audio.peak(song.mix) < audio.PEAK_LIMIT + 1e-6
    with pytest.raises(ValueError, match="the rate is 400000 Hz; expected 8000 to 192000"):
        model.accompany(memo, rate=400_000)


def test_mono_and_stereo(model, memo, song):
    stereo = (sing(SECONDS, RATE, channels=2), RATE)
    mono = model.accompany(stereo, seed=1, channels=1)
    assert {len(wav) for wav in (mono.mix, *mono.tracks.values())} == {1}
    again = redo(model, mono, stereo, 0.16, 0.36, stems=["bass"])
    assert len(again.mix) == 1 and np.array_equal(again.tracks["drums"], mono.tracks["drums"])
    assert {len(wav) for wav in (song.mix, *song.tracks.values())} == {2}
    with pytest.warns(SoundWarning, match="cancel out"):
        cancelled = read_vocal((np.concatenate([sing(SECONDS, RATE), -0.9 * sing(SECONDS, RATE)]), RATE))
    mono = model.accompany(cancelled, seed=1, channels=1, chart=Chart.steady(SECONDS, bpm=300))
    assert np.abs(voice_of(mono, cancelled) + mono.accompaniment - mono.mix).max() < 2e-3  # it is heard in a project, too
    many = read_vocal((np.repeat(stereo[0], 2, axis=0), RATE))
    assert many.within(2).wav.shape == (2, many.wav.shape[1]) and np.allclose(many.within(1).wav, stereo[0].mean(axis=0))
    with pytest.raises(ValueError, match="3 channels; expected 1, 2"):
        model.accompany(memo, channels=3)


def run(*words):
    return main([*map(str, words), "--quiet"])


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_its_files_are_broadcast_waves_as_others_read_them(song, tmp_path, bits):
    paths = song.save(tmp_path, bit_depth="32f" if bits == 32 else bits)
    for name in ("mix", "accompaniment", *STEMS):
        assert ffmpeg_stamp(paths[name]) == STAMP * 3  # it counts samples, and there are three times as many
        wav, rate = audio.read(paths[name])
        assert (rate, wav.shape) == (DESK_RATE, (2, round(SECONDS * DESK_RATE)))
    sound = audio.read(paths["mix"])[0]
    assert np.abs(sound - song.mix).max() <= (0 if bits == 32 else 0.5 ** (min(bits, 24) - 1))
    if bits < 32:  # it reads no floats
        with wave.open(str(paths["mix"])) as file:
            assert (file.getframerate(), 8 * file.getsampwidth(), file.getnchannels()) == (DESK_RATE, bits, 2)


def test_generate_and_redo_keep_the_place_of_the_vocal(band_checkpoint, memo, tmp_path):
    out, model = tmp_path / "out", ("--checkpoint", band_checkpoint)
    wanted = ("--rate", DESK_RATE, "--bit-depth", "16", "--mono", "--count-in", 1, "--bpm", 240)
    assert run("generate", memo, "-o", out, *model, *wanted) == 0
    assert ffmpeg_stamp(out / "memo.mix.wav") == STAMP * 3  # with a count-in, too: there is a place already
    assert audio.read(out / "memo.bass.wav")[0].shape == (1, round(SECONDS * DESK_RATE))
    # another take goes on in the song's own format, though the recording has another rate
    part = ("--stem", "bass", "--from", 0.16, "--to", 0.36)
    assert run("redo", out / "memo.json", *part, "-o", tmp_path / "take", *model) == 0
    take, song = (read_song(place / "memo.json") for place in (tmp_path / "take", out))
    assert take.rate == DESK_RATE and np.array_equal(take.tracks["drums"], song.tracks["drums"])
    assert not np.array_equal(take.tracks["bass"], song.tracks["bass"])
    assert ffmpeg_stamp(tmp_path / "take/memo.bass.wav") == STAMP * 3


def test_a_damaged_time_stamp_is_none(tmp_path):
    (tmp_path / "x.wav").write_bytes(audio.encode(sing(SECONDS, RATE), RATE, ".wav", stamp=2**64 - 1))
    assert ffmpeg_stamp(tmp_path / "x.wav") == 2**64 - 1 and audio.time_reference(tmp_path / "x.wav") is None


def test_a_count_in_moves_what_has_no_place_yet(song, tmp_path):
    report = {**song.report, "vocal": {**song.report["vocal"]}}
    del report["vocal"]["time_reference"]
    song = replace(song, report=report, chart=Chart.steady(SECONDS, bpm=240))
    assert song.stamp is None
    report["settings"] = {**report["settings"], "count_in": 2}
    assert song.stamp == 2 * DESK_RATE  # eight beats of a quarter of a second
    assert ffmpeg_stamp(song.save(tmp_path)["bass"]) == 2 * DESK_RATE


def test_the_click_of_a_count_in_begins_before_the_vocal(band_checkpoint, memo, tmp_path):
    assert run("chart", memo, "-o", tmp_path / "c", "--checkpoint", band_checkpoint, "--bpm", 240, "--count-in", 1) == 0
    click, (wav, _) = tmp_path / "c/memo.click.wav", audio.read(tmp_path / "c/memo.click.wav")
    assert ffmpeg_stamp(click) == STAMP - (wav.shape[1] - round(SECONDS * RATE)) < STAMP


# A project that a DAW opens

# What may stand in which element, in this order: the published schema of DAWproject 1.0, as far as it is used here.
ORDER = {
    "Project": ("Application", "Transport", "Structure", "Arrangement"),
    "Transport": ("Tempo", "TimeSignature"),
    "Structure": ("Track",),
    "Track": ("Channel",),
    "Channel": ("Mute", "Pan", "Volume"),
    "Arrangement": ("Lanes", "Markers", "TempoAutomation", "TimeSignatureAutomation"),
    "Lanes": ("Lanes", "Clips"),
    "Clips": ("Clip",),
    "Clip": ("Audio", "Notes"),
    "Audio": ("File",),
    "Notes": ("Note",),
    "Markers": ("Marker",),
    "TempoAutomation": ("Target", "RealPoint"),
    "TimeSignatureAutomation": ("Target", "TimeSignaturePoint"),
}


NAMED, REFERENCED = {"name", "color"}, {"name", "color", "id"}
TIMELINE = REFERENCED | {"timeUnit", "track"}
# What each element must have, and what it may have besides.
ATTRIBUTES = {
    "Project": ({"version"}, set()),
    "Application": ({"name", "version"}, set()),
    "Transport": (set(), set()),
    "Structure": (set(), set()),
    "Tempo": ({"unit"}, REFERENCED | {"min", "max", "value"}),
    "TimeSignature": ({"numerator", "denominator"}, REFERENCED),
    "Track": (set(), REFERENCED | {"contentType", "loaded"}),
    "Channel": (set(), REFERENCED | {"audioChannels", "destination", "role", "solo"}),
    "Mute": (set(), REFERENCED | {"value"}),
    "Pan": ({"unit"}, REFERENCED | {"min", "max", "value"}),
    "Volume": ({"unit"}, REFERENCED | {"min", "max", "value"}),
    "Arrangement": (set(), REFERENCED),
    "Lanes": (set(), TIMELINE),
    "Clips": (set(), TIMELINE),
    "Clip": ({"time"}, NAMED | {"duration", "contentTimeUnit", "playStart"}),
    "Audio": ({"channels", "sampleRate", "duration"}, TIMELINE | {"algorithm"}),
    "File": ({"path"}, {"external"}),
    "Notes": (set(), TIMELINE),
    "Note": ({"time", "duration", "channel", "key"}, {"vel", "rel"}),
    "Markers": (set(), TIMELINE),
    "Marker": ({"time"}, NAMED),
    "TempoAutomation": (set(), TIMELINE | {"unit"}),
    "TimeSignatureAutomation": (set(), TIMELINE | {"unit"}),
    "Target": (set(), {"parameter"}),
    "RealPoint": ({"time", "value"}, {"interpolation"}),
    "TimeSignaturePoint": ({"time", "numerator", "denominator"}, set()),
}
WORDS = {
    "unit": {"linear", "normalized", "bpm"},
    "timeUnit": {"beats", "seconds"},
    "contentTimeUnit": {"beats", "seconds"},
    "role": {"regular", "master"},
    "contentType": {"audio", "notes"},
    "interpolation": {"hold", "linear"},
    "solo": {"true", "false"},
    "loaded": {"true", "false"},
    "external": {"true", "false"},
}
WHOLE = {"numerator", "denominator", "channel", "key", "channels", "sampleRate", "audioChannels"}
NUMBERS = {"time", "duration", "playStart", "min", "max", "vel", *WHOLE}


def check_schema(root):
    """Order and attributes of elements by the published schema, and that every reference leads somewhere."""
    assert root.tag == "Project"
    for element in root.iter():
        allowed = ORDER.get(element.tag, ())
        places = [allowed.index(child.tag) for child in element]
        assert places == sorted(places), element.tag
        must, may = ATTRIBUTES[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        for name, value in element.attrib.items():
            assert set(value.split()) <= WORDS.get(name, {*value.split()}), (element.tag, name)
            assert name not in NUMBERS or np.isfinite((int if name in WHOLE else float)(value))
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(set(ids)) == len(ids)
    for element in root.iter():
        for name in ("track", "destination", "parameter"):
            assert element.get(name, ids[0]) in ids


def seconds_at(root, beat):
    """Seconds from the beginning of the arrangement to a beat, by the tempo map alone, as a DAW plays it."""
    points = [(float(one.get("time")), float(one.get("value"))) for one in root.iter("RealPoint")]
    spans = zip(points, [*(time for time, _ in points[1:]), np.inf])
    return sum((min(beat, end) - start) * 60 / bpm for (start, bpm), end in spans if beat > start)


def test_a_dawproject_has_sounds_chords_and_bars_where_they_sound():
    random = np.random.default_rng(0)
    times = np.cumsum([0.3, *random.uniform(0.45, 0.55, 39)])  # nobody sings like a clock
    beats = tuple((float(time), index % 3 + 1) for index, time in enumerate(times))
    chart = Chart(21.0, beats, ((times[0], times[3], "A:min"), (times[3], times[9], "N"), (times[9], 20.0, "F:maj")), "A:min")
    tracks = [SoundTrack("voice", "audio/a.wav", 1, 44_100), SoundTrack("drums", "audio/b.wav", 2, 44_100)]
    for count_in in (0, 2):
        sounds = dict.fromkeys(("audio/a.wav", "audio/b.wav"), lambda file: file.write(b"RIFF"))
        data = io.BytesIO()
        write_dawproject(data, "a <song>", 21.0, tracks, chart, count_in, [(float(times[6]), "Chorus")], sounds)
        with zipfile.ZipFile(data) as file:
            assert file.read("audio/b.wav") == b"RIFF"
            assert {entry.extract_version for entry in file.infolist()} == {20}  # no zip64, which not every program reads
            assert {*file.namelist()} == {"project.xml", "metadata.xml", *sounds}
            assert ElementTree.fromstring(file.read("metadata.xml")).findtext("Title") == "a <song>"
            root = ElementTree.fromstring(file.read("project.xml"))
        check_schema(root)
        offset = grid_of(chart, count_in).offset
        clips = {clip.get("name"): clip for clip in root.iter("Clip")}
        assert list(clips) == ["voice", "drums", "chords"]
        for clip in clips.values():
            start, length = float(clip.get("time")), float(clip.get("duration"))
            assert seconds_at(root, start) == pytest.approx(offset, abs=1e-3)
            assert seconds_at(root, start + length) == pytest.approx(offset + 21, abs=2e-3)
        sound = clips["drums"].find("Audio")
        assert (sound.get("duration"), sound.get("channels"), sound.find("File").get("path")) == ("21", "2", "audio/b.wav")
        assert clips["drums"].get("contentTimeUnit") == sound.get("timeUnit") == "seconds"
        begin = float(clips["chords"].get("time"))
        notes = [(seconds_at(root, begin + float(one.get("time"))) - offset, int(one.get("key"))) for one in root.iter("Note")]
        assert sorted({round(time, 2) for time, _ in notes}) == [round(times[0], 2), round(times[9], 2)]
        assert {key % 12 for time, key in notes if time < 1} == {9, 0, 4}  # A, C, E
        marks = {mark.get("name"): seconds_at(root, float(mark.get("time"))) - offset for mark in root.iter("Marker")}
        assert marks["Chorus"] == pytest.approx(times[6], abs=2e-3) and marks["bar 5"] == pytest.approx(times[12], abs=2e-3)
        assert ("recording" in marks) == bool(count_in)
        signature = root.find("Transport/TimeSignature")
        assert (signature.get("numerator"), signature.get("denominator")) == (("3", "4") if count_in else ("1", "4"))


def test_a_song_without_a_chart_is_a_project_too():
    data = io.BytesIO()
    write_dawproject(data, "x", 3.0, [SoundTrack("voice", "v.wav", 1, 44_100)])
    with zipfile.ZipFile(data) as file:
        root = ElementTree.fromstring(file.read("project.xml"))
    check_schema(root)
    assert root.find(".//Clip").get("duration") == "6" and root.find(".//File").get("external") == "true"
    assert root.find("Arrangement/Markers") is None


def test_project_writes_a_folder_that_a_daw_opens(song, memo, tmp_path, capsys):
    song.save(tmp_path, bit_depth="16")
    assert run("project", tmp_path / "memo.json") == 0
    folder = tmp_path / "memo.project"
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(folder / "memo.dawproject") as file:
        root = ElementTree.fromstring(file.read("project.xml"))
        check_schema(root)
        paths = [element.get("path") for element in root.iter("File")]
        assert paths == [f"audio/memo.{track}.wav" for track in ("voice", *STEMS)]
        sounds = [audio.decode(file.read(path)) for path in paths]
        assert all(file.read(path) == (folder / path).read_bytes() for path in paths)
    assert np.abs(sum(audio.spread(sound, 2) for sound in sounds) - song.mix).max() < 4 / 2**15  # together they are the mix
    assert ffmpeg_stamp(folder / paths[0]) == STAMP * 3 and (folder / "memo.mid").exists()
    assert run("project", tmp_path / "memo.json") == 1 and "exists; choose another folder" in capsys.readouterr().err
    audio.write(tmp_path / "other.wav", sing(1.0), 44_100)
    assert run("project", tmp_path / "memo.json", "--force", "--vocal", tmp_path / "other.wav") == 1
    assert "other.wav lasts 1.000 s, the song 0.480 s" in capsys.readouterr().err
