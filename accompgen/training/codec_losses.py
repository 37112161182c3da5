"""What the codec's sound [B, T] at 24 kHz is held against the original by: waveform, log mels, octaves, onsets."""

import torch

from accompgen.analysis.mel_bands import filled_triangles

MEL_WINDOWS = (512, 1024, 2048, 4096)
MEL_BANDS = (40, 64, 80, 96)
WINDOW = 1024  # of octaves and onsets, one of MEL_WINDOWS
ONSETS_AT_LEAST = 1.0  # a mean of the onset envelope below it counts as it does; our bands have 2 to 6
QUIET = 0.02  # crops below this level count less; without a floor, near silence outweighs all music and the loss explodes


def reconstruction_losses(wav, back, mels, floor: float = 1e-3) -> dict:
    """Losses of [B, T] against [B, T], each a scalar.

    Returns:
        wave: L1 + L2, each relative to the crop's own level;
        mel: L1 of multi-scale log mels in nats, averaged over the windows, magnitudes below `floor` counting as it does;
        flux: L1 of how they change from frame to frame, likewise;
        octaves: L1 of the log energy of the octaves from 62.5 Hz on in tenths of a second, in nats;
        onsets: L1 of the onset envelopes, relative to the mean of the first one's.
    """
    level = wav.abs().mean(1).clamp_min(QUIET)
    power = wav.pow(2).mean(1).clamp_min(QUIET**2)
    wave = ((wav - back).abs().mean(1) / level + (wav - back).pow(2).mean(1) / power).mean()
    mel, flux = wav.new_zeros(()), wav.new_zeros(())
    for window, filters in zip(MEL_WINDOWS, mels):
        spectra = power_spectrum(wav, window), power_spectrum(back, window)
        error = log_mel(spectra[0], filters, floor) - log_mel(spectra[1], filters, floor)  # [B, bands, frames]
        mel = mel + error.abs().mean() / len(mels)
        flux = flux + error.diff(dim=-1).abs().mean() / len(mels)
        if window == WINDOW:
            octaves = (log_octaves(spectra[0]) - log_octaves(spectra[1])).abs().mean()
            envelope, other = (onset_envelopes(spectrum) for spectrum in spectra)
            onsets = ((envelope - other).abs().mean(1) / envelope.mean(1).clamp_min(ONSETS_AT_LEAST)).mean()
    return dict(wave=wave, mel=mel, flux=flux, octaves=octaves, onsets=onsets)


def power_spectrum(wav, window: int):
    """Squared magnitudes [B, window / 2 + 1, frames] of Hann windows a quarter apart."""
    hann = torch.hann_window(window, device=wav.device)
    spectrum = torch.stft(wav, window, window // 4, window=hann, center=False, return_complex=True)
    return spectrum.real.pow(2) + spectrum.imag.pow(2)


def log_mel(power, filters, floor: float = 1e-3):
    """Log of mel magnitudes [B, bands, frames], `floor` added to each; 1e-3 is about -60 dB of full scale."""
    return (filters @ ((power + 1e-9).sqrt() * _to_full_scale(power)) + floor).log()


def log_octaves(power):
    """Log of the energy [B, 8, tenths of a second] of the octaves from 62.5 Hz to 12 kHz, with a floor."""
    window = _window(power)
    octave = torch.fft.rfftfreq(window, 1 / 24000, device=power.device).clamp(min=1).div(62.5).log2().floor()
    octaves = torch.stack([(octave == number).float() for number in range(8)])  # [8, bins]
    tenth = round(0.1 * 24000 / (window // 4))
    energy = octaves @ (power * _to_full_scale(power) ** 2)
    return (torch.nn.functional.avg_pool1d(energy, tenth) + 1e-8).log()


def onset_envelopes(power):
    """Spectral flux [B, frames], as of one sound in codec_figures.onset_envelope."""
    magnitude = (power + 1e-9).sqrt()
    return torch.log1p(100 * magnitude / _window(power)).diff(dim=-1).clamp(min=0).sum(1)


def _window(power):
    return 2 * (power.shape[1] - 1)


def _to_full_scale(power):
    """Factor of magnitudes under which a sine of full scale is 1."""
    return 2 / torch.hann_window(_window(power), device=power.device).sum()


def mel_filters(window: int, bands: int) -> torch.Tensor:
    """Triangles [bands, window / 2 + 1] on the mel scale from 40 Hz to 11 kHz, at 24 kHz; no band is empty."""
    return torch.from_numpy(filled_triangles(window, bands, 40.0, 11000.0, 24000).T).float()
