"""Another take of a part of a song, or of some of its stems, every other sample as it was.

What is there is read as sound: the stems' units and codes are made of it anew, so that a stem that was changed elsewhere is
continued as it sounds now. Of a long song an excerpt around the part is read, as far as its windows reach. The new part is
decoded with what surrounds it, and fades into it within its own borders, and out where the song
ends.
"""

from dataclasses import replace

import numpy as np
import torch

from accompgen import audio
from accompgen.generation.cascade import Tokens
from accompgen.generation.charting import chart_streams
from accompgen.generation.limiter import STEPS, level_of, smoothed
from accompgen.generation.mixdown import fade_out, faders_in
from accompgen.generation.pipeline import Accompanist
from accompgen.generation.schedule import EARLIER_SECONDS, Part
from accompgen.generation.settings import check_seed, chosen_stems
from accompgen.generation.song import Song, check_recording
from accompgen.generation.vocal import others_sound, read_vocal
from accompgen.generation.windows import Span
from accompgen.prompts import rests_of
from accompgen.time import blocks_covering, blocks_of, blocks_within, frames_of, seconds_of

BESIDE = "beside"  # what else is played, among the sounds of the stems
CROSSFADE_SECONDS = 0.03
AROUND_BLOCKS = 25  # decoded on either side of the new part and thrown away: a second
BEHIND_SECONDS = 8.0  # behind a part, read too
DIP_SECONDS = 0.02  # before and behind a peak of the mix, where a take is softer


def redo(
    model: Accompanist, song: Song, vocal, start: float = 0.0, stop: float | None = None, *, stems=None, seed: int = 1,
    sampling=None, chart=None, prompt=None, others=None, on_progress=None,
) -> Song:  # fmt: skip
    """Another take of a part of a song.

    Args:
        model: with the weights that made the song.
        song: as `accompany` or `song.read_song` gave it.
        vocal: the recording it was made for, as for `accompany`.
        start, stop: of the part in seconds; None: the song's end.
        stems: which to make again, in this order, each hearing all others; None: all.
        seed: another one than the song's gives another take.
        sampling, prompt, on_progress: as in `accompany`.
        chart: to play the part by; None: the song's own.
        others: what else is played, as for `accompany`; it is heard, and in the song's mix already.

    Returns:
        a song whose tracks are those of `song` to the sample, but for those stems between start and stop. Its tokens are known
        where those of `song` are, or where the excerpt is all of a short song. Where the mix would pass -1 dBFS the new sound
        is softer for 20 ms around, and its report says by how much at most: the take's `peaks_softer_db`.

    Raises:
        ValueError: a part outside the song, no stem, an unknown one or one twice, a song that other
            weights made; others for a checkpoint that hears the voice alone; a mix that would pass
            -1 dBFS without the new sound, too.
        audio.AudioError: another vocal than the song's.
    """
    check_seed(seed)
    check_weights(model, song)
    vocal = read_vocal(vocal)
    check_recording(song, vocal)
    others = None if others is None else model.read_others(vocal, others)
    stems = chosen_stems(song.tracks if stems is None else stems, tuple(song.tracks), "this song has")
    stop = song.seconds if stop is None else stop
    if not 0 <= start < stop <= song.seconds + 0.001:
        raise ValueError(f"from {start:g} to {stop:g} s is no part of a song of {song.seconds:.2f} s")
    sampling, chart, gains = model.settings(sampling), chart or song.chart, _gains_of(song)
    tracks, tokens, added = dict(song.tracks), dict(song.tokens), {}
    blocks = blocks_covering(vocal.wav.shape[1], vocal.rate)
    span = (blocks_within(start), min(blocks_covering(round(stop * 1000), 1000), blocks))
    graph, first = model.system.graph, max(0, span[0] - _reach(model.system))
    excerpt = Span(first, first, min(span[1] + blocks_of(BEHIND_SECONDS), blocks))
    noise, own_seed = song.report["settings"]["noise"], song.report["seed"]
    units = model.units(vocal, noise, own_seed, excerpt)
    prompts = model.prompts(prompt, vocal.seconds)
    text = _later(model.text_of(prompts), first)
    inside = (span[0] - first, span[1] - first)
    rests = {stem: _inside(rests_of(prompts, stem), span, first) for stem in stems}
    streams = {} if chart is None else chart_streams(graph, chart, blocks)
    streams = {name: ids[..., excerpt.frames(graph.stream(name).hz)] for name, ids in streams.items()}
    sung = model.melody(vocal, chart, sampling, frames_of(blocks, graph.vocal.hz))
    streams |= {name: weights[..., excerpt.start : excerpt.stop] for name, weights in sung.items()}
    around = excerpt.frames(song.rate)
    sounds = {name: _at_decoder(model, track[:, around] / gains[name], song) for name, track in tracks.items()}
    if others is not None:
        rate, length = model.decoder.sample_rate, next(iter(sounds.values())).shape[1]
        sounds[BESIDE] = audio.fit(others_sound(others, rate)[:, excerpt.frames(rate)], length)
    for number, stem in enumerate(stems):
        beside = {name: sound for name, sound in sounds.items() if name != stem}
        gain = gains[stem]
        given = streams | model.given_streams(None, None, beside, units.shape[1])
        kept = _tokens_of(model, tracks[stem][:, around] / gain, song.rate, excerpt.stop - first)
        report = None if on_progress is None else _counted(number, stems, on_progress)
        made = model.play(vocal, units, sampling, seed, Part(stem, given, text, kept, inside, rests[stem]), report)
        whole = (excerpt.start, excerpt.stop) == (0, blocks)
        tokens[stem] = made if whole else _tokens_with(song.tokens.get(stem), made, excerpt, graph)
        level = level_of(tracks[stem], song.rate) / gain if stem in model.headroom else 0.0
        new = _decoded(model, stem, made.codes, inside, seed, song, level) * gain
        stays, added[stem] = _spliced(tracks[stem], new, span, song, start, stop)
        tracks[stem] = stays + added[stem]
        sounds[stem] = _at_decoder(model, tracks[stem][:, around] / gain, song)
    tokens = {stem: known for stem, known in tokens.items() if known is not None}
    take = {"stems": list(stems), "from": round(start, 3), "to": round(stop, 3), "seed": seed}
    if prompts:
        take["prompts"] = [prompt] if isinstance(prompt, str) else list(prompt)
    if others is not None:
        take["others"] = {"file": others.source, "sha256": others.sha256}
    change = sum(tracks.values()) - sum(song.tracks.values())  # 0 where nothing changed
    mix = song.mix + audio.spread(change, len(song.mix))
    new = audio.spread(sum(added.values(), np.zeros_like(change)), len(song.mix))
    room = _room(mix, new, song.rate)  # [T]
    if (least := float(room.min())) < 1:
        tracks |= {stem: tracks[stem] - (1 - room) * sound for stem, sound in added.items()}
        mix = mix - (1 - room) * new
        # a number even where nothing of it is left
        take["peaks_softer_db"] = round(-audio.decibel(max(least, audio.SILENCE)), 2)
    report = {**song.report, "takes": [*song.report.get("takes", []), take]}
    return replace(song, tracks=tracks, mix=mix.astype(np.float32), tokens=tokens, report=report, chart=chart)


def _room(mix, new, rate):
    """Gains [T], at most 1, for the sound `new` [C, T] within a mix [C, T] that keep it within PEAK_LIMIT.

    They fall around peaks alone, in DIP_SECONDS before and behind. Raises ValueError where that does not help.
    """
    if (loudest := audio.peak(mix)) <= audio.PEAK_LIMIT:
        return np.ones(mix.shape[1], np.float32)
    over = np.abs(mix) > audio.PEAK_LIMIT
    left = 0.9999 * audio.PEAK_LIMIT - np.sign(mix) * (mix - new)  # rounding shall not pass the limit
    room = np.divide(left, np.abs(new), out=np.ones_like(mix), where=over & (new != 0)).clip(0, 1).min(axis=0)
    room = smoothed(room, round(rate * DIP_SECONDS / STEPS))
    if audio.peak(mix - (1 - room) * new) > audio.PEAK_LIMIT:
        raise ValueError(
            f"with this take the mix would reach {audio.decibel(loudest):.1f} dBFS, and without its new sound, too; "
            "try another seed"
        )
    return room


def check_weights(model, song) -> None:
    """Raise ValueError, and name the hashes, where other weights made a song."""
    made, here = song.report["checkpoint"], model.about
    if made["sha256"] != here["sha256"]:
        names = {*made["sha256"], *here["sha256"]}
        other = sorted(name for name in names if made["sha256"].get(name) != here["sha256"].get(name))
        before, now = (str(about["sha256"].get(other[0]))[:12] for about in (made, here))
        raise ValueError(
            f"this song was made by other weights ({made['name']}): its {other[0]} has the sha256 {before}..., that of "
            f"{here['name']} {now}...; load the checkpoint that made it"
        )


def _gains_of(song):
    """By how much each of its tracks is louder than what the decoder gave, name -> factor."""
    levels = song.report["levels"]
    gain, faders = levels["accompaniment_gain_db"], faders_in(levels, song.tracks)
    return {name: song.encoding_gain * 10 ** ((db + gain) / 20) for name, db in faders.items()}


def _reach(system):
    """Blocks before a part that its windows hear: the longest window, and before it what was sung, whose beat goes on."""
    return blocks_of(EARLIER_SECONDS + max(stage.window_seconds for stage in system.stages.values()))


def _later(text, blocks):
    """What windows are asked for, as Part.text has it, called with blocks of an excerpt that begins so many blocks later."""
    return None if text is None else lambda start, stop: text(start + blocks, stop + blocks)


def _inside(rests, span, first):
    """Rests, as Part.rests has them, within a span, in blocks of an excerpt that begins with the block `first`."""
    cut = [(max(start, span[0]), min(stop, span[1])) for start, stop in rests]
    return tuple((start - first, stop - first) for start, stop in cut if start < stop)


def _tokens_with(tokens, made, excerpt, graph):
    """A stem's tokens of the whole song with those of an excerpt in them; None: not known."""
    if tokens is None:
        return None
    semantic, codes = tokens.semantic.clone(), tokens.codes.clone()
    semantic[:, excerpt.frames(graph.units.hz)] = made.semantic
    codes[:, excerpt.frames(graph.codes[0].hz)] = made.codes
    return Tokens(semantic, codes, made.seconds)


def _at_decoder(model, track, song):
    """A track [C, T] at the decoder's rate, as stems are when they are made."""
    return audio.resample(track, song.rate, model.decoder.sample_rate)


def _tokens_of(model, track, rate, blocks):
    """What stages give of a stem, of its sound [C, T] at `rate`: stream -> ids [1, Q, T] of so many blocks."""
    graph, mono, heard, kept = model.system.graph, audio.downmix(track), {}, {}
    for stream in (graph.units, *graph.codes):
        kind = stream.tokenizer
        if kind not in heard:  # all codes of a stem come from one hearing
            tokenizer = model.tokenizer_of(kind)
            wav = audio.fit(audio.resample(mono, rate, tokenizer.sample_rate), frames_of(blocks, tokenizer.sample_rate))
            ids = tokenizer.encode(torch.from_numpy(wav)[None].to(model.device)).cpu()
            heard[kind] = ids[:, None] if ids.ndim == 2 else ids
        kept[stream.name] = heard[kind][:, stream.first : stream.first + stream.codebooks, : frames_of(blocks, stream.hz)]
    return kept


def _decoded(model, stem, codes, span, seed, song, level):
    """The sound [C, T] of the blocks of a span at the song's rate, decoded with what surrounds them.

    `level` is that of the whole stem.
    """
    hz, rate = model.system.graph.codes[0].hz, model.decoder.sample_rate
    # so that the part is played as the song is: by what the decoder remembers of who plays
    remembered = blocks_covering(model.decoder.remembered, hz)
    first, last = max(0, span[0] - AROUND_BLOCKS - remembered), span[1] + AROUND_BLOCKS
    part = codes[:, frames_of(first, hz) : frames_of(last, hz)]
    sound, _ = model.sound_of(stem, part, seed, level)
    sound = audio.resample(sound, rate, song.rate)
    begin = round(seconds_of(span[0] - first) * song.rate)
    sound = sound[:, begin : begin + round(seconds_of(span[1] - span[0]) * song.rate)]
    return audio.spread(sound, len(song.accompaniment))


def _spliced(track, new, span, song, start, stop):
    """What stays of the track [C, T], and the new sound between start and stop, [C, T] too: faded over within these."""
    begin, end = round(start * song.rate), min(round(stop * song.rate), track.shape[1])
    offset = begin - round(seconds_of(span[0]) * song.rate)
    new = np.array(audio.fit(new[:, max(0, offset) :], end - begin))
    weight = np.ones(end - begin, np.float32)
    fade = min(round(CROSSFADE_SECONDS * song.rate), (end - begin) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    if begin > 0:
        weight[:fade] = ramp
    if end < track.shape[1]:
        weight[len(weight) - fade :] = ramp[::-1]
    else:
        fade_out(new, song.rate)
    stays, comes = track.copy(), np.zeros_like(track)
    stays[:, begin:end] *= 1 - weight
    comes[:, begin:end] = new * weight
    return stays, comes


def _counted(number, stems, call):
    return lambda stage, done, total: call(f"{stems[number]} {stage}", number * total + done, len(stems) * total)
