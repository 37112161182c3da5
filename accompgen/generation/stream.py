"""An accompaniment window by window, as it is made: from a recording, or from a voice that is still singing.

What a window needs. The semantic stage hears the vocal of its own window and nothing behind it, the coarse stage the vocal and
semantic units of its window, the fine stage the coarse codes of its window; the decoder looks at most some frames ahead. So the
first sound comes when the vocal has reached the end of the first semantic window, and each later piece when it reaches those
of its own. Of a recording the windows are those of `Accompanist.accompany`. Of a voice that is still singing each window adds
at most `HOP_SECONDS`; whatever else it holds was made before.

What the vocal's units hear. Of a recording they are those of `Accompanist.accompany`: HuBERT reads all of it, at one loudness.
So the codes are the same, and so is the sound. Of a vocal that comes in blocks they are made second by second, each from
`BEHIND_SECONDS` before it to `AHEAD_SECONDS` behind it, as loud as the last `LOUDNESS_SECONDS` make it, with noise of its own.
Those units differ from a recording's where HuBERT would have heard further, or where the singer has grown louder or softer.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.generation.cascade import Tokens, cascade_in_pieces
from accompgen.generation.mixdown import BALANCE_LU, FADE_SECONDS, finished
from accompgen.generation.report import Clock, asked_for
from accompgen.generation.sampling import Sampling
from accompgen.generation.settings import check_seed, check_settings
from accompgen.generation.song import Song
from accompgen.generation.vocal import VOCAL_LUFS, VOCAL_NOISE, Vocal, read_vocal
from accompgen.seeding import make_generator
from accompgen.time import BLOCKS_PER_SECOND, SEMANTIC_HZ, blocks_covering, blocks_of, frames_of, seconds_of
from accompgen.tokens.decoder import DecoderStream
from accompgen.tokens.semantic import SemanticTokenizer

STEP_SECONDS, AHEAD_SECONDS, BEHIND_SECONDS = 1.0, 0.4, 4.0
HOP_SECONDS = 4.0  # of a vocal that comes in: the sound lags this, AHEAD_SECONDS and the time to make it behind the voice
LOUDNESS_SECONDS = 20
RAMP_SECONDS = 0.5  # in which a piece goes from the gain of the piece before to its own


@dataclass(frozen=True)
class Piece:
    """The accompaniment of one window."""

    start: float  # in seconds, of `semantic` and `codes`; the sound before it lags some milliseconds
    stop: float
    accompaniment: np.ndarray  # [C, T] at `rate`; pieces follow each other without gap
    rate: int
    semantic: torch.Tensor  # [1, S]
    codes: torch.Tensor  # [Q, F]
    after: float  # seconds from the start of the iteration until it was ready


class Stream:
    """Iterate to get Pieces, each as soon as it is made; together as long as the vocal. Once only.

    Each piece is as loud as `balance` asks, as far as vocal and accompaniment are known by then: the gain follows slowly, where
    a finished song has one gain. Nothing passes -1 dBFS.

    Args:
        model: pipeline.Accompanist.
        vocal: a recording as in `Accompanist.accompany`; or an iterable of sample blocks [C, T] or [T] of any length, together
            0.2 s or more, which is asked for the next one when all that can be made is made.
        rate: of such blocks in Hz; None with a recording.
        seed, sampling, balance, noise: as in `Accompanist.accompany`.

    Raises:
        audio.AudioError: a vocal that cannot be read or used; of blocks, when they come.
        ValueError: a setting out of range, blocks without a rate, a checkpoint that makes several stems.
    """

    def __init__(
        self,
        model,
        vocal,
        seed: int = 0,
        rate: int | None = None,
        *,
        sampling: dict[str, Sampling] | None = None,
        balance: float = BALANCE_LU,
        noise: float = VOCAL_NOISE,
    ):
        check_settings(balance, noise)
        if len(model.stems) > 1:
            raise ValueError(
                f"this checkpoint makes {', '.join(model.stems)} one after the other, each hearing the whole of those before "
                "it; streams are for checkpoints of one track, such as `pocket`"
            )
        recording = isinstance(vocal, (str, Path, tuple, Vocal))
        if recording == (rate is not None):
            raise ValueError("give either a recording, or blocks of samples and their rate (rate=44100)")
        self.model, self.seed, self.balance, self.noise = model, seed, balance, noise
        check_seed(seed)
        self.sampling = model.settings(sampling)
        self.clock = Clock()
        self.vocal = self.incoming = None
        if recording:
            with self.clock("read"):
                self.vocal = read_vocal(vocal)
            self.rate = self.vocal.rate
        else:
            self.incoming, self.rate = _IncomingVocal(vocal, rate), rate
        self._begun, self._made = False, []  # of a recording, the (tokens, sound [C, T] at the decoder's rate) of each piece

    def __iter__(self):
        if self._begun:
            raise ValueError("this stream was read already; make another one")
        self._begun = True
        began, seconds = time.perf_counter(), self.clock.seconds
        hop = 0.0 if self.vocal is not None else HOP_SECONDS
        sound, level = _Sound(self.model.decoder, self.rate, self.seed), _Level(self.rate, self.balance)
        for tokens in cascade_in_pieces(self.model.system, self._units(), self.sampling, self.seed, seconds, hop):
            last = self._samples is not None and tokens.stop >= blocks_covering(self._samples, self.rate)
            with self.clock("decoder"):
                raw = sound.decode(tokens.codes, last)
                wav = sound.resample(raw, self._samples if last else None)
            if self.vocal is not None:
                self._made.append((tokens, raw))
            wav = level(wav, *self._loudness())
            stop = self._samples / self.rate if last else seconds_of(tokens.stop)
            start = seconds_of(tokens.start)
            yield Piece(start, stop, wav, self.rate, tokens.semantic, tokens.codes, time.perf_counter() - began)
        if not last:  # that the vocal was over came to light behind the last piece: its last milliseconds
            wav = level(sound.resample(sound.decode(tokens.codes[:, :0], last=True), self._samples), *self._loudness())
            after = time.perf_counter() - began
            yield Piece(stop, stop, wav, self.rate, tokens.semantic[:, :0], tokens.codes[:, :0], after)

    @property
    def channels(self) -> int:
        """Of the accompaniment."""
        return self.model.decoder.channels

    @property
    def _samples(self):
        """Length of the vocal; None while it is not known."""
        if self.vocal is not None:
            return self.vocal.wav.shape[1]
        return self.incoming.samples if self.incoming.ended else None

    def _loudness(self):
        """Of a recording, or of what was heard of a voice recently: LUFS, and the channels it was measured in."""
        if self.vocal is not None:
            return self.vocal.lufs, len(self.vocal.wav)
        return audio.loudness(self.incoming.recent, self.rate), len(self.incoming.recent)

    def song(self) -> Song:
        """The finished song, mixed and reported as by `Accompanist.accompany`. ValueError before the end, or of blocks."""
        if self.vocal is None:
            raise ValueError("a vocal that came in blocks was not kept, so there is no mix; keep the pieces")
        parts = [tokens for tokens, _ in self._made]
        if not parts or parts[-1].stop < blocks_covering(self._samples, self.rate):
            raise ValueError("the stream has not come to its end; iterate to get its pieces first")
        tokens = Tokens(
            torch.cat([part.semantic for part in parts], dim=-1), torch.cat([part.codes for part in parts], dim=-1), {}
        )
        sound = np.concatenate([sound for _, sound in self._made], axis=1)
        order = ["read", "vocal_units", *self.sampling, "decoder"]
        self.clock.seconds = {name: self.clock.seconds[name] for name in order}
        (stem,) = self.model.stems
        made = {stem: tokens}, {stem: sound}
        settings = asked_for(self.sampling, self.balance, self.noise, None)
        return finished(self.model, self.vocal, self.seed, settings, *made, self.clock)

    def _units(self):
        """Ids [1, s] of the vocal, as far as it is known."""
        if self.vocal is not None:
            with self.clock("vocal_units"):
                units = self.model.units(self.vocal, self.noise, self.seed)
            yield units
            return
        generator = make_generator(self.seed, "noise", 0)
        for first, stop in self.incoming.steps():
            with self.clock("vocal_units"):
                wav, before = self.incoming.excerpt(first, stop)  # [1, T] at 16 kHz, blocks of 40 ms before `first`
                wav = torch.from_numpy(wav)
                wav = wav + self.noise * torch.randn(wav.shape, generator=generator)
                ids = self.model.semantic_tokenizer.encode(wav.to(self.model.device))
            yield ids[:, frames_of(before, SEMANTIC_HZ) : frames_of(before + stop - first, SEMANTIC_HZ)]


class _IncomingVocal:
    """The end of a vocal that comes in blocks."""

    def __init__(self, blocks: Iterable, rate: int):
        self.blocks, self.rate = self._parts(blocks), rate
        self.recent = None  # [C, T], the end of what was heard
        self.samples = 0  # heard in all
        self.ended = False

    def steps(self):
        """Yield spans (first, stop) in blocks of 40 ms as soon as they and what lies ahead were heard."""
        done, step = 0, blocks_of(STEP_SECONDS)
        while not self.ended:
            self._listen()
            while seconds_of(done + step) + AHEAD_SECONDS <= self.samples / self.rate:
                yield done, done + step
                done += step
        if self.samples < 0.2 * self.rate:
            raise audio.AudioError(f"the blocks are {self.samples / self.rate:.3f} s long together; at least 0.2 s are needed")
        stop = blocks_covering(self.samples, self.rate)
        if stop > done:
            yield done, stop

    def _listen(self):
        block = next(self.blocks, None)
        if block is None:
            self.ended = True
            return
        if self.recent is not None and len(block) != len(self.recent):
            raise audio.AudioError(f"a block of {len(block)} channels after blocks of {len(self.recent)}; they must be as many")
        self.samples += block.shape[1]
        recent = block if self.recent is None else np.concatenate([self.recent, block], axis=1)
        self.recent = recent[:, -(LOUDNESS_SECONDS + 5) * self.rate :]  # more than a step, its surroundings and a block

    def _parts(self, blocks):
        """The blocks, checked, as [C, T] of at most a second."""
        for block in blocks:
            block = np.asarray(block)
            if not block.size:  # a microphone that had nothing yet
                continue
            channels = None if self.recent is None else len(self.recent)
            block = audio.from_array(block, "a block", channels)
            audio.check_samples(block, self.rate, "a block")
            for start in range(0, block.shape[1], self.rate):
                yield block[:, start : start + self.rate]

    def excerpt(self, first, stop):
        """The vocal around blocks first..stop-1, mono at 16 kHz at one loudness [1, T], and the blocks of it before `first`."""
        kept = self.samples - self.recent.shape[1]  # samples that were forgotten
        before = min(first, blocks_of(BEHIND_SECONDS), max(0, first - blocks_covering(kept, self.rate)))
        start = round((first - before) * self.rate / BLOCKS_PER_SECOND) - kept
        end = round((seconds_of(stop) + AHEAD_SECONDS) * self.rate) - kept
        mono, heard_rate = audio.downmix(self.recent[:, :end]), SemanticTokenizer.sample_rate
        wav = audio.resample(mono[max(0, start) :][None], self.rate, heard_rate)
        lufs = audio.loudness(mono[-LOUDNESS_SECONDS * self.rate :], self.rate)
        gain = 10 ** ((VOCAL_LUFS - lufs) / 20) if np.isfinite(lufs) else 1.0  # silent so far
        return audio.fit(wav * np.float32(gain), max(wav.shape[1], frames_of(before + stop - first, heard_rate))), before


class _Sound:
    """Codes that come in pieces -> sound without seams."""

    def __init__(self, decoder, rate, seed):
        self.decoder = DecoderStream(decoder, seed)
        self.resamplers = [audio.Resampler(decoder.sample_rate, rate) for _ in range(decoder.channels)]
        self.fade = round(FADE_SECONDS * rate)
        # the end of what was resampled: if it is the end, it is faded out
        self.held = np.zeros((decoder.channels, 0), np.float32)
        self.given = 0

    def decode(self, codes, last):
        """The sound [C, T], at the decoder's rate, that is ready with the next codes [Q, F]; with `last` all of it."""
        return self.decoder(codes, last).cpu().numpy()

    def resample(self, wav, total=None):
        """Sound [C, T] -> what is ready at the vocal's rate [C, T']; the rest, faded out, if `total` samples are all."""
        ready = [resampler(row, last=total is not None) for resampler, row in zip(self.resamplers, wav, strict=True)]
        ready = np.concatenate([self.held, np.stack(ready)], axis=1)
        if total is None:
            keep = max(0, ready.shape[1] - self.fade)
            ready, self.held = ready[:, :keep], ready[:, keep:]
        else:
            ready = audio.fit(ready, max(0, total - self.given))
            fade = min(ready.shape[1], self.fade)
            ready[:, ready.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        self.given += ready.shape[1]
        return ready


class _Level:
    """The gain of each piece: `balance` between the vocal and the accompaniment so far."""

    def __init__(self, rate, balance):
        self.rate, self.balance, self.gain = rate, balance, None
        self.recent = None

    def __call__(self, wav, lufs, channels):
        """wav [C, T], and the loudness of a vocal of so many channels -> wav [C, T] as loud as it should be."""
        if not wav.shape[1]:
            return wav
        recent = wav if self.recent is None else np.concatenate([self.recent, wav], axis=1)
        self.recent = recent[:, -LOUDNESS_SECONDS * self.rate :]
        wanted = lufs + self.balance - audio.loudness(audio.spread(self.recent, channels), self.rate)
        before, gain = self.gain, 10 ** (wanted / 20) if np.isfinite(wanted) else self.gain or 1.0
        self.gain = min(gain, audio.PEAK_LIMIT / max(audio.peak(wav), 1e-9))
        ramp = np.full(wav.shape[1], self.gain, np.float32)
        if before is not None:
            count = min(len(ramp), round(RAMP_SECONDS * self.rate))
            ramp[:count] = np.linspace(before, self.gain, count, dtype=np.float32)
        return (wav * ramp).clip(-audio.PEAK_LIMIT, audio.PEAK_LIMIT)
