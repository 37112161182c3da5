"""A step of a stage as a graph of ONNX, from the ids of the step before to its own.

It is built from the stage's weights, operator by operator; nothing is traced or exported. Keys and
values are written where they are read: `GroupQueryAttention` takes past and present in one buffer.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from accompgen.model.attention import TINY
from accompgen.model.stage_lm import StageLM

OPSET, IR_VERSION, CONTRIB = 17, 10, "com.microsoft"
BLOCK = 32  # inputs that share a scale


class StepGraph:
    """Builds the graph of a step, for a batch of as many copies of the songs as guidance mixes.

    Inputs of the network: rows [songs, W] of the embedding table; added [copies, songs, 1, D], what
    the step adds to them; step, its number; past [B] and total, the positions in the cache without
    and with it; bias [1, H, 1, N] and where this step's part of it starts; past_keys_l and
    past_values_l [B, H', N, d].
    Inputs of the choice: apart, the shape [copies, songs, 1, D]; guidance, each copy's weight
    [copies, 1, 1, 1]; logit_bias [songs, W, V] or [1, 1, 1]; temperature; top_k [1]; uniform
    [songs, W, 1].
    Outputs: ids [songs, W]; logits [songs, 1, W * V], without the bias; present_keys_l and
    present_values_l.
    """

    def __init__(self, int8: bool):
        self.int8, self.nodes, self.weights, self.inputs, self.outputs = int8, [], [], [], []

    def build(self, model: StageLM) -> onnx.ModelProto:
        """The graph of a stage with its weights."""
        decoder, layout = model.decoder, model.layout
        width, heads, kv_heads, head_width = (
            model.config.width,
            decoder.heads,
            decoder.kv_heads,
            decoder.head_width,
        )
        batch = ["batch", kv_heads, "length", head_width]
        self._input("rows", TensorProto.INT64, ["songs", layout.slots])
        self._input("added", TensorProto.FLOAT, ["copies", "songs", 1, width])
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
        self._heads(self._guided(y), model)
        self._output("logits", ["songs", 1, layout.slots * layout.target.vocab])
        self._draw(layout.slots, layout.target.vocab)
        graph = helper.make_graph(self.nodes, "step", self.inputs, self.outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _embedding(self, model):
        """The tokens' embeddings, summed, and what the step adds to them [B, 1, D]; every copy of
        guidance gets the same tokens."""
        table = self._weight("embedding", model.token_embedding.weight * model.embedding_scale)
        tokens = self._node("Gather", [table, "rows"], "tokens")  # [songs, W, D]
        if model.layout.slots > 1:
            tokens = self._node(
                "ReduceSum", [tokens, self._ints("slot_axis", [1])], "tokens_summed", keepdims=1
            )
        x = self._node("Add", ["added", tokens], "input_by_copies")  # [copies, songs, 1, D]
        return self._node(
            "Reshape", [x, self._ints("rows_of_input", [-1, 1, model.config.width])], "input"
        )

    def _norm(self, x, branch, norm, name):
        """(x + branch, its RMS norm), `branch` its values and a bias of them, or no bias; without a
        branch (x, its norm)."""
        gain = self._weight(f"{name}_gain", norm.gain)
        if branch is None:
            return x, self._node(
                "SimplifiedLayerNormalization", [x, gain], name, epsilon=TINY, axis=-1, stash_type=1
            )
        outputs = [name, "", "", f"{name}_sum"]
        self._node(
            "SkipSimplifiedLayerNormalization",
            [x, branch[0], gain, *branch[1:]],
            outputs,
            CONTRIB,
            epsilon=TINY,
        )
        return outputs[3], name

    def _attention(self, y, attention, layer):
        heads, kv_heads, head_width = attention.heads, attention.kv_heads, attention.head_width
        both, name = heads + kv_heads, f"attention_{layer}"
        qkv = self._linear(y, attention.qkv.weight, f"{name}_qkv")
        qk, v = f"{name}_qk", f"{name}_v"
        self._split(qkv, [both * head_width, kv_heads * head_width], [qk, v])
        qk = self._node(
            "Reshape", [qk, self._ints(f"{name}_apart", [-1, both, head_width])], f"{name}_by_head"
        )
        ones = self._weight(f"{name}_ones", torch.ones(head_width))
        qk = self._node(
            "SimplifiedLayerNormalization",
            [qk, ones],
            f"{name}_unit",
            epsilon=TINY,
            axis=-1,
            stash_type=1,
        )
        qk = self._node(
            "Mul",
            [qk, self._weight(f"{name}_gain", attention.gain.flatten(0, -2))],
            f"{name}_normed",
        )
        qk = self._node(
            "Reshape",
            [qk, self._ints(f"{name}_together", [-1, 1, both * head_width])],
            f"{name}_flat",
        )
        q, k = f"{name}_q", f"{name}_k"
        self._split(qk, [heads * head_width, kv_heads * head_width], [q, k])
        cache = [f"{{}}_keys_{layer}", f"{{}}_values_{layer}"]
        inputs = [
            q,
            k,
            v,
            *(part.format("past") for part in cache),
            "past",
            "total",
            "",
            "",
            "",
            "bias_now",
        ]
        outputs = [f"{name}_heard", *(part.format("present") for part in cache)]
        self._node(
            "GroupQueryAttention", inputs, outputs, CONTRIB, num_heads=heads, kv_num_heads=kv_heads
        )
        return self._linear(outputs[0], attention.out.weight, f"{name}_out")

    def _feed_forward(self, y, feed_forward, layer):
        name = f"feed_forward_{layer}"
        inner = feed_forward.contract.weight.shape[1]
        y = self._linear(y, feed_forward.expand.weight, f"{name}_expand")
        y = self._node(
            "Add",
            [y, self._weight(f"{name}_expand_bias", feed_forward.expand.bias)],
            f"{name}_expanded",
        )
        value, gate = f"{name}_value", f"{name}_gate"
        self._split(y, [inner, inner], [value, gate])
        gate = self._node("Gelu", [gate], f"{name}_gelu", CONTRIB)
        y = self._node("Mul", [value, gate], f"{name}_product")
        y = self._linear(y, feed_forward.contract.weight, f"{name}_contract")
        return [y, self._weight(f"{name}_contract_bias", feed_forward.contract.bias)]

    def _heads(self, y, model):
        """Logits [songs, 1, W * V] of the step's slots. Where steps take turns at the codebooks,
        the head of this one is looked up."""
        heads = model.heads.unflatten(0, (-1, model.layout.slots))
        heads = heads.flatten(1, 2)  # [heads of a step, W * V, D]
        if len(heads) == 1:
            self._linear(y, heads[0], "logits")
            return
        turn = self._node("Mod", ["step", self._weight("turns", torch.tensor(len(heads)))], "turn")
        head = self._node(
            "Gather", [self._weight("heads", heads.transpose(1, 2)), turn], "head", axis=0
        )
        self._node("MatMul", [y, head], "logits")

    def _guided(self, y):
        """The sum of the copies of y [B, 1, D] by the weights of guidance [songs, 1, D].

        The heads are linear, so this is guidance of the logits, and they read half as many rows.
        """
        self._input("apart", TensorProto.INT64, [4])
        self._input("guidance", TensorProto.FLOAT, ["copies", 1, 1, 1])
        copies = self._node("Reshape", [y, "apart"], "output_by_copies")
        weighed = self._node("Mul", [copies, "guidance"], "copies_weighed")
        return self._node(
            "ReduceSum", [weighed, self._ints("copy_axis", [0])], "guided", keepdims=0
        )

    def _draw(self, slots, vocab):
        """The ids that the numbers draw from the logits, as generation/sampling.py does: in the
        order of the ids, from probabilities in float32 that are summed up in float64."""
        self._input("logit_bias", TensorProto.FLOAT, ["bias_songs", "bias_slots", "bias_ids"])
        self._input("temperature", TensorProto.FLOAT, [])
        self._input("top_k", TensorProto.INT64, [1])
        self._input("uniform", TensorProto.DOUBLE, ["songs", slots, 1])
        last, by_slot = self._ints("last_axis", [-1]), self._ints("by_slot", [-1, slots, vocab])
        x = self._node("Reshape", ["logits", by_slot], "logits_apart")
        x = self._node("Add", [x, "logit_bias"], "logits_biased")
        x = self._node("Div", [x, "temperature"], "logits_tempered")
        likeliest = ["likeliest", "likeliest_ids"]
        self._node("TopK", [x, "top_k"], likeliest, axis=-1, sorted=0)
        least = self._node("ReduceMin", likeliest[:1], "least", axes=[-1], keepdims=1)
        kept = self._node("GreaterOrEqual", [x, least], "kept")
        kept = self._node("Cast", [kept], "kept_as_factor", to=TensorProto.FLOAT)
        chances = self._node("Softmax", [x], "chances", axis=-1)
        chances = self._node("Mul", [chances, kept], "chances_kept")
        chances = self._node("Cast", [chances], "chances_in_float64", to=TensorProto.DOUBLE)
        axis, last_id = self._weight("sum_axis", torch.tensor(-1)), self._ints("end", [vocab - 1])
        sums = self._node("CumSum", [chances, axis], "chances_summed")
        total = self._node("Gather", [sums, last_id], "chances_in_all", axis=-1)
        # below the last sum, since a number is below 1: the id found is always one that was kept
        threshold = self._node("Mul", ["uniform", total], "threshold")
        below = self._node("LessOrEqual", [sums, threshold], "ids_below")
        # float32 counts them exactly
        below = self._node("Cast", [below], "ids_below_as_ones", to=TensorProto.FLOAT)
        below = self._node("ReduceSum", [below, last], "ids_below_counted", keepdims=0)
        self._node("Cast", [below], "ids", to=TensorProto.INT64)
        self._output("ids", ["songs", slots], TensorProto.INT64)

    def _linear(self, x, weight, name):
        """x times a weight [outputs, inputs]."""
        if not self.int8:
            return self._node("MatMul", [x, self._weight(f"{name}_weight", weight.t())], name)
        outputs, inputs = weight.shape
        blocks = weight.detach().float().reshape(outputs, -1, BLOCK)
        scales = (blocks.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-30)
        ids = ((blocks / scales).round() + 128).to(torch.uint8)
        parts = [
            x,
            self._weight(f"{name}_weight", ids),
            self._weight(f"{name}_scales", scales.flatten()),
        ]
        sizes = dict(K=inputs, N=outputs, bits=8, block_size=BLOCK, accuracy_level=4)
        return self._node("MatMulNBits", parts, name, CONTRIB, **sizes)

    def _split(self, x, sizes, outputs):
        """The parts of the last axis, of these sizes and under these names."""
        self._node("Split", [x, self._ints(f"sizes_of_{outputs[0]}", sizes)], outputs, axis=-1)

    def _node(self, operator, inputs, outputs, domain="", **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(
            helper.make_node(
                operator, inputs, outputs, name=outputs[0], domain=domain, **attributes
            )
        )
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

    def _output(self, name, shape, kind=TensorProto.FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))
