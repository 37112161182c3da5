"""Pictures of sound as PNG bytes: mel spectrogram and pitch classes over time."""

import struct
import zlib

import numpy as np

from accompgen.analysis.mel_bands import filled_triangles
from accompgen.evaluation import harmony
from accompgen.evaluation.listen import RATE

FFT, HOP_SAMPLES = 2048, 480
BANDS, LOW_HZ, HIGH_HZ = 96, 40.0, 11000.0
RANGE_DB = 70.0
SPAN = 1024  # frames at once, so that a long song needs no more memory
# dark violet over red to pale yellow, evenly spaced; lightness rises throughout
COLOURS = np.array([[8, 6, 30], [60, 15, 95], [130, 35, 110], [200, 60, 90], [245, 120, 65], [252, 190, 100], [252, 250, 200]])


def png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as a PNG file."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels, np.uint8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def colour(values: np.ndarray) -> np.ndarray:
    """Values in 0 to 1, first row at the bottom: [H, W] -> uint8 [H, W, 3]."""
    place = np.clip(values[::-1], 0, 1) * (len(COLOURS) - 1)
    lower = np.minimum(place.astype(int), len(COLOURS) - 2)
    share = (place - lower)[..., None]
    return (COLOURS[lower] * (1 - share) + COLOURS[lower + 1] * share).astype(np.uint8)


def mel_picture(mono: np.ndarray) -> bytes:
    """Sound [T] at 24 kHz: 96 mel bands from 40 Hz to 11 kHz, 20 ms a pixel, 70 dB below the loudest."""
    level = 10 * np.log10(mel_power(mono) + 1e-9)
    return png(colour((level - level.max()) / RANGE_DB + 1))


def mel_power(mono: np.ndarray, rate: int = RATE, high_hz: float = HIGH_HZ) -> np.ndarray:
    """Power of sound [T] in 96 mel bands from 40 Hz to `high_hz`, every 20 ms: [96, frames]."""
    size, hop = round(FFT * rate / RATE), round(HOP_SAMPLES * rate / RATE)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(mono, size // 2), size)[::hop]
    weights = filled_triangles(size, BANDS, LOW_HZ, high_hz, rate)
    window = np.hanning(size).astype(np.float32)
    spans = [frames[start : start + SPAN] for start in range(0, len(frames), SPAN)]
    return np.concatenate([np.abs(np.fft.rfft(span * window)) ** 2 @ weights for span in spans]).T


def chroma_picture(mono: np.ndarray) -> bytes:
    """Sound [T] at 24 kHz: its profile of 12 pitch classes, C at the bottom, half a second a column; 16 x 12 pixels a cell."""
    profile = harmony.profile(mono)
    cells = np.sqrt(profile / max(profile.max(), 1e-9)).T
    return png(np.kron(colour(cells), np.ones((12, 16, 1), np.uint8)))
