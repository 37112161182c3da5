"""The steps of a stage as one program of ONNX Runtime: a call a step, where torch makes several hundred.

torch reads context and prompt (`StageLM.start`). From there on each step is one run of a graph that is built here from the
stage's weights, operator by operator; nothing is traced or exported. Keys and values are the very memory of the stage's
cache: `GroupQueryAttention` writes a position into it where past and present are one buffer. What stands fast of a step
(its place, what it hears, the bias of its distances) comes in from `DecodeState`. Sampling is torch's.

Weights are float32, or of 8 bits: a scale for every 32 inputs of an output, sums by the processor's products of integers,
and the inputs rounded to 8 bits in blocks of 32 as well. A row's rounding does not depend on the rows beside it.
"""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from accompgen.engines import EngineError
from accompgen.layout import BOS
from accompgen.model.attention import TINY
from accompgen.model.stage_lm import DecodeState, StageLM

OPSET, IR_VERSION, CONTRIB = 17, 10, "com.microsoft"
BLOCK = 32  # inputs that share a scale
HEAD_WIDTHS = 8  # of which a head's width must be a multiple


def why_not(model: StageLM, int8: bool = False) -> str | None:
    """Why a stage's sizes are none that the runtime's operators take; None where they are."""
    stage, head_width, width = model.config.stage, model.decoder.head_width, model.config.width
    if head_width % HEAD_WIDTHS:
        return f"the {stage} stage has heads of {head_width} values, and the engine 'onnx' needs a multiple of {HEAD_WIDTHS}"
    if int8 and width % BLOCK:
        return f"the {stage} stage has a width of {width}, and the engine 'onnx-int8' needs a multiple of {BLOCK}"
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
        graph = _Graph(int8).build(model).SerializeToString()
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.slots, self.vocab = model.layout.slots, model.layout.target.vocab
        self.int8, self.name = int8, f"onnx {'int8' if int8 else 'float32'}"  # in reports

    def bind(self, state: DecodeState) -> Callable[[torch.Tensor], torch.Tensor]:
        """What `StageLM.step` does for a state that `StageLM.start` made: ids [songs, W] -> logits [B, W, V].

        The logits are overwritten by the next step.
        """
        return _Bound(self, state).step


class _Bound:
    """A decoding: the session with the memory that it reads and writes."""

    def __init__(self, engine, state):
        self.state, self.session, self.binding = state, engine.session, engine.session.io_binding()
        batch, _, length, _ = state.cache.layers[0][0].shape
        self.given = torch.stack(state.given).numpy()  # [N, B, D]
        self.rows = torch.stack(state.rows).numpy()  # [N, W]
        there = [np.ones_like(self.rows[0]) if empty is None else ~empty.numpy() for empty in state.empty]
        self.there = np.stack(there).astype(np.int64)
        self.rows = np.where(self.there, self.rows, BOS)  # an empty slot is received as BOS, whatever its id
        self.length, self.batch = length, batch
        self.own = {
            "given": np.empty((batch, 1, self.given.shape[-1]), np.float32),
            "past": np.empty(batch, np.int32),
            "total": np.empty((), np.int32),
            "bias_start": np.empty(1, np.int64),
            "step": np.empty((), np.int64),
            "bias": np.ascontiguousarray(state.bias.numpy()),
        }
        for name, array in self.own.items():
            self._bind(self.binding.bind_input, name, array.dtype, array.shape, array.ctypes.data)
        for layer, pair in enumerate(state.cache.layers):
            for name, grid in zip(("keys", "values"), pair):
                if not grid.is_contiguous():
                    raise EngineError(f"the {name} of layer {layer} do not lie together in memory")
                for bind, of in ((self.binding.bind_input, "past"), (self.binding.bind_output, "present")):
                    self._bind(bind, f"{of}_{name}_{layer}", np.float32, grid.shape, grid.data_ptr())
        self.logits = torch.empty(batch, engine.slots, engine.vocab)
        self._bind(
            self.binding.bind_output, "logits", np.float32, (batch, 1, engine.slots * engine.vocab), self.logits.data_ptr()
        )
        self.ids = None  # made at the first step, which tells how many songs there are

    def _bind(self, bind, name, dtype, shape, address):
        bind(name, "cpu", 0, dtype, list(shape), address)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """See OnnxSteps.bind."""
        if self.ids is None:
            self.ids = np.empty(tuple(ids.shape), np.int64)
            self._bind(self.binding.bind_input, "rows", np.int64, self.ids.shape, self.ids.ctypes.data)
        at, own = self.state.cache.filled, self.own
        n = at - self.state.first  # the step of the target
        np.multiply(ids.numpy(), self.there[n - 1], out=self.ids)
        self.ids += self.rows[n - 1]
        own["given"][:, 0] = self.given[n]
        own["past"].fill(at)
        own["total"].fill(at + 1)
        own["bias_start"].fill(self.length - at - 1)
        own["step"].fill(n)
        self.session.run_with_iobinding(self.binding)
        self.state.cache.filled = at + 1
        return self.logits


class _Graph:
    """Builds the graph of a step.

    Inputs: rows [songs, W] of the embedding table; given [B, 1, D], what the step adds to them; step, its number; past [B]
    and total, the positions in the cache without and with it; bias [1, H, 1, N] and where this step's part of it starts;
    past_keys_l and past_values_l [B, H', N, d]. Outputs: logits [B, 1, W * V], and present_keys_l, present_values_l.
    """

    def __init__(self, int8: bool):
        self.int8, self.nodes, self.weights, self.inputs, self.outputs = int8, [], [], [], []

    def build(self, model: StageLM) -> onnx.ModelProto:
        """The graph of a stage with its weights."""
        decoder, layout = model.decoder, model.layout
        width, heads, kv_heads, head_width = model.config.width, decoder.heads, decoder.kv_heads, decoder.head_width
        batch = ["batch", kv_heads, "length", head_width]
        self._input("rows", TensorProto.INT64, ["songs", layout.slots])
        self._input("given", TensorProto.FLOAT, ["batch", 1, width])
        self._input("past", TensorProto.INT32, ["batch"])
        self._input("total", TensorProto.INT32, [])
        self._input("bias", TensorProto.FLOAT, [1, heads, 1, "length"])
        self._input("bias_start", TensorProto.INT64, [1])
        self._input("step", TensorProto.INT64, [])
        end, axis = self._ints("bias_end", [np.iinfo(np.int64).max]), self._ints("bias_axis", [3])
        self._node("Slice", ["bias", "bias_start", end, axis], "bias_now")
        x, branch = self._embedding(model), None
        for layer, block in enumerate(decoder.blocks):
            x, y = self._norm(x, branch, block.attention_norm, f"attention_norm_{layer}")
            branch = [self._attention(y, block.attention, layer)]
            x, y = self._norm(x, branch, block.feed_forward_norm, f"feed_forward_norm_{layer}")
            branch = self._feed_forward(y, block.feed_forward, layer)
            for name in ("keys", "values"):
                self._input(f"past_{name}_{layer}", TensorProto.FLOAT, batch)
                self._output(f"present_{name}_{layer}", batch)
        _, y = self._norm(x, branch, decoder.norm, "norm")
        self._heads(y, model)
        self._output("logits", ["batch", 1, layout.slots * layout.target.vocab])
        graph = helper.make_graph(self.nodes, "step", self.inputs, self.outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _embedding(self, model):
        """The tokens' embeddings, summed, and what the step adds to them [B, 1, D]; every copy of guidance gets the same."""
        table = self._weight("embedding", model.token_embedding.weight * model.embedding_scale)
        tokens = self._node("Gather", [table, "rows"], "tokens")  # [songs, W, D]
        if model.layout.slots > 1:
            tokens = self._node("ReduceSum", [tokens, self._ints("slot_axis", [1])], "tokens_summed", keepdims=1)
        songs = self._node("Shape", [tokens], "shape_of_songs")  # [songs, 1, D]
        shape = self._node("Concat", [self._ints("any", [-1]), songs], "shape_of_copies", axis=0)
        given = self._node("Reshape", ["given", shape], "given_by_copies")  # [copies, songs, 1, D]
        x = self._node("Add", [given, tokens], "input_by_copies")
        return self._node("Reshape", [x, self._ints("rows_of_input", [-1, 1, model.config.width])], "input")

    def _norm(self, x, branch, norm, name):
        """(x + branch, its RMS norm), `branch` its values and a bias of them, or no bias; without a branch (x, its norm)."""
        gain = self._weight(f"{name}_gain", norm.gain)
        if branch is None:
            return x, self._node("SimplifiedLayerNormalization", [x, gain], name, epsilon=TINY, axis=-1, stash_type=1)
        outputs = [name, "", "", f"{name}_sum"]
        self._node("SkipSimplifiedLayerNormalization", [x, branch[0], gain, *branch[1:]], outputs, CONTRIB, epsilon=TINY)
        return outputs[3], name

    def _attention(self, y, attention, layer):
        heads, kv_heads, head_width = attention.heads, attention.kv_heads, attention.head_width
        both, name = heads + kv_heads, f"attention_{layer}"
        qkv = self._linear(y, attention.qkv.weight, f"{name}_qkv")
        qk, v = f"{name}_qk", f"{name}_v"
        self._node("Split", [qkv, self._ints(f"{name}_parts", [both * head_width, kv_heads * head_width])], [qk, v], axis=-1)
        qk = self._node("Reshape", [qk, self._ints(f"{name}_apart", [-1, both, head_width])], f"{name}_by_head")
        ones = self._weight(f"{name}_ones", torch.ones(head_width))
        qk = self._node("SimplifiedLayerNormalization", [qk, ones], f"{name}_unit", epsilon=TINY, axis=-1, stash_type=1)
        qk = self._node("Mul", [qk, self._weight(f"{name}_gain", attention.gain.flatten(0, -2))], f"{name}_normed")
        qk = self._node("Reshape", [qk, self._ints(f"{name}_together", [-1, 1, both * head_width])], f"{name}_flat")
        q, k = f"{name}_q", f"{name}_k"
        self._node("Split", [qk, self._ints(f"{name}_two", [heads * head_width, kv_heads * head_width])], [q, k], axis=-1)
        cache = [f"{{}}_keys_{layer}", f"{{}}_values_{layer}"]
        inputs = [q, k, v, *(part.format("past") for part in cache), "past", "total", "", "", "", "bias_now"]
        outputs = [f"{name}_heard", *(part.format("present") for part in cache)]
        self._node("GroupQueryAttention", inputs, outputs, CONTRIB, num_heads=heads, kv_num_heads=kv_heads)
        return self._linear(outputs[0], attention.out.weight, f"{name}_out")

    def _feed_forward(self, y, feed_forward, layer):
        name = f"feed_forward_{layer}"
        inner = feed_forward.contract.weight.shape[1]
        y = self._linear(y, feed_forward.expand.weight, f"{name}_expand")
        y = self._node("Add", [y, self._weight(f"{name}_expand_bias", feed_forward.expand.bias)], f"{name}_expanded")
        value, gate = f"{name}_value", f"{name}_gate"
        self._node("Split", [y, self._ints(f"{name}_halves", [inner, inner])], [value, gate], axis=-1)
        gate = self._node("Gelu", [gate], f"{name}_gelu", CONTRIB)
        y = self._node("Mul", [value, gate], f"{name}_product")
        y = self._linear(y, feed_forward.contract.weight, f"{name}_contract")
        return [y, self._weight(f"{name}_contract_bias", feed_forward.contract.bias)]

    def _heads(self, y, model):
        """Logits of the step's slots. Where steps take turns at the codebooks, the head of this one is looked up."""
        heads = model.heads.unflatten(0, (-1, model.layout.slots)).flatten(1, 2)  # [heads of a step, W * V, D]
        if len(heads) == 1:
            self._linear(y, heads[0], "logits")
            return
        turn = self._node("Mod", ["step", self._weight("turns", torch.tensor(len(heads)))], "turn")
        head = self._node("Gather", [self._weight("heads", heads.transpose(1, 2)), turn], "head", axis=0)
        self._node("MatMul", [y, head], "logits")

    def _linear(self, x, weight, name):
        """x times a weight [outputs, inputs]."""
        if not self.int8:
            return self._node("MatMul", [x, self._weight(f"{name}_weight", weight.t())], name)
        outputs, inputs = weight.shape
        blocks = weight.detach().float().reshape(outputs, -1, BLOCK)
        scales = (blocks.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-30)
        ids = ((blocks / scales).round() + 128).to(torch.uint8)
        parts = [x, self._weight(f"{name}_weight", ids), self._weight(f"{name}_scales", scales.flatten())]
        sizes = dict(K=inputs, N=outputs, bits=8, block_size=BLOCK, accuracy_level=4)
        return self._node("MatMulNBits", parts, name, CONTRIB, **sizes)

    def _node(self, operator, inputs, outputs, domain="", **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def _weight(self, name, tensor):
        tensor = tensor.detach()
        array = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def _ints(self, name, values):
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _input(self, name, kind, shape):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))

    def _output(self, name, shape):
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
