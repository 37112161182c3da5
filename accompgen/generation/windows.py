"""Long songs: which spans of a song a stage is run on, and what of each piece is new. Integers only, no model.

The unit is the block of 40 ms (time.py). A stage is run on windows as long as those it was trained on. A window begins with
frames that an earlier window has produced (its prompt) and adds new ones:

    window of 8 blocks, prompt of 4, song of 18    0       4       8       12      16  18
                                                   [======== new ========]
                                                           [prompt ][= new =]
                                                                    [prompt ][= new =]
                                                                        [== prompt ==][new]
The last window is moved left, so that it too sees a context of full length; only what is new in it is kept.

Where sound shall follow a voice closely, windows add a given number of blocks, the *hop*, and all else is prompt:

    the same with a hop of 2                        0   2   4   6   8   10
                                                    [new]
                                                    [pr][new]
                                                    [prompt][new]
                                                    [= prompt = ][new]
                                                        [= prompt = ][new]
"""

from dataclasses import dataclass

from accompgen.time import frames_of


@dataclass(frozen=True)
class Span:
    """One window in blocks of 40 ms: it covers start..stop, and what it adds to the song begins at `new`."""

    start: int
    new: int
    stop: int

    def frames(self, hz: int) -> slice:
        """The window's frames of a stream at `hz` frames a second."""
        return slice(frames_of(self.start, hz), frames_of(self.stop, hz))

    def prompt_frames(self, hz: int) -> int:
        """How many of the window's frames are there already."""
        return frames_of(self.new - self.start, hz)


def plan(song: int, window: int, prompt: int = 0) -> list[Span]:
    """Windows that cover a song, each of `window` blocks and (but for the first) beginning with at least `prompt` known ones.

    Args:
        song: blocks of the song, at least 1.
        window: blocks a window has; a shorter song is one window of its own length.
        prompt: blocks carried over from the window before, less than `window`. With 0 the windows do not depend on each other.

    Returns:
        spans in order; their new parts follow each other without gap or overlap from 0 to `song`.

    Raises:
        ValueError: a length out of range.
    """
    if song < 1 or window < 1 or not 0 <= prompt < window:
        raise ValueError(f"{song=}, {window=}, {prompt=} blocks; expected song and window >= 1 and 0 <= prompt < window")
    spans = []
    while span := next_span(spans[-1].stop if spans else 0, song, True, window, prompt):
        spans.append(span)
    return spans


def next_span(
    known: int, there: int, finished: bool, window: int, prompt: int = 0, hop: int = 0
) -> Span | None:
    """The window that goes on behind `known` blocks, of a song that may still grow; None: it must grow first, or is done.

    Args:
        there: blocks whose context is there.
        finished: whether the song ends with them; only then is a window shorter or moved left.
        window, prompt: as in `plan`.
        hop: blocks that a window adds at most, less than `window - prompt`; 0: all that it can.
    """
    if hop:
        window = min(window, known + hop if prompt else hop)
        prompt = window - hop
    stop = known - prompt + window if known else window
    if stop > there:
        if not finished or known == there:
            return None
        stop = there
    return Span(max(0, stop - window), known, stop)
