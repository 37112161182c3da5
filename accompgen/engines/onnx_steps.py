"""The steps of a stage as one program of ONNX Runtime: a call a step, of several hundred in torch.

torch reads context and prompt (`StageLM.start`) and chooses the first ids. From there on each step
is one run of the graph of onnx_graph.py, from ids to ids: embeddings, transformer, guidance, bias,
temperature, top-k and the draw. Keys and values are the very memory of the stage's cache. What
stands fast of a step (its place, what it hears, its numbers of chance) is one row of a table, which
is copied to where the session reads it. top_p is no part of the graph: with it a step gives logits,
and torch draws.

Weights are float32, or of 8 bits: a scale for every 32 inputs of an output, sums by the processor's
products of integers, and the inputs rounded to 8 bits in blocks of 32 as well. A row's rounding
does not depend on the rows beside it.
"""

from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from torch import nn

from accompgen.engines import EngineError
from accompgen.engines.onnx_graph import BLOCK, StepGraph
from accompgen.layout import BOS
from accompgen.model.attention import Attention, Linear, RelativeBias
from accompgen.model.stage_lm import DecodeState, StageLM
from accompgen.model.transformer import GEGLU, Block, RMSNorm, Transformer

LAYERS = {
    Attention,
    Block,
    GEGLU,
    Linear,
    nn.Dropout,
    nn.ModuleList,
    RelativeBias,
    RMSNorm,
    Transformer,
}  # of a decoder
HEAD_WIDTHS = 8  # of which a head's width must be a multiple


def why_not(model: StageLM, int8: bool = False) -> str | None:
    """Why a stage cannot be decoded: layers that the graph has no nodes for, such as those of a
    model that was prepared for decoding, or sizes that the runtime's operators do not take. None
    where it can."""
    stage, head_width, width = model.config.stage, model.decoder.head_width, model.config.width
    strange = [
        type(layer).__name__ for layer in model.decoder.modules() if type(layer) not in LAYERS
    ]
    if type(model) is not StageLM or strange:
        what = strange[0] if strange else type(model).__name__
        return f"the {stage} stage has a layer {what}, for which the engine 'onnx' builds no graph"
    if any(
        layer.bias is not None
        for block in model.decoder.blocks
        for layer in (block.attention.qkv, block.attention.out)
    ):
        return (
            f"the {stage} stage has biases in its attention, for which the engine 'onnx' builds "
            "no graph"
        )
    if head_width % HEAD_WIDTHS:
        return (
            f"the {stage} stage has heads of {head_width} values, and the engine 'onnx' needs "
            f"a multiple of {HEAD_WIDTHS}"
        )
    if int8 and width % BLOCK:
        return (
            f"the {stage} stage has a width of {width}, and the engine 'onnx-int8' needs "
            f"a multiple of {BLOCK}"
        )
    return None


class OnnxSteps:
    """The compiled steps of a stage.

    Args:
        model: as trained, in float32 on the CPU; not one that was prepared for decoding.
        threads: that a step may use.
        int8: weights of 8 bits in place of float32.

    Raises:
        EngineError: sizes that the runtime's operators do not take.
    """

    def __init__(self, model: StageLM, threads: int = 1, int8: bool = False):
        if reason := why_not(model, int8):
            raise EngineError(f"{reason}; use --engine torch")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # threads that wait take the processor from those that work: see threads.py
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        graph = StepGraph(int8).build(model).SerializeToString()
        self.session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self.slots, self.vocab = model.layout.slots, model.layout.target.vocab
        self.int8, self.name = int8, f"onnx {'int8' if int8 else 'float32'}"  # in reports

    def logits(
        self, state: DecodeState, songs: int, guidance: float = 1.0
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """What `StageLM.step` does for a state that `StageLM.start` made, and guidance of its
        copies of the songs, the null context's last: ids [songs, W] -> logits [songs, W, V].

        The logits are overwritten by the next step.
        """
        return _Bound(self, state, songs, guidance).logits

    def draw(
        self,
        state: DecodeState,
        chances: torch.Tensor,
        guidance: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        bias: torch.Tensor | None = None,
        at: torch.Tensor | None = None,
    ) -> Callable[[np.ndarray, np.ndarray], None]:
        """A step with its choice, as generation/sampling.py makes it: from ids [songs, W] to those
        of the next step, which are written to the second array.

        Args:
            state: as in `logits`.
            chances: of each step that is to come one number in [0, 1) for each slot, float64
                [N, songs, W].
            guidance: weight of the first copy of the songs; the second has the rest to 1. Of one
                copy alone it is 1, whatever is given.
            temperature: 0: always the likeliest id.
            top_k: 0: off.
            bias: added to the logits, float32 [songs, slots of all steps, V]; None: nothing is.
            at: of each step, which rows of the bias are its slots' [N, W].
        """
        if temperature == 0:  # of the likeliest alone the smallest number draws the first
            chances, temperature, top_k = torch.zeros_like(chances), 1.0, 1
        top_k = min(top_k or self.vocab, self.vocab)
        draw = _Bound(self, state, chances.shape[1], guidance, chances)
        draw.set(temperature, top_k, bias, at)
        return draw.draw


class _Bound:
    """A decoding: the session with the memory that it reads and writes."""

    def __init__(self, engine, state, songs, guidance, chances=None):
        self.state, self.session, self.binding = state, engine.session, engine.session.io_binding()
        self.held = []  # arrays that the session reads and writes
        self.first = state.cache.filled - state.first  # the first step to come
        self.songs, self.slots, self.vocab = songs, engine.slots, engine.vocab
        copies = len(state.given[0]) // songs
        table = _table(state, self.first, copies, songs, chances)
        own = np.zeros((), table.dtype)
        for name in own.dtype.names:
            self._read(name, own[name])
        self.own = own.reshape(1).view(np.uint8)
        table = table.view(np.uint8).reshape(len(table), own.nbytes)
        self.steps = list(zip(table, *_history(state, self.first)))
        self.rows = self._read("rows", np.empty((songs, self.slots), np.int64))
        self._read("bias", np.ascontiguousarray(state.bias.numpy()))
        self._read("apart", np.array([copies, songs, 1, state.given[0].shape[-1]]))
        weights = [1.0] if copies == 1 else [guidance, 1 - guidance]
        self._read("guidance", np.array(weights, np.float32).reshape(copies, 1, 1, 1))
        self._bind_cache(state.cache)
        self.set()
        if chances is None:
            given = self._write("logits", np.empty((songs, 1, self.slots * self.vocab), np.float32))
            self.given = torch.from_numpy(given.reshape(songs, self.slots, self.vocab))
        else:
            self.given = self._write("ids", np.empty((songs, self.slots), np.int64))

    def set(self, temperature=1.0, top_k=1, bias=None, at=None):
        """Choose how ids are drawn, see OnnxSteps.draw; nothing where logits are asked for."""
        self._read("temperature", np.array(temperature, np.float32))
        self._read("top_k", np.array([top_k]))
        self.bias, self.at = (None, None) if bias is None else (bias.numpy(), at.numpy())
        shape = (1, 1, 1) if bias is None else (self.songs, self.slots, self.vocab)
        self.own_bias = self._read("logit_bias", np.zeros(shape, np.float32))

    def _bind_cache(self, cache):
        for layer, pair in enumerate(cache.layers):
            for name, grid in zip(("keys", "values"), pair):
                if not grid.is_contiguous():
                    raise EngineError(f"the {name} of layer {layer} do not lie together in memory")
                self._read(f"past_{name}_{layer}", grid.numpy())
                self._write(f"present_{name}_{layer}", grid.numpy())

    def _read(self, name, array):
        return self._bind(self.binding.bind_input, name, array)

    def _write(self, name, array):
        return self._bind(self.binding.bind_output, name, array)

    def _bind(self, bind, name, array):
        bind(name, "cpu", 0, array.dtype, list(array.shape), array.ctypes.data)
        self.held.append(array)
        return array

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """See OnnxSteps.logits."""
        self._run(ids.numpy())
        return self.given

    def draw(self, ids: np.ndarray, drawn: np.ndarray) -> None:
        """See OnnxSteps.draw."""
        self._run(ids)
        drawn[:] = self.given

    def _run(self, ids):
        cache = self.state.cache
        n = cache.filled - self.state.first - self.first
        own, before, there = self.steps[n]
        self.own[:] = own
        if there is None:
            np.add(ids, before, out=self.rows)
        else:
            np.multiply(ids, there, out=self.rows)
            self.rows += before
        if self.bias is not None:
            # in this mode it writes straight into the array
            np.take(self.bias, self.at[n], 1, self.own_bias, "clip")
        self.session.run_with_iobinding(self.binding)
        cache.filled += 1


def _table(state, first, copies, songs, chances):
    """What stands fast of the steps from the first one on: a row for each, of what the session
    reads under these names."""
    steps, (batch, width) = range(first, len(state.given)), state.given[0].shape
    slots = state.rows[0].shape[-1]
    kinds = [
        ("uniform", np.float64, (songs, slots, 1)),
        ("bias_start", np.int64, (1,)),
        ("step", np.int64, ()),
        ("past", np.int32, (batch,)),
        ("total", np.int32, ()),
        ("added", np.float32, (copies, songs, 1, width)),
    ]
    table = np.zeros(len(steps), np.dtype(kinds, align=True))
    at = state.first + np.array(steps)  # positions in the sequence
    table["step"], table["total"] = steps, at + 1
    table["past"], table["bias_start"] = at[:, None], state.bias.shape[-1] - at[:, None] - 1
    table["added"] = torch.stack(state.given).numpy()[first:].reshape(table["added"].shape)
    if chances is not None:
        table["uniform"] = chances.numpy()[..., None]
    return table


def _history(state, first):
    """How ids become the rows of the embedding table that each step from the first one on receives:
    (what is added to them [W], and by what they are multiplied before that [W] or None). An empty
    slot is received as BOS, whatever its id."""
    rows = torch.stack(state.rows).numpy()[first - 1 : -1]
    there = [None if empty is None else (~empty).long().numpy() for empty in state.empty]
    there = there[first - 1 : -1]
    return [of if some is None else np.where(some, of, BOS) for of, some in zip(rows, there)], there
