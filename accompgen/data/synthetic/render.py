"""An arrangement becomes sound through a soundfont; the only file that imports tinysoundfont."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from accompgen.data.synthetic.band import PARTS, STEMS

SOUNDFONTS = ("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3", "/usr/share/soundfonts/FluidR3Mono_GM.sf3")
_CHANNELS = dict(zip(PARTS, (0, 1, 2, 3, 9), strict=True))
_VOLUMES = {"keys": 100, "bass": 105, "pad": 72, "lead": 75, "drums": 98}  # of MIDI's 127
_ALL_SOUND_OFF, _VOLUME, _RESET = 120, 7, 121


def find_soundfont(path=None):
    """The soundfont file given, or FluidR3Mono where the system package puts it; FileNotFoundError says what to install."""
    candidates = [path] if path else SOUNDFONTS
    for candidate in candidates:
        if Path(candidate).is_file():
            return str(candidate)
    raise FileNotFoundError(
        f"the band needs a soundfont; none at {', '.join(map(str, candidates))}. Install the system package "
        "`fluidr3mono-gm-soundfont` (Debian, Ubuntu), or name any General MIDI .sf2 or .sf3 file"
    )


@lru_cache(maxsize=2)
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


def render(arrangement, seconds, rate, soundfont, rng):
    """Play an arrangement -> {stem: wave [T] float32 mono} for harmony, bass and drums; T = round(seconds * rate).

    The mixer's volumes come from `rng`. The stems add up to the band.
    """
    faders = {part: int(np.clip(_VOLUMES[part] + rng.normal(0, 8), 40, 127)) for part in PARTS}
    return {
        stem: _play({p: arrangement.events.get(p, ()) for p in parts}, arrangement.programs, faders, seconds, rate, soundfont)
        for stem, parts in STEMS.items()
    }


def _play(events, programs, faders, seconds, rate, soundfont):
    """Notes by part -> mono wave [T] float32."""
    samples = round(seconds * rate)
    wave = np.zeros((samples, 2), np.float32)
    messages = []  # (sample, 0 off or 1 on, channel, pitch, velocity): at one sample offs come first
    for part, notes in events.items():
        for note in notes:
            start, end = int(note.start * rate), min(int(note.end * rate), samples)
            if start < end:
                messages.append((start, 1, _CHANNELS[part], note.pitch, note.velocity))
                messages.append((end, 0, _CHANNELS[part], note.pitch, 0))
    if not messages:
        return wave[:, 0]
    synth, font = _synth(soundfont, rate)
    for part in events:
        if part in programs:
            _set_channel(synth, font, part, programs[part], faders[part])
    now = 0
    for time, on, channel, pitch, velocity in [*sorted(messages), (samples, 0, 0, 0, 0)]:
        if time > now:
            block = synth.generate_simple(time - now)
            wave[now:time] = np.frombuffer(bytes(block), np.float32).reshape(-1, 2)
            now = time
        if on:
            synth.noteon(channel, pitch, velocity)
        elif now < samples:
            synth.noteoff(channel, pitch)
    for channel in _CHANNELS.values():
        synth.control_change(channel, _ALL_SOUND_OFF, 0)
    synth.generate_simple(rate // 2)  # what rings after "all sound off" must not reach the next stem
    return wave.mean(axis=1)


def _set_channel(synth, font, part, program, fader):
    channel, drums = _CHANNELS[part], part == "drums"
    synth.control_change(channel, _RESET, 0)
    if drums and not synth.sfpreset_name(font, 128, program):
        program = 0  # General MIDI promises no other kit
    synth.program_select(channel, font, 128 if drums else 0, program, drums)
    synth.control_change(channel, _VOLUME, fader)
