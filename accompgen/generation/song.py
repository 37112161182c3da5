"""A finished song and its files: the accompaniment, its stems, the mix, and a JSON that says how they came about."""

import base64
import html
import io
import json
import wave
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from accompgen import audio
from accompgen.chart import Chart
from accompgen.export.chart_files import SCORE_ENDINGS, score_files
from accompgen.export.grid import grid_of
from accompgen.export.project import voice_of
from accompgen.files import short_name
from accompgen.generation.cascade import Tokens
from accompgen.generation.vocal import Vocal, read_vocal
from accompgen.stages import ALL

SUBTYPES = {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}
EXACT = (".wav", ".flac")  # whose stems sum to the accompaniment to the last bit
LEAST_CHANGE = 1e-6  # of a sample; less is rounding
# How far the voice in the mix may lie from a recording of it, as a factor: formats that lose
# something, and what else is played, change it by a few hundredths. Of another voice it is near 0
VOICE_TOLERANCE = 0.2


@dataclass(frozen=True, repr=False)
class Song:
    """An accompaniment and its mix with the vocal, at the vocal's rate and of its length."""

    name: str
    rate: int
    tracks: dict[str, np.ndarray]  # stem -> [C, T] as the decoder has channels, as loud as it is in the mix
    mix: np.ndarray  # [C, T] = vocal * gain + accompaniment
    tokens: dict[str, Tokens]  # stem -> its units [1, S] at 50 Hz and its codes [Q, F] at 75 Hz
    report: dict  # seed, settings, versions, hashes, timings in seconds, levels
    chart: Chart | None = None  # what it was played by, where the checkpoint has one

    @cached_property
    def accompaniment(self) -> np.ndarray:
        """All tracks together [C, T]."""
        tracks = list(self.tracks.values())
        return tracks[0] if len(tracks) == 1 else sum(tracks)

    @property
    def semantic(self) -> torch.Tensor:
        """Units [1, S] of a song of one track.

        Raises ValueError for one of several, whose `tokens` has them by name, or where they are not known.
        """
        return self._one().semantic

    @property
    def codes(self) -> torch.Tensor:
        """Codes [Q, F] of a song of one track; as `semantic`."""
        return self._one().codes

    def _one(self):
        if len(self.tokens) > 1:
            raise ValueError(f"this song has several tracks ({', '.join(self.tokens)}); ask for song.tokens[NAME]")
        if not self.tokens:
            raise ValueError("the tokens of this song are not known: it was read from files, which have none")
        return next(iter(self.tokens.values()))

    @property
    def seconds(self) -> float:
        """How long the song lasts."""
        return self.mix.shape[1] / self.rate

    @property
    def encoding_gain(self) -> float:
        """Of a song that was read from files: theirs, beside the levels of its report. 1 but for mp3 with high peaks."""
        return self.report.get("files", {}).get("encoding_gain", 1.0)

    @property
    def stamp(self) -> int | None:
        """The time stamp of its wav files, by which a DAW places them: samples since midnight at the song's rate.

        It is the vocal's. Where that has none, it is where the vocal begins beside a MIDI file with a count-in; None without.
        """
        found, count_in = self.report.get("vocal", {}), self.report.get("settings", {}).get("count_in", 0)
        if "time_reference" in found:
            return round(found["time_reference"] * self.rate / found["rate"])
        return round(grid_of(self.chart, count_in).offset * self.rate) if count_in and self.chart else None

    def __repr__(self):
        channels = {1: "mono", 2: "stereo"}.get(len(self.mix), f"{len(self.mix)} channels")
        return f"Song({self.name!r}, {self.seconds:.1f} s, {channels}, {self.rate} Hz, seed {self.report.get('seed')})"

    def _repr_html_(self):
        """Players of the mix and of the accompaniment, for a notebook; the sound is part of the page."""
        rows = []
        parts = self.tracks if len(self.tracks) > 1 else {"accompaniment": self.accompaniment}
        for key, wav in {"mix": self.mix, **parts}.items():
            if len(wav) > 2:  # browsers disagree on the order of more
                wav = audio.to_mono(wav)[None]
            data = base64.b64encode(audio.encode(wav, self.rate, ".wav", "PCM_16")).decode()
            rows.append(f'{key}<br><audio controls preload="metadata" src="data:audio/wav;base64,{data}"></audio>')
        return f"<p>{html.escape(repr(self))}</p><p>{'</p><p>'.join(rows)}</p>"

    @property
    def timings(self) -> dict[str, float]:
        """Seconds that each step took, and in all."""
        return self.report["seconds"]

    def save(self, directory, format: str = "wav", bit_depth: str | int = "24", force: bool = False) -> dict[str, Path]:
        """Write <name>.accompaniment, <name>.mix (wav, flac or mp3) and <name>.json; all files or none.

        With a `stamp` wav files are broadcast waves.

        Of a song of several stems each has a file <name>.<stem>, too; in wav and flac they sum to the accompaniment exactly.
        Of one with a chart come the files of export/chart_files.py.

        Args:
            directory: made if missing.
            bit_depth: 16, 24 or, for wav alone, 32f; mp3 has none.
            force: replace files that exist.

        Returns:
            paths by "accompaniment", "mix", stem, and "report".

        Raises:
            audio.AudioError: a file exists, the format cannot hold the sound, or the place cannot be written.
        """
        stems, score = self._stems(), self._score_files()
        paths = output_paths(directory, self.name, format, force, *self.parts)
        suffix, subtype = format_of(self.rate, len(self.mix), format, bit_depth)
        whole = _on_grid(stems, bit_depth) if stems else {"accompaniment": self.accompaniment}
        wavs = {paths[key]: wav for key, wav in {"accompaniment": None, "mix": self.mix, **stems, **whole}.items()}
        sounds, gain = self._sounds(wavs, suffix, subtype)
        files = {key: path.name for key, path in paths.items() if key != "report"}
        about = {"bit_depth": str(bit_depth) if subtype else None, "encoding_gain": gain * self.encoding_gain}
        report = {**self.report, "files": {**files, **about}}
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        audio.make_folder(directory)
        written = sounds | {paths[ending]: data for ending, data in score.items()}
        audio.write_files({**written, paths["report"]: text.encode()})
        return paths

    def encode(self, track: str = "mix", format: str = "wav", bit_depth: str | int = "24") -> bytes:
        """One sound as the bytes of a file.

        Args:
            track: "mix", "accompaniment", or the name of a stem.
            format, bit_depth: as in `save`.

        Raises:
            ValueError: no such track. audio.AudioError: the format cannot hold the sound.
        """
        known = {"mix": self.mix, "accompaniment": self.accompaniment, **self.tracks}
        if track not in known:
            raise ValueError(f"no track {track!r}; this song has {', '.join(known)}")
        suffix, subtype = format_of(self.rate, len(known[track]), format, bit_depth)
        sounds, _ = self._sounds({Path(f"{self.name}.{track}{suffix}"): known[track]}, suffix, subtype)
        return _bytes_of(next(iter(sounds.values())))

    def save_mix(self, path, bit_depth: str | int = "24", force: bool = False) -> Path:
        """Write the mix alone, as the file `path` ending in .wav, .flac or .mp3. Arguments and errors as `save`."""
        path = Path(path)
        check_file(path, force)
        data = self.encode("mix", path.suffix.lower()[1:], bit_depth)
        audio.make_folder(path.parent)
        audio.write_bytes(path, data)
        return path

    @property
    def parts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """See `parts_of`."""
        return parts_of(tuple(self.tracks), self.chart is not None)

    def _stems(self):
        return {stem: self.tracks[stem] for stem in self.parts[0]}

    def _score_files(self):
        """The files of the chart: ending -> bytes."""
        if self.chart is None:
            return {}
        return score_files(self.chart, self.name, self.report["settings"].get("count_in", 0))

    def _sounds(self, wavs: dict, suffix, subtype):
        """Sound by path -> functions by path that write each into an open file, and the gain that they share."""

        def write(path, gain, file):
            wav = wavs[path] if gain == 1 else audio.scaled(wavs[path], gain)
            audio.write_sound(file, wav, self.rate, suffix, subtype, path, self.stamp)

        gain = 1.0
        # a lossy format does not keep peaks exactly: measure what a player will decode
        for _ in range(3 if suffix == ".mp3" else 0):
            loudest = max(audio.peak(audio.decode(_bytes_of(partial(write, path, gain)))) for path in wavs)
            if loudest <= audio.PEAK_LIMIT:
                break
            gain *= 0.999 * audio.PEAK_LIMIT / loudest
        return {path: partial(write, path, gain) for path in wavs}, gain


class GrowingWav:
    """A wav file of 16 or 24 bits that is whole after every piece, so that it can be played until it is removed."""

    def __init__(self, path, rate: int, channels: int = 1, bit_depth: str = "24", force: bool = False):
        self.path, self.width = Path(path), int(bit_depth) // 8
        audio.make_folder(self.path.parent)
        try:
            self.file = open(self.path, "wb" if force else "xb")  # noqa: SIM115, closed by `remove`
        except FileExistsError as error:
            raise audio.AudioError(f"{path} exists; choose another folder, or --force (force=True) to replace it") from error
        except OSError as error:
            raise audio.AudioError(f"cannot write {path}: {error.strerror}; make room or choose another folder") from error
        self.wave = wave.open(self.file, "wb")
        self.wave.setparams((channels, self.width, rate, 0, "NONE", ""))

    def add(self, piece: np.ndarray) -> None:
        """Write sound [C, T] behind the rest; it must lie within full scale. Raises audio.AudioError on a full disk."""
        top = 2 ** (8 * self.width - 1) - 1
        data = np.ascontiguousarray(np.round(piece.T * top), "<i4").view(np.uint8).reshape(-1, 4)[:, : self.width].tobytes()
        try:
            self.wave.writeframes(data)  # and corrects the header
            self.file.flush()
        except OSError as error:
            raise audio.AudioError(f"cannot write {self.path}: {error.strerror}; make room or choose another folder") from error

    def remove(self) -> None:
        """Close the file and remove it, whether or not the disk took all of it."""
        for part in (self.wave, self.file):
            with suppress(OSError):  # what could not be written was reported by `add`, and is thrown away here
                part.close()
        self.path.unlink(missing_ok=True)


def parts_of(stems: tuple[str, ...], has_chart: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a song has besides accompaniment, mix and report: the stems with files of their own (of one track none), and the
    endings of the files of its chart."""
    return (stems if len(stems) > 1 else ()), (SCORE_ENDINGS if has_chart else ())


def output_paths(directory, name: str, format: str, force: bool = False, stems=(), endings=()) -> dict[str, Path]:
    """Where a song's files go: sounds, one a stem, those of the chart by their endings, and the report.

    Raises audio.AudioError for a folder that cannot be written, or a file there without `force`.
    """
    audio.check_folder(directory)
    paths = _paths(directory, name, format, stems, endings)
    for path in paths.values():
        if path.exists() and not force:
            raise audio.AudioError(f"{path} exists; choose another folder, or --force (force=True) to replace it")
    return paths


def check_file(path: Path, force: bool = False) -> None:
    """Raise audio.AudioError for a file that cannot be written, or is there without `force`: to know it before the work."""
    if path.exists() and not force:
        raise audio.AudioError(f"{path} exists; choose another name, or --force (force=True) to replace it")
    audio.check_folder(path.parent)


def has_outputs(directory, name: str, format: str, stems=(), endings=()) -> bool:
    """Whether all files of a song are there; arguments as `output_paths`."""
    return all(path.exists() for path in _paths(directory, name, format, stems, endings).values())


def format_of(rate: int, channels: int, format: str, bit_depth: str) -> tuple[str, str | None]:
    """The ending and the subtype to write. Raises audio.AudioError where the format cannot hold such sound."""
    bit_depth = str(bit_depth)
    if format == "flac" and bit_depth == "32f":
        raise audio.AudioError("flac has no 32-bit float; choose bit depth 16 or 24, or the format wav")
    if bit_depth not in SUBTYPES:
        raise audio.AudioError(f"the bit depth is {bit_depth!r}; choose one of {', '.join(SUBTYPES)} (32f: float, wav alone)")
    suffix, subtype = f".{format}", None if format == "mp3" else SUBTYPES[bit_depth]
    audio.check_format(rate, channels, suffix, subtype, f"{format} output")
    return suffix, subtype


def _paths(directory, name, format, stems=(), endings=()):
    name = short_name(name)
    files = {key: f"{name}.{key}.{format}" for key in ("accompaniment", "mix", *stems)}
    files |= {ending: f"{name}{ending}" for ending in endings} | {"report": f"{name}.json"}
    return {key: Path(directory) / file for key, file in files.items()}


def _on_grid(stems, bit_depth) -> dict[str, audio.Pieces]:
    """The stems and their sum, "accompaniment", where the format has samples, so that they stay a sum when they are written."""
    # a float32 holds such a number of steps, and the sum of those of all stems, exactly
    steps = np.float32(2.0 ** (15 if str(bit_depth) == "16" else 23))

    def together(*wavs):
        return audio.Pieces(wavs[0].shape, lambda place: sum(np.round(wav[place] * steps) for wav in wavs) / steps)

    return {name: together(wav) for name, wav in stems.items()} | {"accompaniment": together(*stems.values())}


def _bytes_of(write) -> bytes:
    """What a function writes into an open file."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def read_song(path) -> Song:
    """A song from its files, by its JSON: all but the tokens, which no file has.

    A stem may have been changed elsewhere since. Where its format is exact, the mix follows: what
    the stems sum to now, less the accompaniment's file, is added to it.

    Raises audio.AudioError for a report that is none, or sound that is missing, cannot be read, or
    has another rate or length than the mix.
    """
    path = Path(path)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        names, chart = _parsed(report, path)
        mix, accompaniment = names["mix"], names["accompaniment"]
    except OSError as error:
        raise audio.AudioError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise audio.AudioError(
            f"{path} is no report of a song; give the <name>.json that `generate` wrote"
        ) from error
    mixed, rate = audio.read(mix)
    stems = {
        key: file
        for key, file in names.items()
        if file.suffix == mix.suffix and key not in ("mix", "accompaniment")
    }
    tracks = {
        stem: _read_track(file, mixed, rate) for stem, file in (stems or {ALL: accompaniment}).items()
    }
    if stems and mix.suffix in EXACT:
        change = sum(tracks.values()) - _read_track(accompaniment, mixed, rate)
        if audio.peak(change) > LEAST_CHANGE:
            mixed = mixed + audio.spread(change, len(mixed))
    return Song(path.stem, rate, tracks, mixed, {}, report, chart)


def _parsed(report, path):
    """The files of a song by their names, and its chart, as a report says; errors of any kind for
    one that is none."""
    files, levels = report["files"], report["levels"]
    for name in ("accompaniment_gain_db", "vocal_gain_db"):
        float(levels[name])
    for name in ("noise", "count_in"):
        float(report["settings"].get(name, 0))
    report["checkpoint"]["sha256"].items()
    int(report["seed"])
    Path(report["vocal"]["file"])
    seconds = float(report["vocal"]["seconds"])
    chart = Chart.of_song(report["chart"], seconds) if report.get("chart") else None
    names = {key: path.with_name(name) for key, name in files.items() if isinstance(name, str)}
    return names, chart


def _read_track(file, mix, rate):
    """The sound of a track [C, T]. Raises audio.AudioError where it does not fit the mix."""
    track, own = audio.read(file)
    if (own, track.shape[1]) != (rate, mix.shape[1]):
        raise audio.AudioError(
            f"{file} has {track.shape[1]} samples at {own} Hz, the mix {mix.shape[1]} at {rate} Hz; "
            "save it at the rate and of the length that it had"
        )
    return track


def recording_of(song: Song, given=None) -> Vocal:
    """The recording that a song was made for: at the path `given`, or where it was.

    Raises audio.AudioError where there is none, or another one.
    """
    path = Path(given or song.report["vocal"]["file"])
    if not path.exists():
        raise audio.AudioError(
            f"{path}: no such file; say where the recording of {song.name} is (--vocal FILE)"
        )
    vocal = read_vocal(path)
    check_recording(song, vocal)
    return vocal


def check_recording(song: Song, vocal: Vocal) -> None:
    """Raise audio.AudioError for a recording that a song was not made for.

    One in another format is the same recording: what counts is whether it sounds in the mix.
    """
    if round(vocal.wav.shape[1] * song.rate / vocal.rate) != song.mix.shape[1]:
        raise audio.AudioError(
            f"{vocal.source} lasts {vocal.seconds:.3f} s, the song {song.seconds:.3f} s; "
            "give the recording that it was made for"
        )
    if vocal.sha256 == song.report["vocal"].get("sha256"):
        return
    voice = audio.to_mono(np.asarray(voice_of(song, vocal)))
    rest = audio.to_mono(song.mix) - audio.to_mono(song.accompaniment)
    share = float(np.vdot(voice, rest) / max(np.vdot(voice, voice), 1e-12))
    if not 1 - VOICE_TOLERANCE < share < 1 + VOICE_TOLERANCE:
        raise audio.AudioError(
            f"{vocal.source} is not the voice in the mix of {song.name} (its sha256 is "
            f"{vocal.sha256[:12]}..., that of the song's {song.report['vocal'].get('sha256', '')[:12]}"
            "...); give the recording that the song was made for, or `generate` another song"
        )
