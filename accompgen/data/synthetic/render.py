"""An arrangement becomes sound through soundfonts; the only file that imports tinysoundfont."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from accompgen.data.synthetic.band import PARTS


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
_CHANNELS = dict(zip(PARTS, (0, 1, 2, 3, 9), strict=True))
_ALL_SOUND_OFF, _RESET = 120, 121


def find_soundfonts(paths=()):
    """Files of the soundfonts to draw from: those given, or every one of FONTS.

    Raises FileNotFoundError for one that is not there, with the system package to install.
    """
    if not paths:
        return tuple(_installed(font) for font in FONTS)
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no soundfont at {path}: name any General MIDI .sf2 or .sf3 file, or none for those of the "
                f"system packages {' and '.join(f'`{font.package}`' for font in FONTS)}"
            )
    return tuple(map(str, paths))


def _installed(font):
    for path in font.files:
        if Path(path).is_file():
            return path
    raise FileNotFoundError(
        f"the band needs the soundfont {font.name}; none at {', '.join(font.files)}. "
        f"Install the system package: apt-get install {font.package} (or name another with --soundfont)"
    )


@lru_cache(maxsize=4)
def _synth(soundfont, rate):
    try:
        import tinysoundfont
    except ImportError as error:
        raise ImportError(
            "the band needs tinysoundfont: pip install --no-deps tinysoundfont (without its dependencies: "
            "it asks for pyaudio, which rendering to memory does not use)"
        ) from error
    synth = tinysoundfont.Synth(samplerate=rate, gain=-6)
    return synth, synth.sfload(soundfont)


def play(part, notes, program, seconds, rate, soundfont):
    """The notes of one part by one instrument of a soundfont -> wave [2, T] float32, T = round(seconds * rate).

    Levels are the mixer's: tinysoundfont 0.3.7 takes the controllers 7 (volume) and 11 (expression) by 60 log10 where
    MIDI's specification has 40 log10, so both stay at their defaults here.
    """
    samples = round(seconds * rate)
    wave = np.zeros((samples, 2), np.float32)
    messages = []  # (sample, 0 off or 1 on, pitch, velocity): at one sample offs come first
    for note in notes:
        start, end = int(note.start * rate), min(int(note.end * rate), samples)
        if start < end:
            messages.append((start, 1, note.pitch, note.velocity))
            messages.append((end, 0, note.pitch, 0))
    if not messages:
        return wave.T
    synth, font = _synth(soundfont, rate)
    channel = _CHANNELS[part]
    _set_channel(synth, font, part, program)
    now = 0
    for time, on, pitch, velocity in [*sorted(messages), (samples, 0, 0, 0)]:
        if time > now:
            block = synth.generate_simple(time - now)
            wave[now:time] = np.frombuffer(block, np.float32).reshape(-1, 2)
            now = time
        if on:
            synth.noteon(channel, pitch, velocity)
        elif now < samples:
            synth.noteoff(channel, pitch)
    synth.control_change(channel, _ALL_SOUND_OFF, 0)
    synth.generate_simple(rate // 2)  # what rings after "all sound off" must not reach the next part
    return wave.T


def _set_channel(synth, font, part, program):
    channel, drums = _CHANNELS[part], part == "drums"
    synth.control_change(channel, _RESET, 0)
    if drums and not synth.sfpreset_name(font, 128, program):
        program = 0  # General MIDI promises no other kit
    synth.program_select(channel, font, 128 if drums else 0, program, drums)
