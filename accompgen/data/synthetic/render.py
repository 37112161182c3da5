"""An arrangement becomes sound through soundfonts; the only file that imports fluidsynth.

FluidSynth is the synthesizer that FluidR3 was made with: it scales attenuations as that font expects, interpolates by
four points, and applies the font's filters and modulators. tinysoundfont renders twice as fast; its cymbals are 5 to
7 dB duller and tones fold back at -50 dB.
"""

import ctypes
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Font:
    """A soundfont that a Linux distribution packages."""

    name: str
    licence: str
    package: str  # Debian's and Ubuntu's
    files: tuple[str, ...]  # where distributions put it


FONTS = (
    Font(
        "FluidR3 GM", "MIT", "fluid-soundfont-gm",
        ("/usr/share/sounds/sf2/FluidR3_GM.sf2", "/usr/share/soundfonts/FluidR3_GM.sf2"),
    ),
    Font("Csound GM bank", "public domain", "csound-soundfont", ("/usr/share/sounds/sf2/sf_GMbank.sf2",)),
)  # fmt: skip


def find_soundfonts(paths=()):
    """Files of the soundfonts to draw from: those given, or every one of FONTS.

    Raises: FileNotFoundError for one that is not there, with the system package to install; ImportError without
        FluidSynth, ValueError for a file that it cannot read.
    """
    files = tuple(map(_given, paths)) or tuple(map(_installed, FONTS))
    for file in files:
        _font(file)
    return files


def _given(path):
    if Path(path).is_file():
        return str(path)
    raise FileNotFoundError(
        f"no soundfont at {path}: name any General MIDI .sf2 or .sf3 file, or none for those of the "
        f"system packages {' and '.join(f'`{font.package}`' for font in FONTS)}"
    )


def _installed(font):
    for path in font.files:
        if Path(path).is_file():
            return path
    raise FileNotFoundError(
        f"the band needs the soundfont {font.name}; none at {', '.join(font.files)}. "
        f"Install the system package: apt-get install {font.package} (or name another with --soundfont)"
    )


def font_licence(path):
    """What a song says of a soundfont: its name and licence."""
    known = next((f for f in FONTS if Path(path).name in (Path(file).name for file in f.files)), None)
    return f"{known.name} {known.licence}" if known else f"{Path(path).name} of unknown licence"


def synthesizer():
    """Name and version of what renders: another version's sound differs in its last bits."""
    return f"FluidSynth {_library().version}"


def play(part, notes, program, seconds, rate, soundfont):
    """The notes of one part by one instrument of a soundfont -> wave [2, T] float32, T = round(seconds * rate).

    `program` is General MIDI's, from 0, the kit where `part` is "drums". Channel volume and expression stay at their
    defaults: levels are the mixer's. Notes begin on FluidSynth's grid of 64 samples.
    """
    samples = round(seconds * rate)
    messages = []  # (sample, 0 off or 1 on, pitch, velocity): at one sample offs come first
    for note in notes:
        start, end = int(note.start * rate), min(int(note.end * rate), samples)
        if start < end:
            messages.append((start, 1, note.pitch, note.velocity))
            messages.append((end, 0, note.pitch, 0))
    wave = np.zeros((samples, 2), np.float32)
    if not messages:
        return wave.T
    channel = 9 if part == "drums" else 0
    with _synth(soundfont, rate) as (synth, font):
        _select(synth, font, channel, program, soundfont)
        now = 0
        for time, on, pitch, velocity in [*sorted(messages), (samples, 0, 0, 0)]:
            if time > now:
                _library().generate(synth, wave[now:time])
                now = time
            if on:
                synth.noteon(channel, pitch, velocity)
            elif now < samples:
                synth.noteoff(channel, pitch)
    return wave.T


def _select(synth, font, channel, program, soundfont):
    bank = 128 if channel == 9 else 0
    if bank and not synth.sfpreset_name(font, bank, program):
        program = 0  # General MIDI promises no other kit
    if not synth.sfpreset_name(font, bank, program):
        raise ValueError(f"{soundfont} has no program {program} in bank {bank}: choose a General MIDI soundfont")
    synth.program_select(channel, font, bank, program)


@contextmanager
def _synth(soundfont, rate):
    """A new synthesizer with the soundfont, and the font's number in it.

    A synthesizer that has played before begins its first notes from the volumes of the last ones, so each part gets
    one of its own; that takes a millisecond, since the font is loaded once a process and lent.
    """
    library, font = _library(), _font(soundfont)
    synth = library.new_synth(rate)
    try:
        yield synth, library.lend(synth, font)
    finally:
        library.take_back(synth, font)
        synth.delete()


@lru_cache(maxsize=4)
def _font(soundfont):
    """A loaded soundfont, with the synthesizer that owns it."""
    library = _library()
    owner = library.new_synth(48_000)
    number = owner.sfload(soundfont)
    if number < 0:
        raise ValueError(f"{soundfont} is no soundfont that FluidSynth can read: give a .sf2 or .sf3 file")
    return owner, library.font(owner, number)


@lru_cache(maxsize=1)
def _library():
    return _FluidSynth()


class _FluidSynth:
    """pyfluidsynth, and the few functions of the C library that it does not wrap."""

    def __init__(self):
        try:
            with redirect_stdout(sys.stderr):  # where CI is set in the environment, it prints what it found
                import fluidsynth
        except ImportError as error:
            raise ImportError(
                "the band needs FluidSynth: apt-get install libfluidsynth3 (macOS: brew install fluid-synth), "
                "and pip install 'accompgen[train]'"
            ) from error
        self.fluidsynth = fluidsynth
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._add = self._function("fluid_synth_add_sfont", pointer, pointer)
        self._remove = self._function("fluid_synth_remove_sfont", pointer, pointer)
        self._write = self._function("fluid_synth_write_float", pointer, number, *(pointer, number, number) * 2)
        self.version = fluidsynth.cfunc("fluid_version_str", ctypes.c_char_p)().decode()
        silence = self._function("fluid_set_log_function", number, pointer, pointer)
        for level in (2, 3):  # warnings and below: a synthesizer without a font complains of every channel
            silence(level, None, None)

    def _function(self, name, *types):
        arguments = ((f"argument{i}", kind, 1) for i, kind in enumerate(types))
        return self.fluidsynth.cfunc(name, ctypes.c_int, *arguments)

    def new_synth(self, rate):
        """Without reverberation and chorus: the mixer has rooms of its own."""
        settings = {"synth.reverb.active": 0, "synth.chorus.active": 0}
        return self.fluidsynth.Synth(gain=0.5, samplerate=rate, channels=16, **settings)

    def font(self, synth, number):
        return self.fluidsynth.fluid_synth_get_sfont_by_id(synth.synth, number)

    def lend(self, synth, font):
        return self._add(synth.synth, font[1])

    def take_back(self, synth, font):
        self._remove(synth.synth, font[1])

    def generate(self, synth, frames):
        """Fill `frames` [T, 2] float32, a part of a contiguous array, with what sounds next."""
        place = frames.ctypes.data
        self._write(synth.synth, len(frames), place, 0, 2, place, 1, 2)
