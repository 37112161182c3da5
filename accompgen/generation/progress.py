"""How far the work is: of one cascade, of several in turn, and as a bar."""

import sys
from collections.abc import Callable
from contextlib import contextmanager

DELAY_SECONDS = 0.5  # a fault that is found at once shall stand alone, without a bar above it
Progress = Callable[[str, int, int], None]  # what is made, ids decoded so far, ids to decode in all


class PartProgress:
    """Tells of several cascades, one after the other, as of one. `rest`: ids in those behind the one that plays."""

    def __init__(self, rest: int, *calls: Progress | None):
        self.calls, self.rest, self.before, self.total = [call for call in calls if call], rest, 0, 0

    def part(self, name: str = "", ids: int = 0) -> Progress | None:
        """What the next cascade calls, of which `rest` counts so many ids; None where nobody listens."""
        self.before, self.rest, self.total = self.before + self.total, self.rest - ids, 0
        return self._report(name) if self.calls else None

    def _report(self, name):
        last = 0

        def report(stage: str, done: int, total: int) -> None:
            nonlocal last
            # a cascade that is repeated counts from 0 again, and a bar must not go back
            if done < last:
                self.before += last
            last, self.total = done, total
            for call in self.calls:
                call(f"{name} {stage}".strip(), self.before + done, self.before + total + self.rest)

        return report


@contextmanager
def progress_bar(name):
    """A progress bar on stderr, as a function for the cascade to call."""
    from tqdm import tqdm

    shown = {"file": sys.stderr, "leave": False, "dynamic_ncols": True, "delay": DELAY_SECONDS}
    with tqdm(desc=name, unit="id", **shown) as bar:

        def show(stage: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description(f"{name}: {stage}", refresh=False)
            bar.update(done - bar.n)

        yield show
