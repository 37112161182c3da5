"""The tracks of a song as mono waves of exactly the same span: its vocal, its accompaniment, the stems of that."""

import numpy as np

from accompgen import audio
from accompgen.data.songs import Song
from accompgen.stages import ALL, VOICE
from accompgen.time import blocks_within, frames_of

LENGTH_TOLERANCE_SECONDS = 0.1


class PairError(ValueError):
    """A song that is no usable pair; the message names it."""


def read_pair(song: Song, rates: tuple[int, ...]) -> tuple[int, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Vocal and accompaniment of a song at each of `rates`: blocks of 40 ms, and per rate (vocal [T], accompaniment [T]).

    Raises as `read_tracks`.
    """
    blocks, waves = read_tracks(song, (ALL,), rates)
    return blocks, {rate: (waves[rate][VOICE], waves[rate][ALL]) for rate in rates}


def read_tracks(song: Song, names: tuple[str, ...], rates: tuple[int, ...]) -> tuple[int, dict[int, dict[str, np.ndarray]]]:
    """The vocal and the tracks `names` of a song at each of `rates`; ALL is its accompaniment, others are its stems.

    Returns:
        The number of 40 ms blocks that all files hold, and per rate name -> [T], float32 mono, T that many blocks exactly.

    Raises:
        PairError: a mixture that is not separated yet, a stem that the song lacks, lengths that differ by more than 0.1 s, less
            than one block.
        audio.AudioError: a file that is not sound.
    """
    if song.vocal is None or song.accompaniment is None:
        raise PairError(f"{song.id} is a mixture; separate it into a vocal and an accompaniment first (accompgen prepare)")
    paths = {VOICE: song.vocal}
    for name in names:
        if name != ALL and name not in song.stems:
            raise PairError(f"{song.id} has no stem {name!r}; it has {', '.join(song.stems) or 'none'}")
        paths[name] = song.accompaniment if name == ALL else song.stems[name]
    sounds = {name: audio.read(path) for name, path in paths.items()}
    seconds = {name: wav.shape[-1] / rate for name, (wav, rate) in sounds.items()}
    for name, length in seconds.items():
        if abs(length - seconds[VOICE]) > LENGTH_TOLERANCE_SECONDS:
            called = "accompaniment" if name == ALL else name
            raise PairError(
                f"{song.id}: the vocal lasts {seconds[VOICE]:.2f} s and the {called} {length:.2f} s; the two of a pair must "
                "start and end together"
            )
    blocks = blocks_within(min(seconds.values()))
    if blocks < 1:
        raise PairError(f"{song.id}: {min(seconds.values()):.3f} s is shorter than one block of 0.04 s")
    heard = {name: (audio.heard(wav), rate) for name, (wav, rate) in sounds.items()}
    return blocks, {rate: {name: _cut(wav, own, rate, blocks) for name, (wav, own) in heard.items()} for rate in rates}


def _cut(wav, from_rate, rate, blocks):
    return audio.fit(audio.resample(wav, from_rate, rate), frames_of(blocks, rate))
