"""A take as files: its samples, what the page plays, and the zip for a DAW."""

import glob
import shutil
import tempfile
import threading
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.export.chart_files import beat_files
from accompgen.export.project import ENDING, VOICE, project_file, voice_format, voice_of
from accompgen.files import short_name
from accompgen.generation.song import SUBTYPES, Song
from accompgen.generation.vocal import Vocal

MIX = "mix"
PACKING = threading.Lock()  # a long song takes much memory: visitors who download together wait for each other


@dataclass(frozen=True)
class Take:
    """A song in a folder: its samples lie there and are read when they are needed, so that memory holds no take.

    `title` says what was made anew, `sounds` are the files that the page plays, by track.
    """

    number: int
    title: str
    folder: Path
    song: Song
    seed: int
    prompt: str = ""
    sounds: dict[str, Path] = field(default_factory=dict)

    def remove(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def keep(take: Take, vocal: Vocal) -> Take:
    """The take with its samples in its folder, which is there, and with what the page plays: 16-bit FLAC, the voice too."""
    song, folder = take.song, take.folder
    sounds = {}
    for name, wav in {VOICE: voice_of(song, vocal), **song.tracks}.items():
        sounds[name] = folder / f"{name}.flac"
        # a player holds no more than full scale, and FLAC no more than eight channels
        wav = np.clip(wav if len(wav) <= 2 else audio.to_mono(wav)[None], -1, 1)
        audio.write(sounds[name], wav, song.rate, "PCM_16")
    tracks = {name: _on_disk(folder / f"{name}.npy", wav) for name, wav in song.tracks.items()}
    kept = replace(song, tracks=tracks, mix=_on_disk(folder / f"{MIX}.npy", song.mix))
    return replace(take, song=kept, sounds=sounds)


def pack(take: Take, vocal: Vocal, bit_depth: str = "24") -> Path:
    """Write the zip of a take: all that `Song.save` writes, the voice as loud as in the mix, a DAWproject, beats and click.

    All sounds and the MIDI file begin with the recording, so that a DAW which gets them at one place has them together.
    """
    with PACKING:
        return _pack(take, vocal, bit_depth)


def _pack(take, vocal, bit_depth):
    song = replace(take.song)  # another one, which may hold sums in memory as long as it is packed
    name = short_name(song.name)
    path = take.folder / f"{name} - take {take.number}.zip"
    with tempfile.TemporaryDirectory(dir=take.folder) as folder:
        song.save(folder, bit_depth=bit_depth)
        voice = voice_of(song, vocal)
        file, kind = Path(folder, f"{name}.{VOICE}.wav"), voice_format(voice, SUBTYPES[bit_depth])
        file.write_bytes(audio.encode(voice, song.rate, ".wav", kind, file, song.stamp))
        # it finds the sounds beside it, so that they travel once
        Path(folder, f"{name}{ENDING}").write_bytes(project_file(song, vocal))
        if song.chart is not None:
            for ending, data in beat_files(song.chart, name, song.rate, song.mix.shape[1], stamp=song.stamp).items():
                Path(folder, f"{name}{ending}").write_bytes(data)
        part = Path(folder, "zip")
        with zipfile.ZipFile(part, "w") as file:
            for found in sorted(Path(folder).glob(f"{glob.escape(name)}.*")):
                file.write(found, f"{name}/{found.name}")
        part.replace(path)
    return path


def _on_disk(path, wav):
    """Samples that are read from a file."""
    np.save(path, wav)
    return np.load(path, mmap_mode="r")
