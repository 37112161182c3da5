"""MusicGen and STAGE: sound to codes to sound, without units and charts.

`accompany` reads from top to bottom:

the voice, what else is played, the stems made so far, maybe a click -> mono -> codes of the mixture
for each stem: mixture, text -> codes, in windows that begin with what those before them gave
codes -> the codec's own decoder -> mixed as every song is
"""

from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from accompgen import CHECKPOINT, audio
from accompgen.chart import Chart, ChartError
from accompgen.chart_input import ChartRequest
from accompgen.checkpoint import (
    ACOUSTIC_TOKENIZER,
    TEXT_ENCODER,
    find_checkpoint,
    read_checkpoint,
    read_graph,
)
from accompgen.device import choose_device
from accompgen.engines import EngineError
from accompgen.generation import pipeline
from accompgen.generation.cascade import Tokens
from accompgen.generation.decode import decode
from accompgen.generation.load import load_single_stage
from accompgen.generation.mixdown import BALANCE_LU, finished
from accompgen.generation.progress import PartProgress, Progress, progress_bar
from accompgen.generation.report import Clock, about_of, asked_for
from accompgen.generation.sampling import LOGIT_WEIGHTS, Sampling
from accompgen.generation.schedule import System
from accompgen.generation.settings import check_seed, check_settings, chosen_settings, chosen_stems, sampling_of
from accompgen.generation.song import Song
from accompgen.generation.vocal import VOCAL_LUFS, Vocal, read_others, read_vocal
from accompgen.generation.windows import plan
from accompgen.model.single_stage import TEXT
from accompgen.prompts import PromptError, fitted, read_prompts, text_at
from accompgen.seeding import make_generator
from accompgen.time import blocks_covering, blocks_of, frames_of, seconds_of
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.decoder import EncodecDecoder
from accompgen.tokens.t5 import T5Encoder

# The click is librosa's, as STAGE's is: a sine that halves its level ten times in a tenth of a
# second
CLICK_HZ, CLICK_SECONDS, HALVINGS = 1000.0, 0.1, 10.0
# beside a mixture, as in one of the two places of STAGE's code where clicks are summed; the paper
# says none
CLICK_GAIN = 0.5

WITHOUT_BEATS = (
    "a click needs beats: give --bpm or --beats, such as those that `accompgen chart` finds with a "
    "checkpoint that has a chart"
)


class SingleStagePlayer:
    """A loaded checkpoint of a single-stage graph, with the methods of `pipeline.Accompanist` that
    make songs.
    """

    has_chart = False
    noise = 0.0  # none is added before the voice is encoded
    faders: ClassVar[dict[str, float]] = {}  # its stems are as loud as they come

    def __init__(
        self,
        system: System,
        codec: AcousticTokenizer,
        encoder: T5Encoder | None,
        about: dict,
        device,
        sampling,
    ):
        self.system, self.codec, self.decoder, self.encoder = (
            system,
            codec,
            EncodecDecoder(codec),
            encoder,
        )
        self.about, self.device, self.sampling = about, device, sampling

    @property
    def stems(self) -> tuple[str, ...]:
        """What it makes by default, in this order."""
        return self.system.graph.stems

    def check_stems(self, stems, prompt=None) -> tuple[str, ...]:
        """The stems to make, see `settings.chosen_stems`; what a prompt asks not to play, the model itself may understand."""
        return chosen_stems(self.stems if stems is None else stems, self.stems)

    def settings(self, given: dict[str, Sampling] | None = None) -> dict[str, Sampling]:
        """The settings of each stage, see `settings.chosen_settings`.

        Raises ValueError for what only stages of units follow, too.
        """
        found = chosen_settings(given, self.sampling)
        for stage, sampling in found.items():
            if any(vars(sampling.weights).values()):
                raise ValueError(
                    f"the {stage} stage hears no units; leave {', '.join(LOGIT_WEIGHTS)} out"
                )
        return found

    def accompany(
        self,
        vocal,
        seed: int = 0,
        *,
        stems: tuple[str, ...] | None = None,
        chart: Chart | ChartRequest | None = None,
        prompt=None,
        others=None,
        click: bool = False,
        sampling: dict[str, Sampling] | None = None,
        balance: float = BALANCE_LU,
        noise: float = 0.0,
        loudness: float | None = None,
        rate: int | None = None,
        channels: int | None = None,
        progress: bool = False,
        on_progress: Progress | None = None,
    ) -> Song:
        """Make an accompaniment to a vocal of 0.2 s or more. Arguments and errors are those of
        `Accompanist.accompany`, but for

        Args:
            chart: its beats, for the click alone.
            prompt: what a T5 reads, such as "Genres: rock, pop. Moods: happy. " for a STAGE.
            click: sum a click on the beats of `chart` to what the stems hear; it is not in the mix.
            noise: 0; none is added here.

        Raises:
            ValueError: as there; a noise, others or a click for a checkpoint that hears nothing.
            ChartError: a chart without a click, or a click without beats.
        """
        check_settings(balance, noise, loudness, rate, channels)
        check_seed(seed)
        self._check_asked(noise, others, click, chart)
        stems, sampling = self.check_stems(stems), self.settings(sampling)
        clock, tokens, sounds = Clock(), {}, {}
        with clock("read"):
            vocal = read_vocal(vocal)
            others = None if others is None else read_others(vocal, others)
            heard = self._heard(vocal, others)
            ticks = self._click(chart, vocal.seconds, heard.shape[1]) if click else 0.0
        with clock("text"):
            text = self._text(prompt, vocal.seconds)
        blocks = blocks_covering(vocal.wav.shape[1], vocal.rate)
        with progress_bar(vocal.name) if progress else nullcontext() as bar:
            part_progress = PartProgress(len(stems) * self._ids(blocks), bar, on_progress)
            for stem in stems:
                with clock("context"):
                    context = self._context(heard, ticks, sounds, blocks)
                with clock(stem):
                    report = part_progress.part("", self._ids(blocks))
                    codes = self._play(stem, context, blocks, text, sampling[stem], seed, report)
                tokens[stem] = Tokens(
                    torch.zeros(1, 0, dtype=torch.long), codes, {stem: clock.seconds[stem]}
                )
                with clock("decoder"):
                    sounds[stem] = self.decoder.decode(codes[None])[0].cpu().numpy()
        asked = asked_for(
            sampling, balance, noise, loudness, prompt, chart, rate, channels, click
        )
        return finished(self, vocal, seed, asked, tokens, sounds, clock, None, others)

    def _check_asked(self, noise, others, click, chart):
        name = self.about["name"]
        if noise:
            raise ValueError(
                f"noise is {noise}; the checkpoint {name!r} encodes the voice as it is; leave it out"
            )
        if (others is not None or click) and self.system.graph.others is None:
            raise ValueError(
                f"the checkpoint {name!r} hears nothing; "
                "leave out what else is played, and the click"
            )
        if chart is not None and not click:
            raise ChartError(
                f"the checkpoint {name!r} plays without a chart; "
                "with a click (--click) it hears the beats of one"
            )
        if click and chart is None:
            raise ChartError(WITHOUT_BEATS)

    def _heard(self, vocal: Vocal, others) -> np.ndarray:
        """The voice and what else is played, as they are to each other, mono [1, T] at the codec's
        rate and one loudness.
        """
        mono = audio.downmix(vocal.wav)
        if others is not None:
            mono = mono + audio.downmix(others.wav)
        gain = 10 ** ((VOCAL_LUFS - audio.loudness(mono, vocal.rate)) / 20)
        return audio.resample(mono, vocal.rate, self.codec.sample_rate)[None] * np.float32(gain)

    def _click(self, chart, seconds, samples) -> np.ndarray:
        """The click [1, T]: beats and those that begin a bar summed, and clipped."""
        if isinstance(chart, ChartRequest):
            chart = chart.with_beats(Chart(seconds))
        if not chart.beats:
            raise ChartError(WITHOUT_BEATS)
        rate = self.codec.sample_rate
        times = np.arange(round(CLICK_SECONDS * rate)) / rate
        sound = np.sin(2 * np.pi * CLICK_HZ * times) * 2 ** (-HALVINGS * times / CLICK_SECONDS)
        track = np.zeros(samples + len(sound))
        for time, place in chart.beats:
            start = round(time * rate)
            if 0 <= start < samples:
                track[start : start + len(sound)] += sound * (2 if place == 1 else 1)
        return CLICK_GAIN * np.clip(track[None, :samples], -1, 1).astype(np.float32)

    def _context(self, heard, click, sounds, blocks) -> torch.Tensor | None:
        """Codes [1, Q, F] of all that is played so far, so many blocks of it; None for a checkpoint
        that hears nothing.
        """
        if self.system.graph.others is None:
            return None
        mixture = heard + click
        for sound in sounds.values():
            mixture = mixture + audio.fit(sound, heard.shape[1])
        mixture = audio.fit(
            np.clip(mixture, -1, 1).astype(np.float32), frames_of(blocks, self.codec.sample_rate)
        )
        return self.codec.encode(torch.from_numpy(mixture)).cpu()

    def _text(self, prompt, seconds):
        """The text of a window of blocks: its states [1, L * D'], as `decode` takes them; None
        without a prompt.
        """
        prompts = read_prompts([prompt] if isinstance(prompt, str) else prompt or [])
        if not prompts:
            return None
        if self.encoder is None:
            name = self.about["name"]
            raise PromptError(
                f"the checkpoint {name!r} reads no texts; "
                "adopt it with --t5, or leave the prompt out"
            )
        prompts, states = fitted(prompts, seconds), {}

        def prefix_ids(span):
            text = text_at(prompts, seconds_of(span.start), seconds_of(span.stop))
            if text and text not in states:
                states[text] = self.encoder.encode(text).flatten()[None]
            return {TEXT: states[text]} if text else {}

        return prefix_ids

    def _play(self, stem, context, blocks, text, sampling, seed, report) -> torch.Tensor:
        """The codes [Q, F] of a stem."""
        stage, row = self.system.stages[stem], self.system.graph.stage(stem)
        target = stage.model.layout.target
        window, generator = blocks_of(stage.window_seconds), make_generator(seed, stem, 0)
        codes, done = torch.zeros(1, target.codebooks, 0, dtype=torch.long), 0

        def tick(whole, frames):
            nonlocal done
            done += target.codebooks
            if report:
                report(stem, done, self._ids(blocks))

        for span in plan(blocks, window, int(window * row.prompt_share)):
            prefix_ids = text(span) if text else {}
            heard = {name: context[..., span.frames(target.hz)] for name in row.context}
            # without anything to hear or to read both halves of guidance say the same
            settings = sampling if heard or prefix_ids else replace(sampling, guidance=1.0)
            prompt = codes[..., frames_of(span.start, target.hz) :]
            frames = frames_of(span.stop - span.start, target.hz)
            ids = decode(stage.model, heard, frames, settings, [generator], prompt, tick, prefix_ids)
            codes = torch.cat([codes, ids.cpu()[..., prompt.shape[-1] :]], dim=-1)
        return codes[0]

    def _ids(self, blocks):
        """Ids of a stem, as progress counts them."""
        target = next(iter(self.system.stages.values())).model.layout.target
        return frames_of(blocks, target.hz) * target.codebooks


def load(checkpoint, device: str = "auto") -> SingleStagePlayer:
    """Load a checkpoint of a single-stage graph; arguments and errors as `pipeline.load`."""
    device, path = choose_device(device), find_checkpoint(checkpoint)
    verified = read_checkpoint(path)
    graph, has_text = verified.graph, TEXT_ENCODER in verified.components
    stages = {
        name: load_single_stage(verified.component(name), name, graph, device)
        for name in graph.stage_names
    }
    return SingleStagePlayer(
        System(graph, stages),
        AcousticTokenizer.load(verified.component(ACOUSTIC_TOKENIZER), device, any_rate=True),
        T5Encoder.load(verified.component(TEXT_ENCODER), device) if has_text else None,
        about_of(verified),
        device,
        sampling_of(path),
    )


def load_any(
    checkpoint=CHECKPOINT, device: str = "auto", helper: bool = False, engine: str = "auto"
):
    """A checkpoint of whatever graph, by its name or directory; arguments and errors as
    `pipeline.load`. Those of a single-stage graph are decoded by torch alone.
    """
    if read_graph(find_checkpoint(checkpoint)).has_units:
        return pipeline.load(checkpoint, device, helper, engine)
    if engine not in ("auto", "torch"):
        raise EngineError(f"{checkpoint} is decoded by torch alone; leave the engine {engine!r} out")
    return load(checkpoint, device)
