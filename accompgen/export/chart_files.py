"""A chart as all of its files at once."""

from accompgen.audio import encode
from accompgen.export.beats import write_beats
from accompgen.export.click import click_track
from accompgen.export.lab import write_lab
from accompgen.export.midi import midi_bytes
from accompgen.export.sheet import write_sheet


def chart_files(chart, name: str, rate: int, samples: int, count_in: int = 0) -> dict[str, bytes]:
    """A chart as files, by their endings.

    Args:
        rate, samples: of the recording, which the click is as long as, the count-in left out.

    Raises ChartError with fewer than two beats.
    """
    click = click_track(chart, rate, samples, count_in)
    return {
        ".mid": midi_bytes(chart, name, count_in),
        ".chords.txt": write_sheet(chart, name).encode("utf-8", "replace"),
        ".lab": write_lab(chart).encode(),
        ".beats.txt": write_beats(chart.continued()).encode(),
        ".click.wav": encode(click, rate, ".wav", "PCM_16", f"{name}.click.wav"),
    }
