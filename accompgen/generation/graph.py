"""Decoding steps that differ in numbers on the device alone, so that a CUDA graph can hold one: no Python between kernels.

Every step attends to the whole cache, of which the bias hides what is not filled yet, and looks up what is its own (bias,
place, chances) by a counter that it moves on itself. On a CPU such steps are slower than those of decode.py, and serve as a
test: the graphs themselves have not run yet on a GPU.
"""

import torch

from accompgen.layout import BOS


class StaticCache:
    """The tensors of an attention.Cache, filled at a position that stands on the device [1]."""

    def __init__(self, cache):
        self.layers, self.gains, self.filled = cache.layers, cache.gains, cache.filled
        self.position = torch.tensor([cache.filled], device=cache.keys.device)

    def extend_by_one(self, layer: int, key, value):
        """Write `key` and `value` [B, H, d] at the position -> all keys and values [B, H, length, d], filled or not."""
        keys, values = self.layers[layer]
        keys.index_copy_(2, self.position, key.unsqueeze(2))
        values.index_copy_(2, self.position, value.unsqueeze(2))
        return keys, values


class StaticSteps:
    """The steps behind the first one of a decoding; on a GPU each is a replayed graph.

    Where heads alternate between codebooks, every one of those `phases` has a graph of its own.

    Args:
        model, state: the StageLM and what its `start` gave.
        ids: [B, W], chosen by the first step.
        choose: (logits [B', W, V], *that step's row of each table) -> ids [B, W].
        slots: [N, W] as in decode.py, from the first step on; negative where empty.
        tables: tensors [N, ...], a row per step.
    """

    def __init__(self, model, state, ids, choose, slots, tables):
        self.model, self.ids, self.choose, self.tables = model, ids.clone(), choose, tables
        self.first = state.cache.filled - state.first - 1  # the step of the target that chose `ids`
        self.cache = StaticCache(state.cache)
        self.n = torch.ones(1, dtype=torch.long, device=ids.device)  # the step that comes next, counted from the first
        self.empty, self.rows = slots < 0, torch.stack(state.rows[self.first :])
        self.given = torch.stack(state.given[self.first :])
        self.bias = model.all_bias(state)  # [H, N - 1, M]
        self.phases = model.layout.target.codebooks // model.layout.slots
        self.graphs = {}  # by phase

    def step(self, n: int) -> None:
        """Do the step n = 1, 2, ... in turn."""
        phase = (self.first + n) % self.phases
        if self.n.is_cuda:
            with torch.cuda.device(self.n.device):
                self._replay(phase)
        else:
            self._step(phase)

    def wait(self) -> None:
        """Until all steps are done, which the graphs must outlive."""
        if self.n.is_cuda:
            torch.cuda.synchronize(self.n.device)

    def _replay(self, phase):
        if phase not in self.graphs:  # the first time without a graph: what libraries set up then cannot be captured
            self.graphs[phase] = None
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._step(phase)
            torch.cuda.current_stream().wait_stream(side)
            return
        if self.graphs[phase] is None:
            self.graphs[phase] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graphs[phase]):
                self._step(phase)  # recorded, not done
        self.graphs[phase].replay()

    def _step(self, phase):
        before = self.n - 1
        rows = (self.ids + self.rows[before]).masked_fill(self.empty[before], BOS)  # [B, W]
        x = self.model.enter(rows, self.given[self.n][0])
        x = self.model.decoder.step(x, self.bias.index_select(1, before)[None], self.cache)
        self.ids.copy_(self.choose(self.model.head(x, phase), *(table[self.n][0] for table in self.tables)))
        self.n.add_(1)
        self.cache.position.add_(1)
