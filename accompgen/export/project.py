"""A song as a project that a DAW opens: a DAWproject, and beside it sounds, MIDI, chords, beats and click as files."""

from collections.abc import Callable
from functools import partial

from accompgen import audio
from accompgen.export.chart_files import beat_files, score_files
from accompgen.export.dawproject import SoundTrack, write_dawproject
from accompgen.files import short_name

VOICE = "voice"
SOUNDS = "audio"  # the folder of the sounds
ENDING = ".dawproject"


def voice_of(song, vocal) -> audio.Pieces:
    """The voice [C, T] as loud as it is in the mix, at the song's rate; song: song.Song, vocal: vocal.Vocal."""
    gain = song.encoding_gain * 10 ** (song.report["levels"]["vocal_gain_db"] / 20)
    return audio.scaled(vocal.at(song.rate).within(len(song.mix)).wav, gain)


def voice_format(wav, subtype: str = "PCM_24") -> str:
    """The subtype for a voice, an array or Pieces: a voice beyond full scale stays whole."""
    return "FLOAT" if audio.peak(wav) > 1 else subtype


def sections_of(song, vocal) -> list[tuple[float, str]]:
    """(seconds, name) of the sections of a song, for markers; none where it is one section.

    Raises ImportError without librosa, which hears them (extra `eval`).
    """
    from accompgen.analysis.features import hear
    from accompgen.analysis.sections import find_sections

    beats = () if song.chart is None else song.chart.beats
    heard = (hear(audio.downmix(wav), rate) for wav, rate in ((vocal.wav, vocal.rate), (song.accompaniment, song.rate)))
    times, bars = [time for time, _ in beats], [time for time, place in beats if place == 1]
    found = find_sections(*heard, times, bars)
    return [(section.start, section.label.capitalize()) for section in found] if len(found) > 1 else []


def write_project(file, song, voice, sections=(), sounds: dict[str, Callable] | None = None, folder: str = "") -> None:
    """Write the .dawproject of a song into an open file.

    Args:
        voice: sound [C, T], as `voice_of` gives it.
        sections: (seconds, name) of each, as markers.
        sounds: path -> function that writes the wav file of a track, named as by `sound_paths`, which is part of it then; None:
            they lie beside it.
        folder: in which they lie, such as `audio/`.
    """
    channels = {VOICE: len(voice)} | {stem: len(wav) for stem, wav in song.tracks.items()}
    paths = sound_paths(song, folder)
    tracks = [SoundTrack(track, paths[track], channels[track], song.rate) for track in paths]
    count_in, version = song.report["settings"].get("count_in", 0), song.report["versions"]["accompgen"]
    write_dawproject(file, song.name, song.seconds, tracks, song.chart, count_in, sections, sounds, version)


def sound_paths(song, folder: str = "") -> dict[str, str]:
    """Track -> path of its file; of a song of one track the band is the accompaniment."""
    name, only = short_name(song.name), len(song.tracks) == 1
    tracks = {VOICE: VOICE} | {stem: "accompaniment" if only else stem for stem in song.tracks}
    return {track: f"{folder}{name}.{ending}.wav" for track, ending in tracks.items()}


def project_files(song, vocal, sections=(), subtype: str = "PCM_24") -> dict[str, bytes | Callable]:
    """The files of a project folder, path -> bytes, or a function that writes them into an open file.

    They are NAME.dawproject, which holds its sounds, and for other DAWs the same sounds in `audio/`, MIDI, chord sheet, .lab,
    beats and click.

    Args:
        song, vocal: song.Song and the vocal.Vocal it was made for.
        sections: (seconds, name), as `sections_of` gives them.
        subtype: PCM_16, PCM_24 or FLOAT.

    Raises audio.AudioError for sound that the subtype cannot hold.
    """
    paths, name = sound_paths(song, f"{SOUNDS}/"), short_name(song.name)
    voice, sounds = voice_of(song, vocal), {}
    for track, path in paths.items():
        wav, kind = (voice, voice_format(voice, subtype)) if track == VOICE else (song.tracks[track], subtype)
        about = {"rate": song.rate, "suffix": ".wav", "subtype": kind, "where": path, "stamp": song.stamp}
        sounds[path] = partial(audio.write_sound, wav=wav, **about)
    write = partial(write_project, song=song, voice=voice, sections=sections, sounds=sounds, folder=f"{SOUNDS}/")
    files = {f"{name}{ENDING}": write, **sounds}
    if song.chart is not None:
        count_in = song.report["settings"].get("count_in", 0)
        scores = score_files(song.chart, song.name, count_in, sections)
        scores |= beat_files(song.chart, song.name, song.rate, song.mix.shape[1], count_in, song.stamp)
        files |= {f"{name}{ending}": data for ending, data in scores.items()}
    return files
