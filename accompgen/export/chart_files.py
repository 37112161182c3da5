"""A chart as files at once, by their endings."""

from collections.abc import Callable

from accompgen.audio import write_sound
from accompgen.export.beats import write_beats
from accompgen.export.click import click_track
from accompgen.export.grid import grid_of
from accompgen.export.lab import write_lab
from accompgen.export.midi import midi_bytes
from accompgen.export.sheet import write_sheet

SCORE_ENDINGS = (".mid", ".chords.txt", ".lab")
BEAT_ENDINGS = (".beats.txt", ".click.wav")


def score_files(chart, name: str, count_in: int = 0, sections=()) -> dict[str, bytes]:
    """What goes with every song: MIDI, chord sheet, .lab; `sections` are markers, (seconds, name).

    Raises ChartError with fewer than two beats.
    """
    contents = (
        midi_bytes(chart, name, count_in, sections),
        write_sheet(chart, name).encode("utf-8", "replace"),
        write_lab(chart).encode(),
    )
    return dict(zip(SCORE_ENDINGS, contents, strict=True))


def beat_files(
    chart, name: str, rate: int, samples: int, count_in: int = 0, stamp: int | None = None
) -> dict[str, bytes | Callable]:
    """The beats as text, and as clicks: a function that writes the sound into an open file.

    Args:
        rate, samples: of the recording, which the click is as long as, the count-in left out.
        stamp: the recording's time stamp in samples, or None; the click's lies the count-in before it, if there is time.

    Raises ChartError with fewer than two beats.
    """
    begin = None if stamp is None else stamp - round(grid_of(chart, count_in).offset * rate)
    begin = begin if begin is None or begin >= 0 else None

    def click(file):
        wav = click_track(chart, rate, samples, count_in)
        write_sound(file, wav, rate, ".wav", "PCM_16", f"{name}.click.wav", begin)

    return dict(zip(BEAT_ENDINGS, (write_beats(chart.continued()).encode(), click), strict=True))
