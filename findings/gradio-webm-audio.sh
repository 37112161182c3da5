#!/usr/bin/env bash
# gradio's File(file_types=["audio"]) refuses a recording in WebM, as browsers make it, although it holds sound alone: it judges
# by the name, and .webm is video/webm there. Audio takes the same file on the server's side, and File takes the same bytes as
# .weba; .mka, .flac and .m4a pass too. file_types=["audio", ".webm"] lets it in. Seen with gradio 6.31.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check gradio==6.31.0 gradio_client==2.7.2 av==18.1.0
export GRADIO_ANALYTICS_ENABLED=False
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import shutil
import sys
from pathlib import Path

import av
import gradio
import numpy as np
from gradio.data_classes import FileData

RATE = 48_000
MUXERS = {".webm": "webm", ".mka": "matroska", ".flac": "flac", ".m4a": "ipod"}
CODECS = {".webm": "libopus", ".mka": "aac", ".flac": "flac", ".m4a": "aac"}
folder = Path(sys.argv[1])
sound = (0.1 * np.sin(np.arange(RATE) / 20)).astype(np.float32)[None]
for ending, muxer in MUXERS.items():
    with av.open(str(folder / f"a{ending}"), "w", format=muxer) as container:
        stream = container.add_stream(CODECS[ending], rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound, format="flt", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.format, "mono", RATE)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
shutil.copy(folder / "a.webm", folder / "a.weba")
with av.open(str(folder / "a.webm")) as container:
    assert [stream.type for stream in container.streams] == ["audio"]


def takes(component, ending):
    path = folder / f"a{ending}"
    try:
        component.preprocess(FileData(path=str(path), orig_name=path.name))
    except gradio.Error as error:
        return f"refused: {error.message}"
    return "taken"


audio, file = gradio.Audio(type="filepath"), gradio.File(file_types=["audio"])
seen = {ending: takes(file, ending) for ending in (*MUXERS, ".weba")}
in_audio, named = takes(audio, ".webm"), takes(gradio.File(file_types=["audio", ".webm"]), ".webm")
print(f"gradio {gradio.__version__}, File(['audio']): {seen}")
print(f".webm in Audio: {in_audio}; in File(['audio', '.webm']): {named}")
assert seen.pop(".webm").startswith("refused: Invalid file type"), "File takes WebM as audio now"
assert set(seen.values()) == {in_audio} == {named} == {"taken"}, "gradio refuses others now"
PYTHON
