"""Wave to wave: a voice in, a band and a mix out. `Accompanist.accompany` reads like the paper's figure.

vocal -> mono, 16 kHz, one loudness -> + Gaussian noise -> HuBERT units -> chart: beats and chords, where the graph has one
for each stem: vocal units, chart, and units of the stems before it -> semantic -> coarse -> fine -> decoder
stems -> the vocal's rate and length -> balanced against the vocal -> mix
"""

from contextlib import nullcontext
from functools import cached_property

import torch

from accompgen import CHECKPOINT, audio
from accompgen.chart import Chart, ChartError
from accompgen.chart_input import ChartRequest
from accompgen.checkpoint import (
    SEMANTIC_TOKENIZER,
    TEXT_TOKENIZER,
    find_checkpoint,
    read_checkpoint,
    read_graph,
)
from accompgen.component import CheckpointError
from accompgen.device import choose_device
from accompgen.generation.cascade import cascade, whole_song
from accompgen.generation.charting import SONG_OF_STEMS, chart_streams, find_chart, melody_stream
from accompgen.generation.lead_in import begun, rested, silence_of, stays_silent, without_lead_in
from accompgen.generation.limiter import limited
from accompgen.generation.load import load_beat_tracker, load_stages
from accompgen.generation.mixdown import BALANCE_LU, finished
from accompgen.generation.progress import PartProgress, Progress, progress_bar
from accompgen.generation.report import Clock, about_of, asked_for
from accompgen.generation.sampling import PUBLISHED, Sampling
from accompgen.generation.schedule import Part, System
from accompgen.generation.settings import (
    check_seed,
    check_settings,
    chosen_settings,
    chosen_stems,
    faders_of,
    headroom_of,
    sampling_of,
    setting_names,
)
from accompgen.generation.song import Song
from accompgen.generation.two_process import StageWorker, cascade_by_two
from accompgen.generation.two_threads import cascade_by_threads, suits_two_threads
from accompgen.generation.vocal import (
    VOCAL_NOISE,
    Vocal,
    conditioning,
    others_conditioning,
    others_sound,
    read_others,
    read_vocal,
)
from accompgen.generation.windows import Span
from accompgen.model.logit_bias import MELODY
from accompgen.prompts import Prompt, PromptError, fitted, left_out, read_prompts, rests_of, text_at
from accompgen.stages import ALL, FROM_SILENCE, SEMANTIC
from accompgen.time import frames_of, seconds_of, whole_blocks
from accompgen.tokens.load import load_decoder, load_tokenizer
from accompgen.tokens.semantic import SemanticTokenizer
from accompgen.tokens.silence import frames_of_silence
from accompgen.tokens.text import TextTokenizer

LONG_SECONDS = 60.0  # vocals from this length on are worth a second process, which takes some seconds to start


class Accompanist:
    """A loaded checkpoint: the voice's tokenizer, the stages and the decoder on one device.

    `sampling` are its own settings by stage; `helper` is a second process for vocals of LONG_SECONDS or more, `silence`
    what `tokens.silence.frames_of_silence` says, `headroom` and `faders` what settings.py reads of them.
    """

    noise = VOCAL_NOISE  # by default

    def __init__(
        self, semantic_tokenizer, decoder, system: System, about: dict, device: str,
        sampling: dict[str, Sampling] | None = None, helper: StageWorker | None = None, beat_tracker=None,
        text_tokenizer=None, directory=None, silence: dict[str, list[int]] | None = None,
        headroom: dict[str, float] | None = None, faders: dict[str, float] | None = None,
    ):  # fmt: skip
        self.semantic_tokenizer, self.decoder = semantic_tokenizer, decoder
        self.system, self.about, self.device = system, about, device
        self.sampling = sampling or dict.fromkeys(system.graph.stage_names, PUBLISHED)
        self.directory, self._acoustic_tokenizer, self._silent_frames = directory, None, silence
        self.helper, self.beat_tracker, self.text_tokenizer = helper, beat_tracker, text_tokenizer
        self.headroom, self.faders = headroom or {}, faders or {}

    @property
    def stems(self) -> tuple[str, ...]:
        """What it makes by default, in this order: the stems of a band, or one track."""
        return tuple(stem for stem in self.system.graph.stems if stem != ALL) or (ALL,)

    def accompany(
        self,
        vocal,
        seed: int = 0,
        *,
        stems: tuple[str, ...] | None = None,
        chart: Chart | ChartRequest | None = None,
        prompt=None,
        others=None,
        sampling: dict[str, Sampling] | None = None,
        balance: float = BALANCE_LU,
        noise: float = VOCAL_NOISE,
        loudness: float | None = None,
        rate: int | None = None,
        channels: int | None = None,
        progress: bool = False,
        on_progress: Progress | None = None,
    ) -> Song:
        """Make an accompaniment to a vocal of 0.2 s or more. The same seed gives the same song.

        Args:
            vocal: path of a recording, a pair (wav [C, T] or [T], rate in Hz), or what `read_vocal` gave.
            seed: any integer.
            stems: which to make, in this order, each hearing those before it; None: all that the checkpoint makes. Those that
                the prompt asks not to play, as in "no drums", are left out.
            chart: beats, chords and key to play by, any of which may be missing and is found then; None: all are found.
            prompt: what it should sound like, a text or several, such as ["soft ballad", "0:40-1:10: full band"]; None: as it
                comes.
            others: what else is played already, and heard by every stem: a path or a pair as for the vocal, of its length. It
                is in the mix, as loud beside the vocal as it came.
            sampling: stage -> settings; what is None or not given is the checkpoint's own.
            balance: loudness of the accompaniment minus the vocal's, in LU (BS.1770), -40 to 40.
            noise: sigma of the Gaussian noise on the vocal before HuBERT, 0 to 1.
            loudness: of the mix in LUFS (BS.1770), -70 to 0, reached by gain as far as peaks below -1 dBFS allow; None: the
                vocal stays as loud as it is, unless peaks would pass -1 dBFS.
            rate: of the song in Hz, 8 000 to 192 000; None: the vocal's.
            channels: 1 or 2, of the song; None: as many as the decoder has, and the mix as many as the vocal if these are more.
            progress: show a bar with the remaining time on stderr.
            on_progress: called with (what is made, ids decoded so far, ids to decode in all) after every frame; an exception
                that it raises ends the work.

        Raises:
            audio.AudioError: a vocal that cannot be read or used.
            ValueError: a setting out of range, an unknown stem or stage; a chart or others for a checkpoint without them.
        """
        check_settings(balance, noise, loudness, rate, channels)
        check_seed(seed)
        prompts = self._prompts(prompt)
        stems = self.check_stems(stems, prompt)
        clock = Clock()
        with clock("read"):
            vocal = read_vocal(vocal)
            others = None if others is None else self.read_others(vocal, others)
            prompts = fitted(prompts, vocal.seconds)
            text = self.text_of(prompts)
        with clock("vocal_units"):
            units = self.units(vocal, noise, seed)  # [1, S]
        sampling, tokens, sounds, softer = self.settings(sampling), {}, {}, {}
        with progress_bar(vocal.name) if progress else nullcontext() as bar:
            with clock("chart") if self.has_chart else nullcontext():
                begun_units, first = self._begun(units, Part(stems[0]))
                ids = whole_song(self.system, begun_units, sampling, seed, first).all_ids()  # of each stem
                part_progress = PartProgress(len(stems) * ids, bar, on_progress)
                asked, chart = chart, find_chart(self, units, vocal, chart, sampling, seed, text, part_progress.part())
                sung = self.melody(vocal, chart, sampling, units.shape[1])
            for stem in stems:
                with clock("others_units") if self.system.graph.others else nullcontext():
                    given = sung | self.given_streams(chart, others, sounds, units.shape[1])
                part = Part(stem, given, text, rests=rests_of(prompts, stem))
                report = part_progress.part(stem if len(stems) > 1 else "", ids)
                tokens[stem] = self.play(vocal, units, sampling, seed, part, report)
                for stage, seconds in tokens[stem].seconds.items():
                    clock.seconds[stage] = clock.seconds.get(stage, 0.0) + seconds
                with clock("decoder"):  # [C, T] at the decoder's rate
                    sounds[stem], softer[stem] = self.sound_of(stem, tokens[stem].codes, seed)
        settings = asked_for(sampling, balance, noise, loudness, prompt, asked, rate, channels)
        song = finished(self, vocal, seed, settings, tokens, sounds, clock, chart, others)
        limits = {f"{stem}_peaks_softer_db": round(db, 2) for stem, db in softer.items() if db}
        song.report["levels"] |= limits
        return song

    def chart(
        self, vocal, seed: int = 0, *, chart: Chart | ChartRequest | None = None, prompt=None,
        sampling=None, noise: float = VOCAL_NOISE, on_progress: Progress | None = None,
    ) -> Chart:  # fmt: skip
        """Beats, chords and key of a song alone; arguments and errors as `accompany`.

        Raises ChartError for a checkpoint without a chart.
        """
        if not self.has_chart:
            raise ChartError(
                f"the checkpoint {self.about['name']!r} plays without a chart and finds none; choose one of the graph 'band'"
            )
        check_settings(BALANCE_LU, noise)
        check_seed(seed)
        vocal, prompts = read_vocal(vocal), self._prompts(prompt)
        units, text = self.units(vocal, noise, seed), self.text_of(fitted(prompts, vocal.seconds))
        settings = self.settings(sampling)
        return find_chart(self, units, vocal, chart, settings, seed, text, on_progress)

    @property
    def has_chart(self) -> bool:
        """Whether it plays by a chart."""
        return self.system.graph.has_chart

    def check_stems(self, stems, prompt=None) -> tuple[str, ...]:
        """The stems to make, see `chosen_stems`, less those that a prompt for the whole song asks not to play.

        Raises PromptError where none is left.
        """
        chosen = chosen_stems(self.stems if stems is None else stems, self.system.graph.stems)
        absent = left_out(self._prompts(prompt))
        if not set(chosen) - set(absent):
            raise PromptError(
                f"the prompt asks for no {' and no '.join(chosen)}, so nobody is left to play; leave one of them in"
            )
        return tuple(stem for stem in chosen if stem not in absent)

    def settings(self, given: dict[str, Sampling] | None = None) -> dict[str, Sampling]:
        """The settings of each stage, see `chosen_settings`."""
        return chosen_settings(given, self.sampling, setting_names(self.system.graph))

    def units(self, vocal: Vocal, noise: float, seed: int, span: Span | None = None):
        """The units of a vocal [1, S], or of a span of it, encoded by itself; S is even."""
        wav = conditioning(vocal, noise, seed)
        if span is not None:
            wav = wav[:, span.frames(SemanticTokenizer.sample_rate)]
        return self.semantic_tokenizer.encode(wav.to(self.device))

    def sound_of(self, stem, codes, seed, level=0.0):
        """The sound [C, T] of a stem's codes at the decoder's rate, and by how many dB it is softer.

        That is what `limiter.limited` says of its loudest peak, and `level` is that of the whole
        stem, where codes are of a part of it.
        """
        sound = self.decoder.decode(codes[None].to(self.device), seed)[0].cpu().numpy()
        if stem not in self.headroom:
            return sound, 0.0
        return limited(sound, self.decoder.sample_rate, self.headroom[stem], level)

    def play(self, vocal, units, sampling, seed, part, report):
        """The tokens of a stem, see `_drawn`, silent where it rests."""
        begun_units, begun_part = self._begun(units, part)
        tokens = self._drawn(vocal, begun_units, sampling, seed, begun_part, report)
        if begun_part is not part:
            tokens = without_lead_in(self.system.graph, tokens, part)
            if stays_silent(self.system.graph, self._silence, tokens, part):
                tokens = self._drawn(vocal, units, sampling, seed, part, report)
        return rested(self.system.graph, self._silence, tokens, part.rests) if part.rests else tokens

    def _drawn(self, vocal, units, sampling, seed, part, report):
        """The tokens of a stem: by two threads where that is quicker, long ones by two processes where there is a second."""
        if suits_two_threads(self.system):
            return cascade_by_threads(self.system, units, sampling, seed, report, part)
        if self.helper and vocal.seconds >= LONG_SECONDS:
            return cascade_by_two(self.system, units, sampling, seed, self.helper, report, part)
        return cascade(self.system, units, sampling, seed, report, part)

    def _begun(self, units, part):
        """The vocal's units and a part behind what is before the first stroke, see lead_in.py."""
        return begun(self.system.graph, self._silence, units, part) if part.stem in FROM_SILENCE else (units, part)

    @cached_property
    def _silence(self):
        graph = self.system.graph
        # an older checkpoint does not say it, and loading both tokenizers takes seconds
        return silence_of(graph, self._silent_frames or frames_of_silence(graph, self.tokenizer_of, self.device))

    def melody(self, vocal, chart, sampling, frames):
        """The sung notes as Part.given has them, where a stage of stems weighs them."""
        graph = self.system.graph
        names = [stage.name for stage in graph.stages if not graph.made_for_song(stage)]
        weighed = any(sampling[name].melody for name in sampling if name.partition("/")[0] in names)
        if not (weighed and chart):
            return {}
        return {MELODY: melody_stream(chart, vocal, whole_blocks(frames, graph.vocal.hz), SONG_OF_STEMS)}

    def given_streams(self, chart, others, sounds, frames):
        """What a stem is made beside, stream -> ids: the chart, and the units of what is played already."""
        graph, rate = self.system.graph, self.decoder.sample_rate
        blocks, given = whole_blocks(frames, graph.vocal.hz), {}
        if chart is not None:
            given |= chart_streams(graph, chart, blocks)
        played = list(sounds.values())
        if others is not None:
            length = max((wav.shape[1] for wav in played), default=frames_of(blocks, rate))
            played.append(audio.fit(others_sound(others, rate), length))
        if played and graph.others:
            heard = others_conditioning(sum(played), rate, blocks)
            given[graph.others.name] = self.semantic_tokenizer.encode(heard.to(self.device))[None].cpu()
        return given

    def _prompts(self, prompt) -> list[Prompt]:
        """What is asked for in words. Raises PromptError for a prompt that cannot be used, or by this checkpoint."""
        prompts = read_prompts([prompt] if isinstance(prompt, str) else prompt or [], self.stems)
        if prompts and self.text_tokenizer is None:
            raise PromptError(f"the checkpoint {self.about['name']!r} does not read texts; leave the prompt out")
        return prompts

    def prompts(self, prompt, seconds: float) -> list[Prompt]:
        """What a song of so many seconds is asked for in words, as `accompany` takes it and with its errors."""
        return fitted(self._prompts(prompt), seconds)

    def text_of(self, prompts: list[Prompt]):
        """What a window is asked for, as Part.text has it; None without prompts. They are those of `prompts`."""
        if not prompts:
            return None
        pieces = self.system.graph.text_pieces
        return lambda start, stop: self.text_tokenizer.encode(text_at(prompts, seconds_of(start), seconds_of(stop)), pieces)

    def tokenizer_of(self, kind: str):
        """The tokenizer of sound of a kind, SEMANTIC or ACOUSTIC; the latter is loaded when it is asked for."""
        if kind == SEMANTIC:
            return self.semantic_tokenizer
        if self._acoustic_tokenizer is None:
            self._acoustic_tokenizer = load_tokenizer(self.directory, kind, self.device)
        return self._acoustic_tokenizer

    def read_others(self, vocal: Vocal, others) -> Vocal:
        """What is played already, at the vocal's rate and of its length.

        Raises ValueError where the checkpoint hears nothing but the voice, audio.AudioError for another length.
        """
        if self.system.graph.others is None:
            raise ValueError(f"the checkpoint {self.about['name']!r} hears the voice alone; leave out what else is played")
        return read_others(vocal, others)


def load(checkpoint=CHECKPOINT, device: str = "auto", helper: bool = False, engine: str = "auto") -> Accompanist:
    """Load a checkpoint by its name or its directory.

    Args:
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        helper: long vocals get a second process (generation/two_process.py), where the device is a CPU of which torch may use
            two threads or more, and the steps are torch's: compiled ones are shared out between threads. A script that asks
            for it must begin its work under `if __name__ == "__main__":`.
        engine: what makes the steps of the stages, one of engines.ENGINES; see `load_stages`.

    Raises:
        CheckpointError: no such checkpoint, or one that is incomplete, altered, of another format, or whose stages were trained
            on other tokenizers.
        DeviceError: no such device.
        EngineError: an engine that is not there, or cannot decode these stages.
    """
    device = choose_device(device)
    path = find_checkpoint(checkpoint)
    if not read_graph(path).has_units:
        raise CheckpointError(
            f"{path} is single-stage, as MusicGen and STAGE are: it hears sound, and has no units; `generate` plays it, whole"
        )
    verified = read_checkpoint(path)
    system = load_stages(verified, device, engine=engine)
    helper = helper and device == "cpu" and torch.get_num_threads() > 1 and not suits_two_threads(system)
    second = StageWorker(verified, system, engine) if helper else None
    about = about_of(verified)
    return Accompanist(
        SemanticTokenizer.load(verified.component(SEMANTIC_TOKENIZER), device),
        load_decoder(verified.decoder, device),
        system,
        about,
        device,
        sampling_of(path),
        second,
        load_beat_tracker(verified, device),
        TextTokenizer.load(verified.component(TEXT_TOKENIZER)) if TEXT_TOKENIZER in verified.components else None,
        path,
        verified.config.get("silence"),
        headroom_of(verified),
        faders_of(verified),
    )
