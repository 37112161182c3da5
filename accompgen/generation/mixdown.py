"""Decoded sound made a song's: at the vocal's rate and length, balanced against it, mixed."""

import numpy as np

from accompgen import audio
from accompgen.generation.report import song_report
from accompgen.generation.song import Song

BALANCE_LU = -3.0  # accompaniment against vocal: the voice leads
FADER = "{}_fader_db"  # of a track, among the levels of a report
FADE_SECONDS = 0.02  # at the very end, where the vocal's length cuts the accompaniment off


def finished(model, vocal, seed, settings, tokens, sounds, clock, chart=None, others=None) -> Song:
    """The song of its stems' tokens and sounds: resampled, mixed, reported.

    The sounds are [C, T] at the decoder's rate, `model` is what made it, `settings`
    are those of `report.asked_for`.
    """
    balance, loudness = settings["balance_lu"], settings.get("loudness_lufs")
    rate, faders = model.decoder.sample_rate, model.faders
    with clock("mix"):
        wanted = settings.get("rate"), settings.get("channels")
        voice, sounds, beside = as_asked(vocal, sounds, others, *wanted)
        tracks, mixed, levels = mix_down(voice, sounds, rate, balance, loudness, beside, faders)
    levels |= {FADER.format(name): db for name, db in faders.items() if name in tracks}
    report = song_report(model, vocal, seed, settings, levels, clock.seconds, chart)
    if others is not None:
        report["others"] = {"file": others.source, "sha256": others.sha256}
    return Song(vocal.name, voice.rate, tracks, mixed, tokens, report, chart)


def faders_in(levels: dict, names) -> dict[str, float]:
    """The faders of these tracks in dB, by the levels of a song's report; songs that were made
    before there were faders have 0."""
    return {name: levels.get(FADER.format(name), 0.0) for name in names}


def mix_down(
    vocal, sounds: dict[str, np.ndarray], rate: int, balance: float, loudness: float | None = None, others=None,
    faders: dict[str, float] | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray, dict]:  # fmt: skip
    """The tracks of a song, its mix, and their levels.

    Args:
        vocal: vocal.Vocal.
        sounds: name -> [C, T] at `rate`. They are taken out of it one by one, so that a long song does not lie in memory
            twice.
        balance: loudness of all of them together minus the vocal's, in LU.
        loudness: of the mix in LUFS; None: the vocal stays as loud as it is, unless peaks would pass the limit.
        others: what else is played, at the vocal's rate and of its length, or None; it counts as part of the vocal.
        faders: name -> dB by which a track is louder beside the others than its sound; 0 where it is not there.

    Returns:
        name -> [C, T] at the vocal's rate and of its length, as loud as they are in the mix: by one gain
        and their faders; the mix [C, T], which is vocal * gain + their sum; levels by name.
    """
    tracks = {}
    for name in list(sounds):
        tracks[name] = like(vocal, sounds.pop(name), rate)
        if db := (faders or {}).get(name):
            tracks[name] *= np.float32(10 ** (db / 20))
    together = sum(tracks.values())
    given = vocal.wav if others is None else _together(vocal.wav, others.wav)
    accompaniment, mixed, levels = audio.mix(given, together, vocal.rate, balance)
    if loudness is not None:
        accompaniment, mixed, levels = _louder(accompaniment, mixed, levels, loudness)
    if len(tracks) == 1:
        return dict.fromkeys(tracks, accompaniment), mixed, levels
    # the gain that the mix gave to all of them
    gain = np.float32(np.vdot(accompaniment, together) / max(np.vdot(together, together), 1e-12))
    for track in tracks.values():
        track *= gain  # in place: long songs are large
    return tracks, mixed, levels


def as_asked(vocal, sounds: dict[str, np.ndarray], others, rate: int | None, channels: int | None) -> tuple:
    """Vocal, decoded sounds [C, T] and other players (or None) for a song of this rate in Hz and so many channels, 1 or 2.

    None leaves the vocal's rate, and the channels that each has. In stereo a vocal of one channel stays as it is: it
    sounds in the middle.
    """
    if rate is not None:
        vocal, others = vocal.at(rate), others and others.at(rate)
    if channels is not None:
        sounds = {name: audio.spread(sound, channels) for name, sound in sounds.items()}
        vocal, others = vocal.within(channels), others and others.within(channels)
    return vocal, sounds, others


def like(vocal, sound, rate):
    """The decoded sound [C, T] at the vocal's rate and of its length to the sample, faded out at the end."""
    # a copy: it may be a view of the decoder's own, or of one channel as two
    sound = np.array(audio.fit(audio.resample(sound, rate, vocal.rate), vocal.wav.shape[1]))
    fade_out(sound, vocal.rate)
    return sound


def _louder(accompaniment, mixed, levels, loudness):
    """What `audio.mix` gave, by one gain as loud as asked, as far as the peaks stay below the limit."""
    if levels["mix_lufs"] is None:
        return accompaniment, mixed, levels
    loudest = max(audio.peak(accompaniment), audio.peak(mixed))
    gain = min(10 ** ((loudness - levels["mix_lufs"]) / 20), audio.PEAK_LIMIT / loudest)
    raised = [name for name, value in levels.items() if not name.startswith("vocal_l") and name != "vocal_peak_dbfs"]
    decibels = audio.decibel(gain)
    levels = levels | {name: round(levels[name] + decibels, 2) for name in raised if levels[name] is not None}
    return np.float32(gain) * accompaniment, np.float32(gain) * mixed, levels


def _together(one, other):
    """The sum of two sounds [C, T], with as many channels as the wider one."""
    channels = max(len(one), len(other))
    return audio.spread(one, channels) + audio.spread(other, channels)


def fade_out(sound: np.ndarray, rate: int) -> None:
    """Fade the end of a sound [C, T] out, in place: there the vocal's length cuts it off."""
    fade = min(sound.shape[1], round(FADE_SECONDS * rate))
    sound[:, sound.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
