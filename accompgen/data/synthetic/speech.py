"""Voices speak: a line of text -> a wave and the times of its phones.

flite prints its phone times, Festival's are read from its segments, and those of an HTS voice
follow from its labels. The only file that imports pyopenjtalk.
"""

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
    """Let a `voices.Voice` read lines -> [(wave [T] float32 at world.SAMPLE_RATE, [Phone, ...]), ...].

    Raises FileNotFoundError where the voice is not installed, RuntimeError where its engine fails.
    """
    reason = voices.missing(voice, hts_folder)
    if reason:
        raise FileNotFoundError(reason)
    engine = {"flite": _flite, "festival": _festival, "hts": _hts}[voice.engine]
    spoken = engine(voice, lines) if voice.engine != "hts" else engine(voice, lines, hts_folder)
    return [(_at_our_rate(*wave), _phones(ends)) for wave, ends in spoken]


def _at_our_rate(wave, rate):
    return audio.to_mono(audio.resample(wave, rate, world.SAMPLE_RATE))


def _phones(ends):
    """(name, end in seconds) of each phone -> Phones."""
    starts = [0.0] + [end for _, end in ends]
    return [
        Phone(name.rstrip(":1") or name, start, end)
        for start, (name, end) in zip(starts, ends, strict=False)
    ]


def _run(voice, command, folder):
    result = subprocess.run(command, capture_output=True, cwd=folder)
    if result.returncode:
        said = " ".join(result.stderr.decode("utf-8", "replace").split())
        raise RuntimeError(
            f"voice {voice.name}: {Path(command[0]).name} failed ({result.returncode}): {said[-300:]}"
        )
    return result.stdout.decode("utf-8", "replace")


def _flite(voice, lines):
    program = shutil.which("flite")
    with tempfile.TemporaryDirectory() as folder:
        for line in lines:
            command = [program, "-voice", voice.model, "-t", line, "-o", "line.wav", "-psdur"]
            pairs = [item.rpartition(":") for item in _run(voice, command, folder).split()]
            yield (
                audio.read(Path(folder) / "line.wav"),
                [(name, float(end)) for name, _, end in pairs],
            )


# Loads a voice once; writes line0.wav, line1.wav, ... and beside each the ends and names of its phones.
_SCRIPT = """(voice_{model})
(define (say text name)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text)))))
    (utt.save.wave utt (string-append name ".wav") 'riff)
    (let ((file (fopen (string-append name ".txt") "w")))
      (mapcar (lambda (phone) (format file "%f %s\\n" (item.feat phone "end") (item.name phone)))
              (utt.relation.items utt 'Segment))
      (fclose file))))
{calls}
"""


def _festival(voice, lines):
    calls = "\n".join(f'(say "{line}" "line{i}")' for i, line in enumerate(lines))
    script = _SCRIPT.format(model=voice.model, calls=calls).encode(
        LANGUAGES[voice.language].encoding
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "say.scm").write_bytes(script)
        _run(voice, [shutil.which("festival"), "--batch", "say.scm"], folder)
        for i in range(len(lines)):
            rows = [
                row.split() for row in (folder / f"line{i}.txt").read_text("latin-1").splitlines()
            ]
            yield audio.read(folder / f"line{i}.wav"), [(phone, float(end)) for end, phone in rows]


def _hts(voice, lines, folder):
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
            raise RuntimeError(
                f"voice {voice.name}: phones of {ends[-1]} samples in a sentence of {len(wave)}"
            )
        names = [label.partition("-")[2].partition("+")[0] for label in labels]
        yield (
            (wave[None].astype(np.float32) / 32768, rate),
            list(zip(names, ends / rate, strict=True)),
        )
