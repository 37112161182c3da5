"""A file of a song, and what is worked out of it once: length, analysis, faults, embeddings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.analysis import artefacts, beats, chords
from accompgen.analysis.clicks import border_times, seams
from accompgen.component import file_hash
from accompgen.evaluation import band, coherence, folders, listen, measures, mels, minutes, sanity, visqol
from accompgen.evaluation import cache as caches

MIX_LUFS = -23.0  # vocal and accompaniment are brought to this before they are mixed


@dataclass(frozen=True)
class Track:
    """A readable sound file: its content's sha256, length, rate, channels and peak."""

    path: Path
    digest: str
    seconds: float
    rate: int
    channels: int
    peak: float

    @property
    def silent(self) -> bool:
        """Whether its peak lies below -60 dBFS."""
        return self.peak < audio.SILENCE

    def mono(self, rate: int) -> np.ndarray:
        """Its sound [T] at `rate`; the file is read again each time, so that nothing piles up in memory."""
        wav, own_rate = audio.read(self.path)
        return audio.resample(audio.to_mono(wav), own_rate, rate)


def open_track(path, cache: caches.Cache, report: folders.Report) -> Track | None:
    """The track of a file; None where it cannot be read, which becomes a problem of the report."""
    try:
        digest = file_hash(path)
    except OSError as error:
        report.problem(f"{path}: cannot be read: {error.strerror}; check its permissions and its disk")
        return None

    def look():
        sound = folders.read(path, report)
        if sound is None:
            return None
        wav, rate = sound
        return {"seconds": wav.shape[1] / rate, "rate": rate, "channels": wav.shape[0], "peak": audio.peak(wav)}

    known = cache.peek(caches.key("track", digest)) or look()
    if known is None:
        return None
    cache.values(caches.key("track", digest), lambda: known)
    return Track(Path(path), digest, **known)


def analysis(track, plan, tracker, tracker_identity, cache) -> dict[str, np.ndarray]:
    """`measures.analyse` of a track."""
    name = caches.key("analysis", track.digest, [plan.seconds, plan.count], tracker_identity)
    return caches.read(cache.arrays(name, lambda: measures.analyse(track.mono(listen.RATE), plan, tracker)))


def chord_shares(track, plan, annotation, cache) -> list[float | None]:
    """`measures.chord_shares` of a track."""
    name = caches.key("chords", track.digest, [plan.seconds, plan.count], annotation["chords"])
    return cache.values(name, lambda: measures.chord_shares(track.mono(listen.RATE), plan, annotation))


def recognised_chords(track, cache) -> list:
    """`chords.recognise` of the whole file: [start, end, label], ..."""
    return cache.values(caches.key("recognised", track.digest), lambda: chords.recognise(*audio.read(track.path)))


def band_of(track, cache) -> dict[str, float]:
    """`band.presence` of the whole file."""
    return cache.values(caches.key("band", track.digest, band.LIMITS), lambda: band.presence(track.mono(listen.RATE)))


def tone_changes_of(track, cache) -> float | None:
    """`band.tone_changes` of a track."""
    name = caches.key("tone changes", track.digest, band.TONE_HZ, band.TONE_CHANGE)
    return cache.values(name, lambda: band.tone_changes(track.mono(listen.RATE)))


def stroke_level_of(track, cache) -> float | None:
    """`band.stroke_level` of a track."""
    name = caches.key("stroke level", track.digest, band.STROKE_HZ)
    return cache.values(name, lambda: band.stroke_level(track.mono(listen.RATE)))


def mels_of(track, cache) -> np.ndarray:
    """`mels.mel_decibel` of the whole file, to a sixteenth of a decibel."""
    name = caches.key("mels", track.digest)
    return caches.read(
        cache.arrays(name, lambda: {"decibel": mels.mel_decibel(track.mono(listen.RATE)).astype(np.float16)})
    )["decibel"].astype(np.float32)


def steady_tempo_of(track, cache, near_bpm: float = listen.USUAL_BPM) -> float | None:
    """`beats.steady_tempo` of what librosa hears in the whole file."""
    name = caches.key("steady tempo", track.digest, near_bpm)
    return cache.values(name, lambda: beats.steady_tempo(listen.beats(track.mono(listen.RATE), near_bpm)))


def minutes_of(track, seconds, cache) -> list[dict]:
    """`minutes.of_sound` of a track."""
    name = caches.key("minutes", track.digest, seconds, band.LIMITS)
    return cache.values(name, lambda: minutes.of_sound(track.mono(listen.RATE), seconds))


def sanity_of(track, expected_seconds, cache) -> dict:
    """`sanity.check` of the whole file."""
    name = caches.key("sanity", track.digest, expected_seconds)
    return cache.values(name, lambda: sanity.check(*audio.read(track.path), expected_seconds))


def artefacts_of(track, cache) -> dict:
    """`artefacts.measure` of the whole file."""
    return cache.values(
        caches.key("artefacts", track.digest), lambda: artefacts.measure(*audio.read(track.path))
    )


def seams_of(track, windows, cache) -> dict:
    """`clicks.seams` of the whole file where `windows` meet: (first border, step) in seconds."""

    def listen_at_borders():
        wav, rate = audio.read(track.path)
        times = [border_times(track.seconds, first, step) for first, step in windows]
        return seams(audio.to_mono(wav), rate, np.concatenate(times))

    return cache.values(caches.key("seams", track.digest, windows), listen_at_borders)


def visqol_of(track, reference, plan, cache) -> float | None:
    """Mean `visqol.score` of a track's windows against those of the reference."""

    def scores():
        windows = [plan.cut(part.mono(visqol.RATE), visqol.RATE) for part in (reference, track)]
        return measures.mean([visqol.score(*pair, visqol.RATE) for pair in zip(*windows)])

    digests = [track.digest, reference.digest]
    return cache.values(caches.key("visqol", digests, [plan.seconds, plan.count]), scores)


def embedded(track, plan, embedding, cache) -> Path:
    """The cache entry with the embeddings [n, D] of a track's windows."""

    def rows():
        windows = plan.cut(track.mono(embedding.rate), embedding.rate)
        return {"rows": np.concatenate([embedding.embed(window) for window in windows])}

    return cache.arrays(caches.key("embedding", embedding.identity, track.digest, [plan.seconds, plan.count]), rows)


def embedded_mix(vocal, accompaniment, plan, embedding, cache, again: bool = False) -> Path:
    """The same for a mix of vocal and accompaniment, window by window at equal loudness.

    What an accompaniment lacks at its end is silence; with `again`, as for another song's, its whole windows begin again.
    A silent side stays silent.
    """
    whole = min(plan.count, folders.plan_windows(accompaniment.seconds, plan.seconds).count) if again else plan.count

    def rows():
        rate = embedding.rate
        sung = plan.cut(vocal.mono(rate), rate)
        played = folders.Plan(plan.seconds, whole).cut(accompaniment.mono(rate), rate)
        mixes = [levelled(a, rate) + levelled(played[i % whole], rate) for i, a in enumerate(sung)]
        return {"rows": np.concatenate([embedding.embed(mix) for mix in mixes])}

    name = caches.key("mix", embedding.identity, vocal.digest, accompaniment.digest, [plan.seconds, plan.count, whole])
    return cache.arrays(name, rows)


def cocola_score(track, vocal, plan, model, identity, cache) -> float:
    """Mean COCOLA score of accompaniment and vocal over pieces of five seconds of the scored time."""
    pieces = folders.plan_windows(plan.seconds * plan.count, coherence.WINDOW_SECONDS)
    sides = []
    for part in (vocal, track):
        name = caches.key("cocola", identity, part.digest, [pieces.seconds, pieces.count])
        sides.append(caches.read(cache.arrays(name, lambda part=part: _cocola_rows(part, pieces, model)))["rows"])
    weight = model.weight.detach().cpu().numpy()
    return float(np.einsum("nd,de,ne->n", sides[0], weight, sides[1]).mean())


def _cocola_rows(track, pieces, model):
    windows = pieces.cut(track.mono(coherence.RATE), coherence.RATE)
    return {"rows": np.stack([model.embed(window).cpu().numpy() for window in windows])}


def levelled(mono: np.ndarray, rate: int) -> np.ndarray:
    """Sound [T] at -23 LUFS; what is too quiet to be measured is returned as it is."""
    loudness = audio.loudness(mono, rate)
    return mono * np.float32(10 ** ((MIX_LUFS - loudness) / 20)) if np.isfinite(loudness) else mono
