"""Sound as phones, browsers and cameras code it, written by FFmpeg."""

import os

import av
import numpy as np


def made(path, codec: str, wav: np.ndarray, rate: int, **options):
    """A file of wav [T] at `rate`; path: or an object to write to. options: of av.open, such as format. Returns the path."""
    with av.open(str(path) if isinstance(path, os.PathLike) else path, "w", **options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((wav[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=stream.codec_context.frame_size or 4096)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path
