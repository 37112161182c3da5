"""What a person asks of a song in words, for all of it or for a part: `full band`, `0:40-1:10: full
band`. Pure.

A prompt with times holds from its start to its end; one without holds wherever no other does. Times
are m:ss, h:mm:ss or seconds, any of them with a fraction; an end that is left out is the song's.

`no drums` or `without bass` is no matter of taste: who is named so does not play there.
"""

import math
import re
from dataclasses import dataclass, replace

from accompgen.time import blocks_covering, blocks_within

_TIME = r"\d+(?::\d+){0,2}(?:\.\d+)?"
_SPAN = re.compile(rf"\s*({_TIME})\s*[-–—]\s*({_TIME})?\s*:(?!\d)\s*(.*)", re.DOTALL)
# what was meant for times: 0:40-1:10 without a colon behind it, from 0:40 on, 1:2:3:4, 10s-20s
_NEARLY = re.compile(
    r".*?\d:\d\d|\s*\d+:[\d:.]*\d\s*([-–—:]|$)"
    r"|\s*[\d:.]+\s*s?\s*[-–—]\s*[\d:.]*\s*s?\s*:|\s*\d+\s*:\s",
    re.DOTALL,
)
# a phrase of its own: "no drums until the chorus" and "no bass drum" say something else
_ABSENT = (
    r"\b(?:(?:with\s+)?no|without)(?:\s+(?:any|the))?\s+({0}(?:\s*(?:,|,?\s*(?:and|or|nor))\s*(?:no\s+)?{0})*)"
    r"\s*(?=[,;.!]|$|\bbut\b|\bwith\b|\b(?:and\s+)?(?:no|without)\b)"
)
_LEFT_OVER = re.compile(r"\s*[,;]\s*(?=[,;]|$)|^\s*(?:[,;.!]|but\b|and\b|with\b)\s*")  # around such a phrase
EXPECTED = 'such as "0:40-1:10: full band", "1:10-: quiet" or, for the whole song, "soft ballad"'


class PromptError(ValueError):
    """A prompt that cannot be used; the message names its text and says what to write."""


@dataclass(frozen=True)
class Prompt:
    """A text that holds from `start` to `end`, in seconds; `end` may be infinity.

    said: as it was given, to be named in errors; empty: it fills what others leave.
    absent: the stems that it asks not to play; its text does not speak of them.
    """

    start: float
    end: float
    text: str
    said: str = ""
    absent: tuple[str, ...] = ()


def read_prompts(texts, stems=()) -> list[Prompt]:
    """Prompts in the order of time, none overlapping, from what a user gave.

    Args:
        texts: such as ["soft ballad", "0:40-1:10: full band"]; the first of these holds before 0:40
            and after 1:10.
        stems: the names of those that a prompt may ask not to play.

    Raises PromptError for a prompt without text, times that cannot be read, an end that is not
    after its start, two prompts for the same time, or two without times.
    """
    read = [_without(_read(text), stems) for text in texts]
    general = [prompt for prompt in read if prompt.start == -math.inf]
    if len(general) > 1:
        raise PromptError(
            f"prompts {general[0].said!r} and {general[1].said!r} are both for the whole song; "
            f"put them into one, or say when each holds: {EXPECTED}"
        )
    timed = sorted((p for p in read if p.start > -math.inf), key=lambda p: (p.start, p.end))
    for earlier, later in zip(timed, timed[1:]):
        if later.start < earlier.end:
            raise PromptError(
                f"prompts {earlier.said!r} and {later.said!r} overlap from {clock(later.start)} on; "
                "end one of them before the other begins"
            )
    return _filled(timed, general[0]) if general else timed


def fitted(prompts, seconds: float) -> list[Prompt]:
    """The prompts of a song of so many seconds; its end is theirs where theirs is open or lies
    within the last second that has begun.

    Raises PromptError for a prompt that begins or ends after the song.
    """
    for prompt in prompts:
        if prompt.said and prompt.start >= seconds:
            raise PromptError(
                f"prompt {prompt.said!r} begins at {clock(prompt.start)}; "
                f"the song is {clock(seconds)} long"
            )
        if prompt.said and math.ceil(seconds) < prompt.end < math.inf:
            raise PromptError(
                f"prompt {prompt.said!r} ends at {clock(prompt.end)}; the song is "
                f"{clock(seconds)} long; to hold to its end, "
                f'write "{clock(prompt.start)}-: {prompt.text}"'
            )
    inside = [prompt for prompt in prompts if prompt.start < seconds]
    return [replace(prompt, end=min(prompt.end, seconds)) for prompt in inside]


def left_out(prompts) -> tuple[str, ...]:
    """The stems that do not play at all: those that the one prompt, which holds all along, asks not to."""
    return prompts[0].absent if len(prompts) == 1 and prompts[0].start <= 0 and prompts[0].end == math.inf else ()


def rests_of(prompts, stem: str) -> tuple[tuple[int, int], ...]:
    """The blocks in which prompts, as `fitted` gave them, ask a stem not to play: pairs of the first and the one behind the
    last.
    """
    named = [prompt for prompt in prompts if stem in prompt.absent]
    return tuple((blocks_within(each.start), blocks_covering(round(1000 * each.end), 1000)) for each in named)


def text_at(prompts, start: float, end: float) -> str:
    """The text for a window: that of the prompt which covers most of it; "" where most of it has
    none.

    Args:
        prompts: by `read_prompts`, in the order of time. Of two that cover as much, the first.
        start, end: of the window, in seconds.
    """
    covered = {}
    for prompt in prompts:
        seconds = min(prompt.end, end) - max(prompt.start, start)
        if seconds > 0:
            covered[prompt.text] = covered.get(prompt.text, 0.0) + seconds
    if not covered:
        return ""
    text = max(covered, key=covered.get)
    rest = end - start - sum(covered.values())
    return text if covered[text] >= rest else ""


def clock(seconds: float) -> str:
    """1:05.5 of 65.5 seconds, 1:02:03 of 3 723."""
    seconds = round(seconds, 3)
    whole = int(seconds)
    fraction = f"{seconds - whole:.3f}"[1:].rstrip("0").rstrip(".")
    hours, minutes = divmod(whole // 60, 60)
    front = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{front}:{whole % 60:02d}{fraction}"


def _read(said):
    """One prompt; its start is minus infinity where it has no times."""
    match = _SPAN.fullmatch(said)
    if match:
        first, last, text = match.groups()
        start, end = _seconds(first, said), _seconds(last, said) if last else math.inf
        if end <= start:
            raise PromptError(f"prompt {said!r} ends at {last}, not after its start {first}")
    elif _NEARLY.match(said):
        raise PromptError(f"prompt {said!r}: its times cannot be read; write {EXPECTED}")
    else:
        start, end, text = -math.inf, math.inf, said
    text = " ".join(text.split())
    if not text:
        raise PromptError(f"prompt {said!r} has no text; write {EXPECTED}")
    return Prompt(start, end, text, said)


def _without(prompt, stems):
    """A prompt that knows which of the stems it asks not to play."""
    phrase = re.compile(_ABSENT.format(f"(?:{'|'.join(map(re.escape, stems))})"), re.IGNORECASE)
    found = phrase.findall(prompt.text) if stems else []
    if not found:
        return prompt
    absent = tuple(stem for stem in stems if any(re.search(rf"\b{stem}\b", named, re.IGNORECASE) for named in found))
    return replace(prompt, text=_LEFT_OVER.sub("", phrase.sub("", prompt.text)).strip(" ,;"), absent=absent)


def read_time(text: str) -> float:
    """Seconds of a time such as `30.5`, `0:30` or `1:02:03.5`. Raises ValueError for anything else."""
    if not re.fullmatch(_TIME, text):
        raise ValueError(f"{text!r} is no time; expected such as 0:30 or 30.5")
    *larger, seconds = text.split(":")
    if larger and float(seconds) >= 60 or len(larger) == 2 and int(larger[1]) >= 60:
        raise ValueError(f"there is no time {text}; write m:ss or h:mm:ss")
    whole = 0
    for number in larger:
        whole = 60 * whole + int(number)
    return 60.0 * whole + float(seconds)


def _seconds(text, said):
    try:
        return read_time(text)
    except ValueError as error:
        raise PromptError(f"prompt {said!r}: {error}") from error


def _filled(timed, general):
    """The prompts with times, and the general one in the gaps between them."""
    found, now = [], 0.0
    for prompt in timed:
        if prompt.start > now:
            found.append(replace(general, start=now, end=prompt.start, said=""))
        found.append(prompt)
        now = prompt.end
    return [*found, replace(general, start=now, said="")] if now < math.inf else found
