"""A pair: the vocal and the accompaniment of one song as two mono waves of exactly the same span."""

import numpy as np

from accompgen import audio
from accompgen.data.songs import Song
from accompgen.time import blocks_within, frames_of

LENGTH_TOLERANCE_SECONDS = 0.1


class PairError(ValueError):
    """A song that is no usable pair; the message names it."""


def read_pair(song: Song, rates: tuple[int, ...]) -> tuple[int, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Both waves of a song at each of `rates`.

    Returns:
        The number of 40 ms blocks that both files hold, and per rate (vocal [T], accompaniment [T]), float32 mono, T that many
        blocks exactly.

    Raises:
        PairError: a mixture that is not separated yet, lengths that differ by more than 0.1 s, less than one block.
        audio.AudioError: a file that is not sound.
    """
    if song.vocal is None or song.accompaniment is None:
        raise PairError(f"{song.id} is a mixture; separate it into a vocal and an accompaniment first (accompgen prepare)")
    (vocal, vocal_rate), (band, band_rate) = audio.read(song.vocal), audio.read(song.accompaniment)
    seconds = vocal.shape[-1] / vocal_rate, band.shape[-1] / band_rate
    if abs(seconds[0] - seconds[1]) > LENGTH_TOLERANCE_SECONDS:
        raise PairError(
            f"{song.id}: the vocal lasts {seconds[0]:.2f} s and the accompaniment {seconds[1]:.2f} s; the two of a pair must "
            "start and end together"
        )
    blocks = blocks_within(min(seconds))
    if blocks < 1:
        raise PairError(f"{song.id}: {min(seconds):.3f} s is shorter than one block of 0.04 s")
    vocal, band = audio.heard(vocal), audio.heard(band)
    return blocks, {rate: (_cut(vocal, vocal_rate, rate, blocks), _cut(band, band_rate, rate, blocks)) for rate in rates}


def _cut(wav, from_rate, rate, blocks):
    return audio.fit(audio.resample(wav, from_rate, rate), frames_of(blocks, rate))
