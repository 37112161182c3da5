"""The tracks of a song as mono waves of exactly the same span: its vocal, its accompaniment, the stems of that."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.data.songs import Song
from accompgen.data.tracks import ACCOMPANIMENT
from accompgen.stages import ALL, VOICE
from accompgen.time import blocks_within, frames_of

LENGTH_TOLERANCE_SECONDS = 0.1


class PairError(ValueError):
    """A song that is no usable pair; the message names it."""


def read_mix(
    paths: Sequence[Path], start: int = 0, frames: int | None = None
) -> tuple[np.ndarray, int]:
    """The sum of some files [C, T] and their rate, as `audio.read` gives one of them; as short as the shortest.

    Raises audio.AudioError as it does, and for files of several rates, or whose lengths differ by more than 0.1 s.
    """
    sounds = [audio.read(path, start, frames) for path in paths]
    length, rate = _common(paths, [(wav.shape[1], rate) for wav, rate in sounds])
    channels = max(len(wav) for wav, _ in sounds)
    return sum(audio.spread(wav[:, :length], channels) for wav, _ in sounds), rate


def mix_length(paths: Sequence[Path]) -> tuple[int, int]:
    """Frames and rate of what `read_mix` gives, without reading the sound. Raises as it does."""
    return _common(paths, [audio.length(path) for path in paths])


def _common(paths, lengths):
    """(fewest frames, rate) of files of (frames, rate) each."""
    frames, rate = lengths[0]
    for path, (own_frames, own) in zip(paths, lengths):
        if own != rate or abs(own_frames - frames) > LENGTH_TOLERANCE_SECONDS * rate:
            raise audio.AudioError(
                f"{path}: {own_frames / own:.2f} s at {own} Hz beside {frames / rate:.2f} s at {rate} Hz of {paths[0]}; "
                "stems that are summed need one rate and length (accompgen prepare sums any)"
            )
    return min(own_frames for own_frames, _ in lengths), rate


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
    if song.tracks.mixture:
        raise PairError(f"{song.id} is a mixture; separate it into a vocal and an accompaniment first (accompgen prepare)")
    paths = {name: song.tracks.files_of(name) for name in (VOICE, *names)}
    for name, found in paths.items():
        if not found:
            raise PairError(f"{song.id} has no stem {name!r}; it has {', '.join(song.tracks.stems) or 'none'}")
    sounds = {name: read_mix(found) for name, found in paths.items()}
    seconds = {name: wav.shape[-1] / rate for name, (wav, rate) in sounds.items()}
    for name, length in seconds.items():
        if abs(length - seconds[VOICE]) > LENGTH_TOLERANCE_SECONDS:
            called = ACCOMPANIMENT if name == ALL else name
            raise PairError(
                f"{song.id}: the vocal lasts {seconds[VOICE]:.2f} s and the {called} {length:.2f} s; the two of a pair must "
                "start and end together"
            )
    blocks = blocks_within(min(seconds.values()))
    if blocks < 1:
        raise PairError(f"{song.id}: {min(seconds.values()):.3f} s is shorter than one block of 0.04 s")
    heard = {name: (audio.downmix(wav), rate) for name, (wav, rate) in sounds.items()}
    return blocks, {rate: {name: _cut(wav, own, rate, blocks) for name, (wav, own) in heard.items()} for rate in rates}


def _cut(wav, from_rate, rate, blocks):
    return audio.fit(audio.resample(wav, from_rate, rate), frames_of(blocks, rate))
