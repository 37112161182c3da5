"""A song as a project that a DAW opens: a DAWproject, and beside it sounds, MIDI, chords, beats and click as files."""

import numpy as np

from accompgen import audio
from accompgen.export.chart_files import beat_files, score_files
from accompgen.export.dawproject import SoundTrack, dawproject_bytes
from accompgen.files import short_name

VOICE = "voice"
SOUNDS = "audio"  # the folder of the sounds
ENDING = ".dawproject"


def voice_of(song, vocal) -> np.ndarray:
    """The voice [C, T] as loud as it is in the mix, at the song's rate; song: song.Song, vocal: vocal.Vocal."""
    gain = np.float32(song.encoding_gain * 10 ** (song.report["levels"]["vocal_gain_db"] / 20))
    return vocal.at(song.rate).within(len(song.mix)).wav * gain


def voice_format(wav: np.ndarray, subtype: str = "PCM_24") -> str:
    """The subtype for a voice: a voice beyond full scale stays whole."""
    return "FLOAT" if audio.peak(wav) > 1 else subtype


def sections_of(song, vocal) -> list[tuple[float, str]]:
    """(seconds, name) of the sections of a song, for markers; none where it is one section.

    Raises ImportError without librosa, which hears them (extra `eval`).
    """
    from accompgen.analysis.features import hear
    from accompgen.analysis.sections import find_sections

    beats = () if song.chart is None else song.chart.beats
    heard = (hear(audio.heard(wav), rate) for wav, rate in ((vocal.wav, vocal.rate), (song.accompaniment, song.rate)))
    times, bars = [time for time, _ in beats], [time for time, place in beats if place == 1]
    found = find_sections(*heard, times, bars)
    return [(section.start, section.label.capitalize()) for section in found] if len(found) > 1 else []


def project_file(song, vocal, sections=(), sounds: dict[str, bytes] | None = None, folder: str = "") -> bytes:
    """The .dawproject of a song.

    Args:
        sections: (seconds, name) of each, as markers.
        sounds: path -> bytes of the tracks' wav files, named as by `sound_paths`, to be part of it; None: they lie beside it.
        folder: in which they lie, such as `audio/`.
    """
    channels = {VOICE: len(vocal.within(len(song.mix)).wav)} | {stem: len(wav) for stem, wav in song.tracks.items()}
    paths = sound_paths(song, folder)
    tracks = [SoundTrack(track, paths[track], channels[track], song.rate) for track in paths]
    count_in, version = song.report["settings"].get("count_in", 0), song.report["versions"]["accompgen"]
    return dawproject_bytes(song.name, song.seconds, tracks, song.chart, count_in, sections, sounds, version)


def sound_paths(song, folder: str = "") -> dict[str, str]:
    """Track -> path of its file; of a song of one track the band is the accompaniment."""
    name, only = short_name(song.name), len(song.tracks) == 1
    tracks = {VOICE: VOICE} | {stem: "accompaniment" if only else stem for stem in song.tracks}
    return {track: f"{folder}{name}.{ending}.wav" for track, ending in tracks.items()}


def project_files(song, vocal, sections=(), subtype: str = "PCM_24") -> dict[str, bytes]:
    """The files of a project folder, path -> bytes: NAME.dawproject, which holds its sounds, and for other DAWs the same
    sounds in `audio/`, MIDI, chord sheet, .lab, beats and click.

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
        sounds[path] = audio.encode(wav, song.rate, ".wav", kind, path, song.stamp)
    files = {f"{name}{ENDING}": project_file(song, vocal, sections, sounds, f"{SOUNDS}/"), **sounds}
    if song.chart is not None:
        count_in = song.report["settings"].get("count_in", 0)
        scores = score_files(song.chart, song.name, count_in, sections)
        scores |= beat_files(song.chart, song.name, song.rate, song.mix.shape[1], count_in, song.stamp)
        files |= {f"{name}{ending}": data for ending, data in scores.items()}
    return files
