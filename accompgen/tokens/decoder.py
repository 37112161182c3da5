"""Codes -> sound: what turns a song's codes into what is heard.

A decoder takes codes [B, Q, F] at 75 frames a second and gives sound [B, C, T] at its own rate, T = F * hop_samples:
- `EncodecDecoder`, that of an EnCodec itself: 24 kHz, one channel (tokens/acoustic.py);
- `StereoDecoder`, ours, trained on the codes of an EnCodec: 48 kHz, two channels
  (decoder_network.py); who plays is known from what was played before (timbre.py);
- `VocosDecoder`, published for the codes of the published EnCodec: 24 kHz, one channel (vocos.py).

What the codes do not say, a `StereoDecoder` draws as noise, from generators by (seed, block of a second): the same
seed gives the same sound, and a stream's sound is that of the whole. partials.py gathers that noise
where tones have multiples.
"""

from collections.abc import Iterator
from functools import lru_cache

import torch

from accompgen import audio
from accompgen.component import CheckpointError, load_component, save_component
from accompgen.config import ConfigError, from_dict, to_dict
from accompgen.seeding import make_generator
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.decoder_network import EDGE_FRAMES, DecoderConfig, DecoderNetwork
from accompgen.tokens.noise import random_phases
from accompgen.tokens.partials import AROUND_FRAMES, gathered
from accompgen.tokens.timbre import STEP_FRAMES, Past, between
from accompgen.tokens.upsampling import upsampled
from accompgen.tokens.vocos import VocosConfig, VocosNetwork

FORMAT = "accompgen decoder 1"
VOCOS_FORMAT = "vocos decoder 1"
BLOCK_FRAMES = 75  # of which the noise is drawn together
CHUNK_FRAMES = 900  # decoded together; what surrounds them, up to 80 of ours, is decoded again
# whose sound is made together: spectra of more do not fit into a processor's cache
SOUND_FRAMES = 225
LOUDEST_LUFS = -18.0  # of what codecs were trained on here; mastered recordings lie 8 LU above it


class EncodecDecoder:
    """An EnCodec's own decoder. `before` and `ahead` are the frames around a frame that its sound depends on; an LSTM's
    memory, which fades, is left out. It is causal, but the first frames are padded with those behind them."""

    channels = 1
    before, ahead, remembered = 150, 8, 0

    def __init__(self, tokenizer: AcousticTokenizer):
        self.tokenizer = tokenizer
        self.sample_rate, self.hop_samples = tokenizer.sample_rate, tokenizer.hop_samples

    @property
    def device(self) -> torch.device:
        return self.tokenizer.device

    def decode(self, codes: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """Sound [B, 1, F * 320] of codes [B, q, F]; nothing is drawn, whatever `seed` is. Raises ValueError."""
        return self.tokenizer.decode(codes)[:, None]

    def pieces(self, codes: torch.Tensor, seed: int = 0) -> Iterator[torch.Tensor]:
        """What `decode` gives, [B, 1, t] at a time; errors as there."""
        return (wav[:, None] for wav in self.tokenizer.pieces(codes))

    def span(self, codes: torch.Tensor, start: int, first: int, stop: int, seed: int, past: Past):
        """The sound of frames first..stop-1, as `StereoDecoder.span`."""
        return self.decode(codes)[..., (first - start) * self.hop_samples : (stop - start) * self.hop_samples]


class StereoDecoder:
    """Codes [B, q, F] -> sound [B, 2, F * 640] at 48 kHz (or another multiple of 24 kHz).

    Attributes:
        config, network: sizes and weights.
        before, ahead: frames around a frame that its sound depends on; of those further back,
            `Past` keeps what it needs.
        remembered: frames that `Past` keeps something of.
    """

    channels = 2

    def __init__(self, config: DecoderConfig, network: DecoderNetwork):
        self.config, self.network = config, network.eval().requires_grad_(False)
        self.sample_rate, self.hop_samples = config.sample_rate, config.hop_samples
        self.before = self.ahead = config.reach + AROUND_FRAMES
        self.remembered = 0
        if network.timbre:  # whose steps must be whole
            self.ahead += STEP_FRAMES - 1
            self.remembered = network.timbre.steps * STEP_FRAMES

    @classmethod
    def load(cls, directory, device="cpu") -> "StereoDecoder":
        """Read a component directory. Raises CheckpointError for anything missing, or another format."""
        return cls(*_read_component(directory, FORMAT, DecoderConfig, DecoderNetwork, device))

    def save(self, directory, about: dict, dtype: torch.dtype = torch.float16, force: bool = False) -> None:
        """Write a component directory; `about` names the tokenizers whose codes it reads. Raises CheckpointError."""
        state = {name: tensor.to(dtype) for name, tensor in self.network.state_dict().items()}
        save_component(directory, {"format": FORMAT, "decoder": to_dict(self.config), **about}, state, force=force)

    @property
    def device(self) -> torch.device:
        return self.network.code_vectors.device

    @property
    def _around(self) -> int:
        """Frames before and behind what is asked for, whose parts are made, too."""
        return AROUND_FRAMES + EDGE_FRAMES + self.config.pan_reach

    def decode(self, codes: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """Sound [B, 2, T] of codes [B, q, F]; with q below Q the first q codebooks alone are heard. The same seed gives the
        same sound, and all rows of a batch the same noise.

        Raises ValueError for another shape, another type or codes out of range.
        """
        return _together(self, codes, self.pieces(codes, seed))

    def pieces(self, codes: torch.Tensor, seed: int = 0) -> Iterator[torch.Tensor]:
        """What `decode` gives, [B, C, t] at a time, so that the whole need not lie in memory; errors as there."""
        return _pieces(self, codes, seed)

    @torch.no_grad()
    def span(self, codes: torch.Tensor, start: int, first: int, stop: int, seed: int, past: Past):
        """The sound [B, 2, T] of frames first..stop-1 of a song.

        Args:
            codes: [B, q, n] of the song's frames from `start` on: `before` frames before `first` and `ahead` behind `stop`,
                or as many as the song has.
            past: of the song, as the spans before it left it; it is gone on with.
        """
        network, end, around = self.network, start + codes.shape[-1], self._around
        reach = self.config.said_reach
        # the places of gains, steps between which the frames lie
        places = torch.arange((first - around) // STEP_FRAMES, (stop + around - 1) // STEP_FRAMES + 2)
        low, high = first - around, max(stop + around, STEP_FRAMES * int(places[-1]))
        # A song goes on as it begins and ends. Zeros around it are no sound that was ever learned, and what no window overlaps
        # with does not cancel: a song of silence began and ended with a tick of -46 dBFS.
        frames = torch.arange(low - reach, high + reach).clamp(start, end - 1)
        latent = network.vectors(codes[..., frames - start].to(self.device))
        hidden = network.hidden(latent)[:, reach:-reach]
        said, gains = network.out(hidden), None
        if network.timbre:
            gains = self._gains(latent[..., reach:-reach], hidden, said, low, end, places, past)
        hop = self.hop_samples
        wav = torch.empty(len(said), 2, (stop - first) * hop, device=said.device)
        for begin in range(first, stop, SOUND_FRAMES):
            behind = min(stop, begin + SOUND_FRAMES)
            middle, side = self._sound(said, low, gains, begin, behind, seed)
            part = wav[..., (begin - first) * hop : (behind - first) * hop]
            torch.add(middle, side, out=part[:, 0])
            torch.sub(middle, side, out=part[:, 1])
        return wav

    def _gains(self, latent, hidden, said, low, end, places, past):
        """The gains of timbre [B, A, 2, bands] at places [A], and the first of these; `past` learns the
        steps up to the last. What is said is of the frames from `low` on, `end` is that of the song, as far as it is known.
        """
        timbre, last = self.network.timbre, int(places[-1])
        if past.next < last:
            inside = slice(past.next * STEP_FRAMES - low, last * STEP_FRAMES - low)
            known = torch.arange(past.next * STEP_FRAMES, last * STEP_FRAMES, device=self.device) < end
            parts = latent[..., inside], hidden[:, inside], said[:, inside]
            past.add(self.network.frame_features(*parts), known)
        gains = timbre(timbre.features(past, places.to(self.device)))
        past.forget(int(places[0]) - timbre.steps)
        return gains, int(places[0])

    def _sound(self, said, start, gains, first, stop, seed):
        """Middle and side [B, T] of frames first..stop-1; `said` is of the frames from `start` on,
        `gains` are those of `_gains`, or None."""
        network, config = self.network, self.config
        per_tone, per_level, hop = config.tone_frames, config.noise_frames, self.hop_samples
        beside, low, high = config.pan_reach, first - self._around, stop + self._around
        if gains:
            tones, levels = (between(*gains, low, high, count) for count in (per_tone, per_level))
            gains = tones[:, :, 0], levels
        tone, pan, level = network.parts(said[:, low - start : high - start], gains)
        low, high = low + beside, high - beside
        tone, pan = (part[:, beside * per_tone : -beside * per_tone] for part in (tone, pan))
        level = level[:, beside * per_level : -beside * per_level]
        drawn, factor = self._drawn(level, seed, low, high), config.tone_factor
        tones = network.tone(torch.cat([tone, tone * pan]), self.sample_rate // factor)
        inside = slice(EDGE_FRAMES * hop, -EDGE_FRAMES * hop)
        middle, side = (
            wave[:, inside].add_(network.noise(drawn[:, index])[:, inside])
            for index, wave in enumerate(upsampled(tones, factor).chunk(2))
        )
        inside = slice(EDGE_FRAMES * hop // factor, -EDGE_FRAMES * hop // factor)
        middle = gathered(middle, tones[: len(middle), inside], self.sample_rate, hop)
        return middle, side[:, AROUND_FRAMES * hop : -AROUND_FRAMES * hop]

    def _drawn(self, level, seed, low, high):
        """Levels [B, F'', 2, bins] of the frames low..high-1 of a song times what is drawn: complex
        [B, 2, F'', bins]."""
        per_frame = self.config.noise_frames
        drawn = torch.empty(*level.transpose(1, 2).shape, dtype=torch.complex64, device=self.device)
        for number in range(low // BLOCK_FRAMES, (high - 1) // BLOCK_FRAMES + 1):
            block = _block(seed, number, BLOCK_FRAMES * per_frame, level.shape[-1])
            begin = number * BLOCK_FRAMES
            first, stop = max(low, begin), min(high, begin + BLOCK_FRAMES)
            within = slice((first - begin) * per_frame, (stop - begin) * per_frame)
            places = slice((first - low) * per_frame, (stop - low) * per_frame)
            loud = level[:, places].transpose(1, 2)
            torch.mul(block[:, within].to(self.device), loud, out=drawn[:, :, places])
        return drawn


class VocosDecoder:
    """Codes [B, q, F] -> sound [B, 1, F * 320] at 24 kHz. Nothing is drawn: any seed gives the same sound.

    Attributes:
        config, network: sizes and weights.
        before, ahead: frames around a frame that its sound depends on.
    """

    channels, remembered = 1, 0

    def __init__(self, network: VocosNetwork):
        self.config, self.network = network.config, network.eval().requires_grad_(False)
        self.sample_rate, self.hop_samples = self.config.sample_rate, self.config.hop_samples
        self.before = self.ahead = self.config.reach

    @classmethod
    def load(cls, directory, device="cpu") -> "VocosDecoder":
        """Read a component directory. Raises CheckpointError for anything missing, or another format."""
        return cls(_read_component(directory, VOCOS_FORMAT, VocosConfig, VocosNetwork, device)[1])

    def save(self, directory, about: dict, force: bool = False) -> None:
        """Write a component directory; `about` names the tokenizer whose codes it plays. Raises CheckpointError."""
        config = {"format": VOCOS_FORMAT, "decoder": to_dict(self.config), **about}
        save_component(directory, config, self.network.state_dict(), force=force)

    @property
    def device(self) -> torch.device:
        return self.network.code_vectors.device

    def decode(self, codes: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """Sound [B, 1, F * 320] of codes [B, q, F]; with q below Q the first q codebooks alone are heard.

        Raises ValueError for another shape, another type or codes out of range.
        """
        return _together(self, codes, self.pieces(codes, seed))

    def pieces(self, codes: torch.Tensor, seed: int = 0) -> Iterator[torch.Tensor]:
        """What `decode` gives, [B, C, t] at a time, so that the whole need not lie in memory; errors as there."""
        return _pieces(self, codes, seed)

    @torch.no_grad()
    def span(self, codes: torch.Tensor, start: int, first: int, stop: int, seed: int, past: Past):
        """The sound of frames first..stop-1, as `StereoDecoder.span`."""
        edge, hop = self.config.edge, self.hop_samples
        low, high = max(start, first - edge), min(start + codes.shape[-1], stop + edge)
        spectra = self.network(codes.to(self.device, torch.int64))[:, low - start : high - start]
        return self.network.sound(spectra)[:, None, (first - low) * hop : (stop - low) * hop]


def _read_component(directory, name, config_type, network_type, device):
    """Sizes and network of a decoder's component directory of the format `name`."""
    config, tensors = load_component(directory)
    if config.get("format") != name:
        raise CheckpointError(f"{directory}: its format is {config.get('format')!r}; expected {name!r}")
    try:
        sizes = from_dict(config_type, config["decoder"], f"{directory}/config.json: decoder")
        with torch.random.fork_rng(devices=[]):  # building draws random weights, which nobody shall notice
            network = network_type(sizes)
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, ConfigError, RuntimeError) as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{directory}: the weights do not fit its config.json ({first}); get it again") from error
    return sizes, network.to(device)


@torch.no_grad()
def _pieces(decoder, codes, seed):
    """Sound [B, C, t] of codes [B, q, F], CHUNK_FRAMES at a time. Raises ValueError, see `StereoDecoder.decode`."""
    books, bins = decoder.config.codebooks, decoder.config.bins
    if codes.ndim != 3 or not codes.shape[-1] or codes.is_floating_point():
        raise ValueError(f"codes have shape {tuple(codes.shape)}, {codes.dtype}; expected integers [B, q, F] with F > 0")
    if not 1 <= codes.shape[1] <= books:
        raise ValueError(f"{codes.shape[1]} codebooks given; this decoder reads 1 to {books}")
    if codes.min() < 0 or codes.max() >= bins:
        raise ValueError(f"codes go from {codes.min()} to {codes.max()}; expected 0 to {bins - 1}")
    frames, past = codes.shape[-1], Past()
    for first in range(0, frames, CHUNK_FRAMES):
        start, stop = max(0, first - decoder.before), min(frames, first + CHUNK_FRAMES)
        yield decoder.span(codes[..., start : stop + decoder.ahead], start, first, stop, seed, past)


def _together(decoder, codes, pieces):
    """Sound [B, C, T] of its pieces, each forgotten once it lies there."""
    wav, done = None, 0
    for piece in pieces:
        if wav is None:
            samples = codes.shape[-1] * decoder.hop_samples
            wav = torch.empty(len(codes), decoder.channels, samples, device=decoder.device)
        wav[..., done : done + piece.shape[-1]] = piece
        done += piece.shape[-1]
    return wav


@lru_cache(maxsize=8)
def _block(seed, number, frames, bins):
    """The draws of one block of a song: complex [2, frames, bins]."""
    return random_phases((2, frames, bins), make_generator(seed, "decoder", number))


class DecoderStream:
    """Codes that come in pieces -> the very sound that `decode` gives of all of them, without seams.

    A decoder that looks ahead keeps as many frames back until more codes, or the end, have come.
    """

    def __init__(self, decoder, seed: int = 0):
        self.decoder, self.seed = decoder, seed
        self.codes = None  # [Q, n], of the frames from `start` on
        self.start = self.done = 0  # frames; those before `done` have been given
        self.past = Past()

    def __call__(self, codes: torch.Tensor, last: bool = False) -> torch.Tensor:
        """The next codes [Q, f], none or more -> what can be heard now [C, T], maybe nothing; all of it with `last`."""
        self.codes = codes if self.codes is None else torch.cat([self.codes, codes], dim=-1)
        known = self.start + self.codes.shape[-1]
        stop = known if last else max(self.done, known - self.decoder.ahead)
        if stop == self.done:
            return torch.zeros(self.decoder.channels, 0)
        wav = self.decoder.span(self.codes[None], self.start, self.done, stop, self.seed, self.past)[0]
        self.done, forget = stop, max(0, stop - self.decoder.before - self.start)
        self.codes, self.start = self.codes[:, forget:], self.start + forget
        return wav


def round_trip(mono: torch.Tensor, tokenizer: AcousticTokenizer, decoder, codebooks: int | None = None) -> torch.Tensor:
    """Sound [T] at 24 kHz through codes and back -> [C, T'] at the decoder's rate, as long and as loud as it was.

    Sound louder than LOUDEST_LUFS is turned down for the codec, and its return up by as much.
    """
    loudness = audio.loudness(mono.numpy(), tokenizer.sample_rate)
    gain = 10 ** (min(0.0, LOUDEST_LUFS - loudness) / 20)
    wav = decoder.decode(tokenizer.encode(gain * mono[None], codebooks))[0] / gain
    return wav[:, : round(len(mono) * decoder.sample_rate / tokenizer.sample_rate)]
