"""The job: N segments of synthetic songs, each a vocal and an accompaniment of the same length, into a folder.

OUT/songs/<id>.vocal.flac (48 kHz, mono), <id>.accompaniment.flac (48 kHz, stereo), <id>.json (what is known about the
music), and unless it is told not to, the stems <id>.drums.flac, .bass.flac, .harmony.flac (48 kHz, stereo), which add up to
the accompaniment to the bit; all of 16 bits. OUT/voices: the syllable banks; OUT/settings.json; OUT/manifest.jsonl at the
end, OUT/manifest.partial.jsonl on the way. Every song depends on (seed, split, index) alone.
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.data.executors import check_executor
from accompgen.data.songs import Song, write_manifest
from accompgen.data.synthetic import bank as banks
from accompgen.data.synthetic import voices as speakers
from accompgen.data.synthetic import world
from accompgen.data.synthetic.band import STEMS, arrange
from accompgen.data.synthetic.compose import compose
from accompgen.data.synthetic.corpora import open_corpus
from accompgen.data.synthetic.meta import describe
from accompgen.data.synthetic.mixing import draw_mix, mix_stems
from accompgen.data.synthetic.players import draw_player, draw_swing, play_along, swung
from accompgen.data.synthetic.render import find_soundfonts, font_licence, play, synthesizer
from accompgen.data.synthetic.score import ScoreError
from accompgen.data.synthetic.singer import choose
from accompgen.data.synthetic.singing import sing
from accompgen.data.tracks import Tracks
from accompgen.time import blocks_of

SAMPLE_RATE = 48_000
FULL_SCALE = 32_768  # of 16 bits, as audio.write scales floats
ORDER = ("validation", "test", "train")  # rendered in this order, so that a partial set can be used
PARTIAL_EVERY = 100
MOST_HELD_OUT = 60  # of each kind, where nobody says how many
MIN_SUNG_SHARE = 0.5
COMPOSED_LICENCE = "CC0-1.0 composition"


@dataclass(frozen=True)
class Job:
    """What all songs of a folder have in common."""

    seed: int
    seconds: float
    corpora: tuple[str, ...]  # folders, which take turns; none: songs composed by rule
    soundfonts: tuple[str, ...]  # each part draws one
    stems: bool
    voices: tuple[str, ...]


def make_songs(
    out, count, seed=0, *, corpora=(), soundfonts=(), workers=None, validation=None, test=None,
    seconds=30.0, stems=True, voices=None, hts_voices=None, remark=None, progress=None,
):  # fmt: skip
    """Render `count` training, `validation` and `test` segments into the folder `out`; finished ones are kept.

    Args:
        out: folder, made if missing. A folder begun with another seed, length or source is refused.
        count, validation, test: number of segments of each split; None: `held_out_with(count)` of them. Corpus songs are
            split by their number.
        seed: the same seed gives the same songs, whatever `workers` is.
        corpora: folders with songs (corpora.open_corpus), which take turns; none for songs composed by rule.
        soundfonts: .sf2 or .sf3 files that parts draw from; none: those of the system packages (render.FONTS).
        workers: processes; None: 2, 0: this process and no other.
        seconds: length of a segment, a multiple of 0.04.
        stems: write drums, bass and harmony too; they add up to the accompaniment to the bit.
        voices: names of the voices that sing, or None: those of the folder, for a new one all installed.
        hts_voices: folder with .htsvoice files.
        remark: called with one line for each voice that is left out and each piece that is passed over.
        progress: called as progress(done, total) after every song.
    Returns: path of the manifest.
    Raises: ValueError, ExecutorError (arguments), FileNotFoundError (voices, soundfont, corpus),
        FileExistsError (other settings).
    """
    held_out = {name: held_out_with(count) if n is None else n for name, n in (("validation", validation), ("test", test))}
    counts = {"train": count, **held_out}
    for name, number in {"count": count, **held_out}.items():
        if number < 0:
            raise ValueError(f"{name} is {number}; expected a number of songs, 0 or more")
    check_executor("local", workers)
    workers = 2 if workers is None else workers
    blocks_of(seconds)
    if seconds < 1:
        raise ValueError(f"segments of {seconds} s: expected at least 1 s")
    out = Path(out)
    voices, left_out = speakers.take_part(out, voices, hts_voices)
    for line in left_out if remark else ():
        remark(line)
    folders = tuple(str(Path(corpus).resolve()) for corpus in corpora)
    job = Job(seed, float(seconds), folders, find_soundfonts(soundfonts), stems, voices)
    for split in ORDER if folders else ():
        if counts[split] and not _pieces(folders, split, seed):
            raise ValueError(
                f"{counts[split]} {split} segments asked for, but {', '.join(folders)} has no song of that split; "
                f"ask for none of them (--{'count' if split == 'train' else split} 0), or add songs"
            )
    _claim_folder(out, job)
    tasks = [(split, index) for split in ORDER for index in range(counts[split])]
    _build_banks(out / "voices", voices if tasks else (), hts_voices, workers)
    songs = []
    for song in _rendered(out, job, tasks, workers):
        songs.append(song)
        for line in _passed_over(song) if remark and job.corpora else ():
            remark(line)
        if len(songs) % PARTIAL_EVERY == 0:
            write_manifest(out / "manifest.partial.jsonl", songs)
        if progress:
            progress(len(songs), len(tasks))
    write_manifest(out / "manifest.jsonl", songs)
    (out / "manifest.partial.jsonl").unlink(missing_ok=True)
    return out / "manifest.jsonl"


def held_out_with(count: int) -> int:
    """Segments to validate or to test with beside `count` to train on: a tenth, at least 1 and at most 60; 0 beside none."""
    return min(max(round(count / 10), 1), MOST_HELD_OUT) if count else 0


def _passed_over(song):
    """What a song's corpus had before it that could not be used, a line each."""
    return json.loads(song.meta.read_text(encoding="utf-8")).get("passed_over", [])


def _claim_folder(out, job):
    """Make the folder and write its settings, or compare them with those it was begun with."""
    (out / "songs").mkdir(parents=True, exist_ok=True)
    settings = {**asdict(job), "voices": list(job.voices)}
    # where a file lies does not change the songs
    settings["corpora"] = [Path(corpus).name for corpus in job.corpora]
    settings["soundfonts"] = [Path(font).name for font in job.soundfonts]
    path = out / "settings.json"
    if not path.exists():
        _write_json(path, settings)
    elif (begun := json.loads(path.read_text())) != settings:
        other = [f"{k} {begun.get(k)!r} (asked now: {v!r})" for k, v in settings.items() if begun.get(k) != v]
        raise FileExistsError(f"{out} was begun with {', '.join(other)}; choose another folder or the same settings")


def _build_banks(folder, voices, hts_voices, workers):
    """Make the syllable banks that are missing, 10 s of work each."""
    missing = [voice for voice in voices if not (folder / f"{voice}.npz").exists()]
    if workers < 2 or len(missing) < 2:
        for voice in missing:
            banks.open_bank(voice, folder, hts_voices)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(banks.open_bank, voice, folder, hts_voices) for voice in missing]:
            future.result()


def _rendered(out, job, tasks, workers):
    """Songs in the order of `tasks`, made by as many processes."""
    if workers < 2:
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
    sources = [_corpus(corpus).licence for corpus in job.corpora] or [COMPOSED_LICENCE]
    licence = "; ".join([*sources, *map(font_licence, job.soundfonts), speakers.licences(job.voices)])
    song = Song(name, split, licence, job.seconds, Tracks(files), meta_path)
    if meta_path.exists() and all(path.exists() for path in files.values()):
        return song
    waves, meta = perform(job, split, index, _bank_opener(str(Path(out) / "voices")), str(Path(out) / "scores"))
    for part, path in files.items():
        audio.write(path, waves[part], SAMPLE_RATE, subtype="PCM_16")
    _write_json(meta_path, {"id": name, "split": split, "licence": licence, **meta})
    return song


@lru_cache(maxsize=1)
def _bank_opener(folder):
    return lru_cache(maxsize=None)(lambda voice: banks.open_bank(voice, folder))


def perform(job, split, index, open_bank, cache=None):
    """Score, singer and band of one segment -> ({vocal, accompaniment, drums, bass, harmony: wave [T]}, meta dict).

    `cache` is a folder for scores that take long to read.
    """
    root = np.random.SeedSequence([job.seed, ORDER.index(split), index])
    score_rng, band_rng, mixer_rng, singer_rng = (np.random.default_rng(s) for s in root.spawn(4))
    score, origin = _choose_score(job, split, index, score_rng, cache)
    singer = choose(split, job.voices, singer_rng)
    key_shift = int(score_rng.integers(-5, 7))
    octaves = _octaves_for(singer, [n.pitch + key_shift for n in score.melody])
    score = score.transposed(key_shift, octaves)
    swing = draw_swing(score, band_rng)
    arrangement = arrange(score, band_rng)
    players = {part: draw_player(part, arrangement.programs[part], swing, band_rng) for part in arrangement.events}
    arrangement = play_along(arrangement, score, players, band_rng)
    score = replace(score, melody=swung(score, score.melody, swing))
    vocal = audio.resample(
        sing(score.melody, singer, open_bank(singer.voice), singer_rng, job.seconds)[None], world.SAMPLE_RATE, SAMPLE_RATE
    )[0]
    fonts = {part: str(mixer_rng.choice(job.soundfonts)) for part in arrangement.events}
    mix = draw_mix(arrangement.events, mixer_rng)
    parts = {
        part: play(part, notes, arrangement.programs[part], job.seconds, SAMPLE_RATE, fonts[part])
        for part, notes in arrangement.events.items()
    }
    waves, levels = _levelled(vocal, mix_stems(parts, mix, SAMPLE_RATE), job.seconds, mixer_rng)
    meta = {
        **origin, "seed": job.seed, "index": index, "transposed": key_shift, "octaves": octaves,
        "singer": asdict(singer), "loudness": levels,
        "synthesizer": synthesizer(), "fonts": {part: Path(font).name for part, font in fonts.items()},
        **describe(score, arrangement, waves, SAMPLE_RATE),
        "swing": swing, "players": {part: asdict(player) for part, player in players.items()}, "mix": mix.as_dict(),
    }  # fmt: skip
    return waves, meta


def _levelled(vocal, stems, seconds, rng):
    """Vocal and band each at a loudness of -24 to -18 LUFS -> ({part: wave}, {vocal, accompaniment: LUFS}).

    Samples are whole steps of 16 bits, so that the stems add up to the accompaniment to the bit.
    """
    samples = round(seconds * SAMPLE_RATE)
    whole, levels = {}, {}
    for name, parts in (("vocal", {"vocal": vocal}), ("accompaniment", stems)):
        gain, levels[name] = _gain(list(parts.values()), -21 + 3 * float(rng.uniform(-1, 1)))
        whole |= {part: np.rint(FULL_SCALE * gain * audio.fit(wave, samples)) for part, wave in parts.items()}
    whole["accompaniment"] = sum(whole[stem] for stem in stems)
    return {part: wave / np.float32(FULL_SCALE) for part, wave in whole.items()}, levels


def _choose_score(job, split, index, rng, cache):
    """The excerpt to perform and where it comes from.

    The pieces of a corpus take turns in an order drawn once per seed. One that cannot be used is passed over for the next.
    """
    if not job.corpora:
        return compose(rng, job.seconds, f"composed {job.seed} {split} {index}"), {"source": "composed", "start": 0.0}
    pieces, passed_over = _pieces(job.corpora, split, job.seed), []
    for turn in range(len(pieces)):
        corpus, name = pieces[(index + turn) % len(pieces)]
        try:
            score = _corpus(corpus, cache).read(name, rng)
        except ScoreError as error:
            passed_over.append(str(error))
            continue
        start = _choose_start(score, job.seconds, rng)
        origin = {"source": score.title, "start": start} | ({"passed_over": passed_over} if passed_over else {})
        return score.clipped(start, start + job.seconds), origin
    raise ScoreError(f"no {split} piece of {', '.join(job.corpora)} can be used; the last one: {passed_over[-1]}")


_corpus = lru_cache(maxsize=16)(open_corpus)


@lru_cache(maxsize=len(ORDER))
def _pieces(folders, split, seed):
    """(folder, piece) of a split; corpora take turns, however many pieces each has, and the longest is gone through once."""
    orders = []
    for folder in folders:
        names = _corpus(folder).pieces(split)
        orders.append([names[place] for place in np.random.default_rng([seed, ORDER.index(split)]).permutation(len(names))])
    longest = max(map(len, orders))
    turns = [(folder, order[turn % len(order)]) for turn in range(longest) for folder, order in zip(folders, orders) if order]
    return turns


def _choose_start(score, seconds, rng):
    """A random start (on a grid of 0.5 s) of a segment sung for at least half of its time; the most sung one if none is."""
    starts = np.arange(0, max(score.seconds - seconds, 0) + 0.25, 0.5)
    shares = score.sung_share(starts, starts + seconds)
    sung = starts[shares >= MIN_SUNG_SHARE]
    return float(rng.choice(sung)) if len(sung) else float(starts[shares.argmax()])


def _octaves_for(singer, pitches):
    """Octaves to move the melody so that its median lies nearest to the singer's centre."""
    return int(np.round((singer.centre - np.median(pitches)) / 12))


def _gain(waves, target_lufs):
    """Factor that brings the sum of waves to a loudness, less where a peak of it or of one of them would pass -1 dBFS, and
    the loudness it then has."""
    whole = sum(waves)
    loudness = audio.loudness(whole, SAMPLE_RATE)
    if not np.isfinite(loudness):
        raise ValueError("an excerpt came out silent: choose longer segments, or report seed and index")
    gain = min(10 ** ((target_lufs - loudness) / 20), audio.PEAK_LIMIT / max(map(audio.peak, [whole, *waves])))
    return gain, round(loudness + audio.decibel(gain), 2)


def _write_json(path, values):
    audio.write_bytes(path, (json.dumps(values) + "\n").encode())
