"""The job: N segments of synthetic songs, each a vocal and an accompaniment of the same length, into a folder.

OUT/songs/<id>.vocal.flac, <id>.accompaniment.flac (24 kHz mono, 16 bit), <id>.json (what is known about the music), with
`stems` also <id>.drums.flac, .bass.flac, .harmony.flac; OUT/voices: the syllable banks; OUT/settings.json;
OUT/manifest.jsonl at the end, OUT/manifest.partial.jsonl on the way. Every song depends on (seed, split, index) alone.
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.data.songs import Song, write_manifest
from accompgen.data.synthetic import bank as banks
from accompgen.data.synthetic import voices as speakers
from accompgen.data.synthetic import world
from accompgen.data.synthetic.band import STEMS, arrange
from accompgen.data.synthetic.compose import compose
from accompgen.data.synthetic.corpus import read_song, song_numbers
from accompgen.data.synthetic.render import find_soundfont, render
from accompgen.data.synthetic.singer import choose
from accompgen.data.synthetic.singing import sing

SAMPLE_RATE = 24000
WINDOW_MS = 40  # every length is a multiple of it: 2 semantic = 3 acoustic frames
ORDER = ("validation", "test", "train")  # rendered in this order, so that a partial set can be used
PARTIAL_EVERY = 100
MIN_SUNG_SHARE = 0.5
STEM_LUFS = {"harmony": -23.0, "bass": -26.0, "drums": -27.0}
_LICENCES = {
    "corpus": "POP909: MIT for the transcriptions, the compositions are their owners'; FluidR3 MIT",
    "composed": "CC0-1.0 composition; FluidR3 MIT",
}


@dataclass(frozen=True)
class Job:
    """What all songs of a folder have in common."""

    seed: int
    seconds: float
    corpus: str | None  # a POP909 folder; None: songs composed by rule
    soundfont: str
    stems: bool
    voices: tuple[str, ...]


def make_songs(
    out, count, seed=0, *, corpus=None, soundfont=None, workers=2, validation=60, test=60, seconds=30.0, stems=False,
    voices=None, hts_voices=None, remark=None, progress=None,
):  # fmt: skip
    """Render `count` training, `validation` and `test` segments into the folder `out`; finished ones are kept.

    Args:
        out: folder, made if missing. A folder begun with another seed, length or source is refused.
        count, validation, test: number of segments of each split; corpus songs are split by their number.
        seed: the same seed gives the same songs, whatever `workers` is.
        corpus: a POP909 folder, or None for songs composed by rule.
        soundfont: .sf2 or .sf3 file, or None for FluidR3Mono where the system package puts it.
        workers: processes.
        seconds: length of a segment, a multiple of 0.04.
        stems: also write drums, bass and harmony; they add up to the accompaniment.
        voices: names of the voices that sing, or None: those of the folder, for a new one all installed.
        hts_voices: folder with .htsvoice files.
        remark: called with one line for each voice that is left out.
        progress: called as progress(done, total) after every song.
    Returns: path of the manifest.
    Raises: ValueError (arguments), FileNotFoundError (voices, soundfont, corpus), FileExistsError (other settings).
    """
    counts = {"train": count, "validation": validation, "test": test}
    if min(counts.values()) < 0 or workers < 1:
        raise ValueError(f"counts {counts} must be at least 0 and workers ({workers}) at least 1")
    if seconds < 1 or abs(seconds * 1000 / WINDOW_MS - round(seconds * 1000 / WINDOW_MS)) > 1e-6:
        raise ValueError(f"segments of {seconds} s: expected at least 1 s and a multiple of {WINDOW_MS / 1000} s")
    out = Path(out)
    voices, left_out = speakers.take_part(out, voices, hts_voices)
    for line in left_out if remark else ():
        remark(line)
    corpus_path = str(Path(corpus).resolve()) if corpus else None
    job = Job(seed, float(seconds), corpus_path, find_soundfont(soundfont), stems, voices)
    for split in ORDER if corpus else ():
        if counts[split] and not song_numbers(corpus, split):
            raise ValueError(f"{counts[split]} {split} segments asked for, but {corpus} has no song of that split")
    _settle(out, job)
    tasks = [(split, index) for split in ORDER for index in range(counts[split])]
    _build_banks(out / "voices", voices if tasks else (), hts_voices, workers)
    songs = []
    for song in _rendered(out, job, tasks, workers):
        songs.append(song)
        if len(songs) % PARTIAL_EVERY == 0:
            write_manifest(out / "manifest.partial.jsonl", songs)
        if progress:
            progress(len(songs), len(tasks))
    write_manifest(out / "manifest.jsonl", songs)
    (out / "manifest.partial.jsonl").unlink(missing_ok=True)
    return out / "manifest.jsonl"


def _settle(out, job):
    """Make the folder and write its settings, or compare them with those it was begun with."""
    (out / "songs").mkdir(parents=True, exist_ok=True)
    settings = {**asdict(job), "voices": list(job.voices)}
    for name in ("corpus", "soundfont"):  # where a file lies does not change the songs
        settings[name] = settings[name] and Path(settings[name]).name
    path = out / "settings.json"
    if not path.exists():
        _write_json(path, settings)
    elif (begun := json.loads(path.read_text())) != settings:
        other = [f"{k} {begun.get(k)!r} (asked now: {v!r})" for k, v in settings.items() if begun.get(k) != v]
        raise FileExistsError(f"{out} was begun with {', '.join(other)}; choose another folder or the same settings")


def _build_banks(folder, voices, hts_voices, workers):
    """Make the syllable banks that are missing, 10 s of work each."""
    missing = [voice for voice in voices if not (folder / f"{voice}.npz").exists()]
    if workers == 1 or len(missing) < 2:
        for voice in missing:
            banks.open_bank(voice, folder, hts_voices)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(banks.open_bank, voice, folder, hts_voices) for voice in missing]:
            future.result()


def _rendered(out, job, tasks, workers):
    """Songs in the order of `tasks`, made by as many processes."""
    if workers == 1:
        yield from (make_song(out, job, *task) for task in tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(make_song, out, job, *task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def make_song(out, job, split, index):
    """Render one segment, unless its JSON, which is written last, is there already -> Song."""
    name = f"{split}-{index:05d}"
    folder = Path(out) / "songs"
    meta_path = folder / f"{name}.json"
    files = {part: folder / f"{name}.{part}.flac" for part in ("vocal", "accompaniment", *(STEMS if job.stems else ()))}
    licence = f"{_LICENCES['corpus' if job.corpus else 'composed']}; {speakers.licences(job.voices)}"
    song = Song(name, split, licence, job.seconds, files["vocal"], files["accompaniment"], meta=meta_path)
    if meta_path.exists() and all(path.exists() for path in files.values()):
        return song
    waves, meta = perform(job, split, index, _bank_opener(str(Path(out) / "voices")))
    for part, path in files.items():
        audio.write(path, waves[part], SAMPLE_RATE, subtype="PCM_16")
    _write_json(meta_path, {"id": name, "split": split, "licence": licence, **meta})
    return song


@lru_cache(maxsize=1)
def _bank_opener(folder):
    return lru_cache(maxsize=None)(lambda voice: banks.open_bank(voice, folder))


def perform(job, split, index, open_bank):
    """Score, singer and band of one segment -> ({vocal, accompaniment, drums, bass, harmony: wave [T]}, meta dict)."""
    root = np.random.SeedSequence([job.seed, ORDER.index(split), index])
    score_rng, band_rng, mixer_rng, singer_rng = (np.random.default_rng(s) for s in root.spawn(4))
    score, origin = _choose_score(job, split, index, score_rng)
    singer = choose(split, job.voices, singer_rng)
    key_shift = int(score_rng.integers(-5, 7))
    octaves = _octaves_for(singer, [n.pitch + key_shift for n in score.melody])
    score = score.transposed(key_shift, octaves)
    vocal = audio.resample(
        sing(score.melody, singer, open_bank(singer.voice), singer_rng, job.seconds)[None], world.SAMPLE_RATE, SAMPLE_RATE
    )[0]
    arrangement = arrange(score, band_rng)
    stems = _balanced(render(arrangement, job.seconds, SAMPLE_RATE, job.soundfont, mixer_rng), mixer_rng)
    band = sum(stems.values())
    gains, levels = {}, {}
    for part, wave in (("vocal", vocal), ("accompaniment", band)):
        gains[part], levels[part] = _gain(wave, -21 + 3 * float(mixer_rng.uniform(-1, 1)))
    waves = {"vocal": vocal * gains["vocal"], "accompaniment": band * gains["accompaniment"]}
    waves |= {stem: wave * gains["accompaniment"] for stem, wave in stems.items()}
    waves = {part: audio.fit(wave, round(job.seconds * SAMPLE_RATE)) for part, wave in waves.items()}
    meta = {
        **origin, "seed": job.seed, "index": index, "transposed": key_shift, "octaves": octaves,
        "key": score.key, "bpm": round(score.bpm, 3), "metre": score.metre,
        "singer": asdict(singer), "style": arrangement.style, "bass_line": arrangement.bass_line,
        "comping": arrangement.comping, "programs": arrangement.programs,
        "loudness": levels,
        "beats": [[round(b.time, 4), b.position] for b in score.beats],
        "chords": [[round(c.start, 4), round(c.end, 4), c.label] for c in score.chords],
        "notes": [[round(n.start, 4), round(n.end, 4), n.pitch, n.velocity] for n in score.melody],
    }  # fmt: skip
    return waves, meta


def _choose_score(job, split, index, rng):
    """The excerpt to perform and where it comes from. Corpus songs take turns in an order drawn once per seed."""
    if job.corpus is None:
        return compose(rng, job.seconds, f"composed {job.seed} {split} {index}"), {"source": "composed", "start": 0.0}
    order = _song_order(job.corpus, split, job.seed)
    score = _song(job.corpus, int(order[index % len(order)]))
    start = _choose_start(score, job.seconds, rng)
    return score.clipped(start, start + job.seconds), {"source": score.title, "start": start}


@lru_cache(maxsize=len(ORDER))
def _song_order(corpus, split, seed):
    return np.random.default_rng([seed, ORDER.index(split)]).permutation(song_numbers(corpus, split))


@lru_cache(maxsize=8)
def _song(corpus, number):
    return read_song(corpus, number)


def _choose_start(score, seconds, rng):
    """A random start (on a grid of 0.5 s) of a segment sung for at least half of its time; the most sung one if none is."""
    starts = np.arange(0, max(score.seconds - seconds, 0) + 0.25, 0.5)
    shares = score.sung_share(starts, starts + seconds)
    sung = starts[shares >= MIN_SUNG_SHARE]
    return float(rng.choice(sung)) if len(sung) else float(starts[shares.argmax()])


def _octaves_for(singer, pitches):
    """Octaves to move the melody so that its median lies nearest to the singer's centre."""
    return int(np.round((singer.centre - np.median(pitches)) / 12))


def _balanced(stems, rng):
    """Each stem that sounds brought to its loudness in the mix, give or take 2 LU, so that the chords stay audible."""
    balanced = {}
    for stem, wave in stems.items():
        wish = STEM_LUFS[stem] + 2 * float(rng.uniform(-1, 1))
        loudness = audio.loudness(wave, SAMPLE_RATE)
        balanced[stem] = wave * 10 ** ((wish - loudness) / 20) if np.isfinite(loudness) else wave
    return balanced


def _gain(wave, target_lufs):
    """Factor that brings a wave to a loudness, less where its peak would pass -1 dBFS, and the loudness it then has."""
    loudness = audio.loudness(wave, SAMPLE_RATE)
    if not np.isfinite(loudness):
        raise ValueError("an excerpt came out silent: choose longer segments, or report seed and index")
    gain = min(10 ** ((target_lufs - loudness) / 20), audio.PEAK_LIMIT / audio.peak(wave))
    return gain, round(loudness + audio.decibel(gain), 2)


def _write_json(path, values):
    audio.write_bytes(path, (json.dumps(values) + "\n").encode())
