"""A voice is recorded: in a room, with noise behind it, by a microphone of its own colour.

Rooms are a direct sound, early reflections and Polack's tail (noise that decays exponentially, here
faster at high frequencies); microphones are minimum-phase filters of a drawn response.
"""

from dataclasses import dataclass

import numpy as np

from accompgen.data.synthetic import world

try:
    import scipy.signal
except ImportError as error:
    raise ImportError("the singer needs scipy: pip install 'accompgen[train]'") from error

RATE = world.SAMPLE_RATE
PEAK = 0.7
KINDS = ("condenser", "dynamic", "ribbon", "telephone")
_TAPS = 511  # of a microphone's filter
_OVERSAMPLING = 4  # where saturation makes new overtones


@dataclass(frozen=True)
class Recording:
    """Where and how a singer is recorded; the defaults are a clean, dry take.

    room_seconds: reverberation time (decay by 60 dB), 0 for none; room_db: reverberation against
    the direct sound; low_cut_hz and high_cut_hz: 3 dB points of the microphone; proximity_db: bass
    of a close singer; presence_db: around presence_hz; drive: of the saturation, 0 for none;
    noise_db: of the background against the singing (RMS); noise_slope: its spectrum in dB per
    octave; hum_db: mains hum against the singing.
    """

    microphone: str = "condenser"
    room_seconds: float = 0.0
    room_db: float = -20.0
    low_cut_hz: float = 40.0
    high_cut_hz: float = 8000.0
    proximity_db: float = 0.0
    presence_hz: float = 4000.0
    presence_db: float = 0.0
    drive: float = 0.0
    noise_db: float = -70.0
    noise_slope: float = 0.0
    hum_hz: float = 50.0
    hum_db: float = -90.0


def draw_recording(rng):
    """One of many recordings: one in eight by telephone, one in four noisy, most of them good."""
    kind = str(rng.choice(KINDS, p=[0.48, 0.27, 0.13, 0.12]))
    dry, noisy, hums = rng.random() < 0.25, rng.random() < 0.25, rng.random() < 0.08
    response = {
        "condenser": ((20, 90), (7900, 8000), (0, 4), (4000, 7000), (0, 5)),
        "dynamic": ((60, 140), (6500, 8000), (0, 8), (3000, 5500), (2, 7)),
        "ribbon": ((30, 60), (4500, 7000), (2, 8), (3000, 3000), (-3, 0)),
        "telephone": ((180, 320), (3000, 4000), (0, 0), (1500, 2800), (2, 9)),
    }[kind]
    names = ("low_cut_hz", "high_cut_hz", "proximity_db", "presence_hz", "presence_db")
    return Recording(
        kind,
        room_seconds=0.0 if dry else float(rng.uniform(0.2, 1.6)),
        room_db=float(rng.uniform(-26, -8)),
        drive=float(rng.uniform(1, 3) if kind == "telephone" else max(0, rng.uniform(-1, 1))),
        noise_db=float(rng.uniform(-45, -20) if noisy else rng.uniform(-75, -45)),
        noise_slope=float(rng.uniform(-6, 0)),
        hum_hz=float(rng.choice([50, 60])),
        hum_db=float(rng.uniform(-55, -30)) if hums else -90.0,
        **{name: float(rng.uniform(*span)) for name, span in zip(names, response, strict=True)},
    )


def record(wave, recording, rng):
    """What the microphone hears of a voice: wave [T] at 16 kHz -> [T] float32, peak 0.7."""
    level = sounding_rms(wave)
    if recording.room_seconds > 0:
        wave = wave + _filtered(wave, room_response(recording, rng))
    noise = background(len(wave), recording.noise_slope, rng)
    wave = wave + level * 10 ** (recording.noise_db / 20) * noise
    if recording.hum_db > -90:
        wave = wave + level * 10 ** (recording.hum_db / 20) * _hum(len(wave), recording.hum_hz, rng)
    wave = _filtered(wave, microphone_response(recording))
    wave = wave / np.abs(wave).max()
    if recording.drive > 0:
        wave = _saturated(wave, recording.drive)
    return (wave / np.abs(wave).max() * PEAK).astype(np.float32)


def room_response(recording, rng):
    """Reflections of a room [N] without the direct sound, with the energy that `room_db` says."""
    size = int(recording.room_seconds * RATE)
    times = np.arange(size) / RATE
    halves = scipy.signal.butter(2, 1500, fs=RATE, output="sos")
    noise = rng.normal(size=size)
    low = scipy.signal.sosfilt(halves, noise)
    high = noise - low
    decay = np.log(1000) / recording.room_seconds
    # air and soft things take the treble first
    tail = low * np.exp(-decay * times) + high * np.exp(-decay * rng.uniform(1.5, 3) * times)
    onset = rng.uniform(0.005, 0.03)  # the tail sets in after the first reflections
    tail *= np.clip(times / onset, 0, 1)
    early = np.zeros(size)
    places = rng.uniform(0.002, 0.05, 12)
    for place in places[places < recording.room_seconds]:
        early[int(place * RATE)] += rng.choice([-1, 1], p=[0.2, 0.8]) * 0.004 / (0.002 + place)
    response = tail / np.sqrt((tail**2).sum()) + 0.7 * early / max(1e-9, np.sqrt((early**2).sum()))
    return response / np.sqrt((response**2).sum()) * 10 ** (recording.room_db / 20)


def microphone_response(recording):
    """Minimum-phase impulse response [256] of the microphone."""
    hz = np.linspace(0, RATE / 2, 257)
    octaves = np.log2(np.maximum(hz, 10) / recording.presence_hz)
    decibel = recording.presence_db * np.exp(-0.5 * (octaves / 0.5) ** 2)
    decibel += recording.proximity_db / (1 + (hz / 250) ** 2)
    decibel -= 10 * np.log10(1 + (recording.low_cut_hz / np.maximum(hz, 10)) ** 4)
    decibel -= 10 * np.log10(1 + (hz / recording.high_cut_hz) ** 8)
    taps = scipy.signal.firwin2(_TAPS, hz, 10 ** (decibel / 20), fs=RATE)
    return scipy.signal.minimum_phase(taps, n_fft=4096, half=False)


def _filtered(wave, response):
    return scipy.signal.oaconvolve(wave, response)[: len(wave)]


def _saturated(wave, drive):
    """Soft saturation (tanh) of a wave of peak 1, without aliasing."""
    fine = scipy.signal.resample_poly(wave, _OVERSAMPLING, 1)
    return scipy.signal.resample_poly(np.tanh(drive * fine) / np.tanh(drive), 1, _OVERSAMPLING)


def background(size, slope, rng, rate=RATE):
    """Noise [size] of RMS 1, its spectrum `slope` dB per octave above 60 Hz, swelling slowly."""
    spectrum = np.fft.rfft(rng.normal(size=size))
    hz = np.maximum(np.fft.rfftfreq(size, 1 / rate), 60)
    noise = np.fft.irfft(spectrum * 10 ** (slope / 20 * np.log2(hz / 60)), size)
    swell = np.interp(np.arange(size), np.linspace(0, size, 9), rng.uniform(-3, 3, 9))
    noise *= 10 ** (swell / 20)
    return noise / np.sqrt(np.mean(noise**2))


def _hum(size, hz, rng):
    """Mains hum [size] of RMS 1: a tone and its overtones."""
    phase = 2 * np.pi * hz * np.arange(size) / RATE
    tones = sum(
        rng.uniform(0.3, 1) / k * np.sin(k * phase + rng.uniform(0, 6.28)) for k in (1, 2, 3, 4, 6)
    )
    return tones / np.sqrt(np.mean(tones**2))


def sounding_rms(wave, frame=320):
    """RMS of the frames (20 ms at 16 kHz) that are within 30 dB of the loudest one."""
    rows = wave[: len(wave) // frame * frame].reshape(-1, frame)
    power = (rows**2).mean(1)
    return float(np.sqrt(power[power >= power.max() / 1000].mean()))
