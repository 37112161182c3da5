"""Attention with a T5 relative bias that never exists as a matrix: FlexAttention computes it inside its kernel, from a table.

Plain attention adds a bias [H, N, N], of which autograd keeps the gradient as well; at N = 3 000 and 10 heads that is 360 MB
each, whatever the batch. Here a logit looks up its distance, its bucket and the bucket's value where it is made, forward and
backward. Source: Dong et al., "Flex Attention", arXiv 2412.05496. PyTorch has the backward pass on GPUs alone: on a CPU this
is for comparison, not for training.
"""

from functools import cache

import torch

from accompgen.model.attention import RelativeBias, relative_buckets


class FlexBias:
    """The bias of a whole sequence, in place of the tensor [H, N, N] that `Transformer.bias` makes.

    Args:
        bias: the module with the learned values; gradients reach them.
        positions: LongTensor [N], in the unit of its max_distance.
        causal: whether a position sees itself and earlier ones of the sequence only.
    """

    def __init__(self, bias: RelativeBias, positions, causal: bool):
        from torch.nn.attention.flex_attention import create_block_mask

        far, device = bias.max_distance, positions.device
        every = torch.arange(-far, far + 1, device=device)
        bucket = relative_buckets(every, len(bias.table), far, bias.signed)  # of a distance + far; beyond it nothing changes
        # One look-up a logit: what is looked up lies in shared memory, where the bucket and its value together were too much
        # for an H200. A head's values lie together, which made a pass 1.7 to 2.6 times as fast there.
        values = (bias.table[bucket] * bias.scale).T.contiguous()  # [H, 2 far + 1]
        at = positions.int()

        def add_bias(logit, row, head, query, key):
            return logit + values[head, (at[query] - at[key]).clamp(-far, far) + far]

        self.add_bias, self.mask = add_bias, None
        if causal:  # blocks of queries and keys that it forbids as a whole are not computed
            length = len(positions)
            self.mask = create_block_mask(lambda row, head, query, key: query >= key, None, None, length, length, device=device)

    def attend(self, q, k, v):
        """Queries, keys and values [B, H, N, d] -> [B, H, N, d]; the logits are scaled by d ** -0.5 before the bias."""
        return _flex_attention(q.device.type)(q, k, v, score_mod=self.add_bias, block_mask=self.mask)


@cache
def _flex_attention(device: str):
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if device == "cuda" else flex_attention  # without a compiler it makes the matrix
