"""A take as files: its samples, what the page plays, and the zip for a DAW."""

import glob
import shutil
import tempfile
import threading
import zipfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.export.chart_files import beat_files
from accompgen.export.project import ENDING, VOICE, voice_format, voice_of, write_project
from accompgen.files import short_name
from accompgen.generation.song import SUBTYPES, Song
from accompgen.generation.vocal import Vocal

MIX = "mix"
PACKING = threading.Lock()  # a long song takes much room and time: visitors who download together wait for each other


@dataclass(frozen=True)
class Take:
    """A song in a folder: its samples lie there and are read when they are needed, so that memory holds no take.

    `title` says what was made anew, `sounds` are the files that the page plays, by track; `voice` is what is heard of the
    recording in the mix [C, T].
    """

    number: int
    title: str
    folder: Path
    song: Song
    seed: int
    prompt: str = ""
    sounds: dict[str, Path] = field(default_factory=dict)
    voice: audio.Pieces | None = None

    def loaded(self) -> Song:
        """Its song with all samples in memory."""
        song = self.song
        return replace(song, tracks={name: np.asarray(wav) for name, wav in song.tracks.items()}, mix=np.asarray(song.mix))

    def remove(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def keep(take: Take, vocal: Vocal) -> Take:
    """The take with its samples in its folder, which is there, and with what the page plays: 16-bit FLAC, the voice too."""
    song, folder = take.song, take.folder
    sounds, stored = {}, {}
    for name, wav in {VOICE: voice_of(song, vocal), **song.tracks}.items():
        sounds[name] = folder / f"{name}.flac"
        audio.write(sounds[name], _playable(wav), song.rate, "PCM_16")
        stored[name] = audio.on_disk(folder / f"{name}.f32", audio.pieces_of(wav))
    voice = stored.pop(VOICE)
    mix = audio.on_disk(folder / f"{MIX}.f32", audio.pieces_of(song.mix))
    song = replace(song, tracks=stored, mix=mix)
    return replace(take, song=song, sounds=sounds, voice=voice)


def pack(take: Take, bit_depth: str = "24") -> Path:
    """Write the zip of a take: all that `Song.save` writes, the voice as loud as in the mix, a DAWproject, beats and click.

    All sounds and the MIDI file begin with the recording, so that a DAW which gets them at one place has them together.
    """
    with PACKING:
        return _pack(take, bit_depth)


def _pack(take, bit_depth):
    song, voice = take.song, take.voice
    name = short_name(song.name)
    path = take.folder / f"{name} - take {take.number}.zip"
    with tempfile.TemporaryDirectory(dir=take.folder) as folder:
        song.save(folder, bit_depth=bit_depth)
        file, kind = Path(folder, f"{name}.{VOICE}.wav"), voice_format(voice, SUBTYPES[bit_depth])
        about = {"rate": song.rate, "suffix": ".wav", "subtype": kind, "where": file, "stamp": song.stamp}
        files = {file: partial(audio.write_sound, wav=voice, **about)}
        # it finds the sounds beside it, so that they travel once
        files[Path(folder, f"{name}{ENDING}")] = partial(write_project, song=song, voice=voice)
        if song.chart is not None:
            found = beat_files(song.chart, name, song.rate, song.mix.shape[1], stamp=song.stamp)
            files |= {Path(folder, f"{name}{ending}"): data for ending, data in found.items()}
        audio.write_files(files)
        part = Path(folder, "zip")
        with zipfile.ZipFile(part, "w") as file:
            for found in sorted(Path(folder).glob(f"{glob.escape(name)}.*")):
                file.write(found, f"{name}/{found.name}")
        part.replace(path)
    return path


def _playable(wav) -> audio.Pieces:
    """Sound as a player takes it: within full scale, and FLAC has no more than eight channels."""
    if len(wav) <= 2:
        return audio.Pieces(wav.shape, lambda place: np.clip(wav[place], -1, 1))
    return audio.Pieces((1, wav.shape[1]), lambda place: np.clip(audio.to_mono(wav[place])[None], -1, 1))
