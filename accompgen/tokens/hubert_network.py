"""The layers of a HuBERT by the names of transformers.HubertModel, so that its weights fit, without importing that library.

To import transformers takes longer than to make a short song. The tests hold these layers against it. Source of the
network: arXiv 2106.07447; Base normalises the first convolution over time and each block behind its sums, Large normalises
every convolution over channels and each block before its branches.
"""

import torch
from torch import nn
from torch.nn import functional as F

INITIAL_STD = 0.02  # of linear weights, as published


class ConvLayer(nn.Module):
    """Convolution, a norm or none, GELU: [B, C, T] -> [B, C', T'].

    Args:
        norm: "group", per channel over time; "layer", over channels; "": none.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool, norm: str):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, bias=bias)
        self.norm, self.activation = norm, nn.GELU()
        if norm:
            self.layer_norm = nn.GroupNorm(outputs, outputs) if norm == "group" else nn.LayerNorm(outputs)

    def forward(self, x):
        x = self.conv(x)
        if self.norm == "group":
            x = self.layer_norm(x)
        elif self.norm:
            x = self.layer_norm(x.transpose(-2, -1)).transpose(-2, -1)
        return self.activation(x)


class FeatureExtractor(nn.Module):
    """The convolutions of a hubert.HubertConfig."""

    def __init__(self, config):
        super().__init__()
        channels = (1, *config.conv_channels)
        norms = [config.conv_norm if config.conv_norm == "layer" or not index else "" for index in range(len(channels) - 1)]
        sizes = zip(channels, channels[1:], config.conv_kernels, config.conv_strides)
        self.conv_layers = nn.ModuleList(ConvLayer(*size, config.conv_bias, norm) for size, norm in zip(sizes, norms))


class FeatureProjection(nn.Module):
    """What the convolutions give [B, S, C] -> what the transformer reads [B, S, D]."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.layer_norm, self.projection = nn.LayerNorm(channels), nn.Linear(channels, width)

    def forward(self, x):
        return self.projection(self.layer_norm(x))


class PositionConv(nn.Module):
    """A grouped convolution that tells positions [B, S, D] -> [B, S, D]."""

    def __init__(self, width: int, taps: int, groups: int):
        super().__init__()
        conv = nn.Conv1d(width, width, taps, padding=taps // 2, groups=groups)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)

    def forward(self, x):
        return F.gelu(self.conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head attention [B, S, D] -> [B, S, D]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask=None):
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class Block(nn.Module):
    """Attention and feed-forward, normalised before each branch or behind each sum."""

    def __init__(self, width: int, heads: int, inner: int, norm_first: bool):
        super().__init__()
        self.norm_first = norm_first
        self.attention, self.layer_norm = SelfAttention(width, heads), nn.LayerNorm(width)
        self.feed_forward, self.final_layer_norm = FeedForward(width, inner), nn.LayerNorm(width)

    def forward(self, x, attention_mask=None):
        """x [B, S, D]; the mask broadcasts to [B, H, S, S], True where a frame is heard."""
        if self.norm_first:
            x = x + self.attention(self.layer_norm(x), attention_mask)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x, attention_mask))
        return self.final_layer_norm(x + self.feed_forward(x))


class Encoder(nn.Module):
    """Position convolution, norm and blocks; hubert.Hubert.encode runs them."""

    def __init__(self, config):
        super().__init__()
        self.pos_conv_embed = PositionConv(config.width, config.position_taps, config.position_groups)
        self.layer_norm = nn.LayerNorm(config.width)
        sizes = (config.width, config.heads, config.feed_forward, config.norm_first)
        self.layers = nn.ModuleList(Block(*sizes) for _ in range(config.layers))


class HubertNetwork(nn.Module):
    """All layers of a hubert.HubertConfig, randomly initialised as published."""

    def __init__(self, config):
        super().__init__()
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = FeatureProjection(config.conv_channels[-1], config.width)
        self.masked_spec_embed = nn.Parameter(torch.rand(config.width))  # what stands for a masked frame in training
        self.encoder = Encoder(config)
        self.apply(_initialise)


def _initialise(layer):
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=INITIAL_STD)
    elif isinstance(layer, ConvLayer):
        nn.init.kaiming_normal_(layer.conv.weight)
    if isinstance(layer, (nn.Linear, nn.Conv1d)) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
