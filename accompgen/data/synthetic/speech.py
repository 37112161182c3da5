"""Voices speak: a line of text -> a wave and the times of its phones.

flite prints its phone times, Festival's are read from its segments, and those of an HTS voice
follow from its labels. The only file that imports pyopenjtalk.
"""

import contextlib
import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accompgen import audio
from accompgen.data.synthetic import voices, world
from accompgen.data.synthetic.languages import LANGUAGES


class Phone(NamedTuple):
    name: str  # without marks of length and stress
    start: float  # seconds
    end: float


def speak(voice, lines, hts_folder=None):
    """Let a `voices.Voice` read lines.

    Returns: [(wave [T] float32 at world.SAMPLE_RATE, [Phone, ...]), ...], one a line.
    Raises: FileNotFoundError where the voice is not installed, RuntimeError where its engine fails.
    """
    reason = voices.missing(voice, hts_folder)
    if reason:
        raise FileNotFoundError(reason)
    engine = {"flite": _flite, "festival": _festival, "hts": _hts}[voice.engine]
    spoken = engine(voice, lines, hts_folder)
    return [(_at_our_rate(*wave), _phones(ends)) for wave, ends in spoken]


def _at_our_rate(wave, rate):
    return audio.to_mono(audio.resample(wave, rate, world.SAMPLE_RATE))


def _phones(ends):
    """(name, end in seconds) of each phone -> Phones."""
    starts = [0.0] + [end for _, end in ends]
    spans = zip(starts, ends, strict=False)
    return [Phone(name.rstrip(":1") or name, start, end) for start, (name, end) in spans]


def _run(voice, command, folder):
    result = subprocess.run(command, capture_output=True, cwd=folder)
    if result.returncode:
        said = " ".join(result.stderr.decode("utf-8", "replace").split())
        failed = f"{Path(command[0]).name} failed ({result.returncode})"
        raise RuntimeError(f"voice {voice.name}: {failed}: {said[-300:]}")
    return result.stdout.decode("utf-8", "replace")


def _flite(voice, lines, _):
    program = shutil.which("flite")
    with tempfile.TemporaryDirectory() as folder:
        for line in lines:
            command = [program, "-voice", voice.model, "-t", line, "-o", "line.wav", "-psdur"]
            pairs = [item.split(":") for item in _run(voice, command, folder).split()]
            ends = [(name, float(end)) for name, end in pairs]
            yield audio.read(Path(folder) / "line.wav"), ends


# Loads a voice once; writes line0.wav, line1.wav, ... and beside each its phones' ends and names.
# A voice without an intonation of its own (telugu_NSK) has that of the default voice, and fails where there is none: all begin
# from a plain one, since singing has its own melody.
_SCRIPT = """(Parameter.set 'Int_Method 'DuffInt)
(voice_{model})
(define (say text name)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (utt.save.wave utt (string-append name ".wav") 'riff)
    (let ((file (fopen (string-append name ".txt") "w")))
      (mapcar (lambda (phone) (format file "%f %s\\n" (item.feat phone "end") (item.name phone)))
              (utt.relation.items utt 'Segment))
      (fclose file))))
{calls}
"""


def _festival(voice, lines, _):
    calls = "\n".join(f'(say "{line}" "line{i}")' for i, line in enumerate(lines))
    script = _SCRIPT.format(model=voice.model, calls=calls)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "say.scm").write_text(script, LANGUAGES[voice.language].encoding)
        _run(voice, [shutil.which("festival"), "--batch", "say.scm"], folder)
        for i in range(len(lines)):
            rows = (folder / f"line{i}.txt").read_text().splitlines()
            ends = [(phone, float(end)) for end, phone in map(str.split, rows)]
            yield audio.read(folder / f"line{i}.wav"), ends


def _hts(voice, lines, folder):
    # pyopenjtalk greets on stdout where ONNX Runtime, which nothing here needs, is not installed
    with contextlib.redirect_stdout(io.StringIO()):
        import pyopenjtalk
        from pyopenjtalk.htsengine import HTSEngine

    engine = HTSEngine(str(voices.hts_file(voice.model, folder)).encode())
    rate = engine.get_sampling_frequency()
    for line in lines:
        labels = pyopenjtalk.extract_fullcontext(line)
        wave = engine.synthesize(labels)
        # A label's duration follows from the label alone, so each one, spoken by itself, has the
        # length that it has in the sentence. The engine's binding tells no durations.
        ends = np.cumsum([len(engine.synthesize([label])) for label in labels])
        if ends[-1] != len(wave):
            lengths = f"phones of {ends[-1]} samples in a sentence of {len(wave)}"
            raise RuntimeError(f"voice {voice.name}: {lengths}")
        names = [label.partition("-")[2].partition("+")[0] for label in labels]
        sound = (wave[None].astype(np.float32) / 32768, rate)
        yield sound, list(zip(names, (ends / rate).tolist(), strict=True))
