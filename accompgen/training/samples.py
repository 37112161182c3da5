"""Held-out windows as sound for TensorBoard: what a stage makes of the true context, beside the truth."""

import torch

from accompgen.config import TrainConfig
from accompgen.generation.decode import decode, prepare_for_decoding
from accompgen.generation.sampling import PUBLISHED, Sampling
from accompgen.model.stage_lm import StageLM
from accompgen.stages import ACOUSTIC
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.training.listening import HeldOut


class Samples:
    """Generates codes of the first `config.sample_windows` held-out windows and decodes them.

    A stage of codes is heard with the true ones below them, where it reads those. A stage of anything else makes no sound by
    itself.
    """

    def __init__(self, config: TrainConfig, held_out: HeldOut):
        self.config, self.held_out = config, held_out
        self.row = config.model.rows.stage(config.model.stage)
        sounds = config.model.rows.stream(self.row.target).tokenizer == ACOUSTIC
        self.count = min(config.sample_windows, len(held_out.target)) if sounds else 0
        self._codec = AcousticTokenizer.load(config.acoustic_tokenizer) if self.count else None
        self._truth_told = False

    def tell(self, log, model: torch.nn.Module, step: int) -> None:
        """Write the windows as `model` makes them now, and the first time the truth, to `log.sound`."""
        if not self.count:
            return
        for number in range(self.count):
            codes = {"generated": self.generate(model, number)}
            if not self._truth_told:
                codes["truth"] = self.held_out.target[number]
            for name, grid in codes.items():
                log.sound(step, f"{name}/{number + 1}", self._sound(number, grid), self._codec.sample_rate)
        self._truth_told = True

    def generate(self, model: torch.nn.Module, number: int) -> torch.Tensor:
        """Codes [Q, F] of a window under its true context, the same draws each time, none from torch's own generator."""
        with torch.random.fork_rng(devices=[]):  # building draws random weights
            plain = StageLM(self.config.model)
        plain.load_state_dict(model.state_dict())
        plain = prepare_for_decoding(plain.to(next(model.parameters()).device))
        true = (self.held_out.contexts["true"], self.held_out.prefix_ids)
        context, prefix_ids = ({name: ids[number : number + 1] for name, ids in given.items()} for given in true)
        generator = torch.Generator().manual_seed(self.config.seed)
        frames = self.held_out.target.shape[-1]
        # what depends on its context alone is not guided, as in what ships
        sampling = PUBLISHED if self.row.prompt_share else Sampling(guidance=1.0)
        return decode(plain, context, frames, sampling, [generator], prefix_ids=prefix_ids)[0].cpu()

    def _sound(self, number, codes):
        """Codes [Q, F] of this stage's target -> wave [T]."""
        below = [stream.name for stream in self.config.model.rows.codes if stream.name in self.row.context]
        codes = torch.cat([*(self.held_out.contexts["true"][name][number] for name in below), codes])
        with torch.inference_mode():
            return self._codec.decode(codes[None])[0].clamp(-1, 1)
