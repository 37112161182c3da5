"""Attention: the T5 bias against a double loop, QK-norm against its formula, the cache against the whole sequence."""

import math

import pytest
import torch

from accompgen.model.attention import Attention, Cache, Linear, RelativeBias, relative_buckets


def bucket_by_hand(distance, buckets, max_distance, signed):
    """T5's rule for one distance, in plain arithmetic."""
    first = 0
    if signed:
        buckets //= 2
        if distance < 0:
            first, distance = buckets, -distance
    distance = max(distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    grown = exact + int(math.log(distance / exact) / math.log(max_distance / exact) * (buckets - exact))
    return first + min(grown, buckets - 1)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("buckets, max_distance", [(32, 128), (32, 1500), (8, 20)])
def test_buckets_equal_a_loop_over_distances(buckets, max_distance, signed):
    distances = list(range(-2000, 2000))
    found = relative_buckets(torch.tensor(distances), buckets, max_distance, signed).tolist()
    assert found == [bucket_by_hand(distance, buckets, max_distance, signed) for distance in distances]
    never = {buckets // 2} if signed else set()  # distance 0 "ahead"
    assert set(found) == set(range(buckets)) - never


def test_bias_equals_a_double_loop_over_positions():
    torch.manual_seed(0)
    bias = RelativeBias(heads=2, scale=3.0, buckets=8, max_distance=20, signed=True)
    for parameter in bias.parameters():
        torch.nn.init.normal_(parameter)
    ticks = [0, 3, 6, 9, 0, 2, 4, 6, 40]
    found = bias(torch.tensor(ticks), torch.tensor(ticks))  # [H, N, N]
    for i in range(len(ticks)):
        for j in range(len(ticks)):
            value = bias.table[bucket_by_hand(ticks[i] - ticks[j], 8, 20, True)]
            torch.testing.assert_close(found[:, i, j], 3.0 * value)
    assert not torch.allclose(found, found.transpose(1, 2))  # time has a direction


def attention(width=12, heads=3, head_width=4, kv_heads=3):
    torch.manual_seed(1)
    layer = Attention(width, heads, kv_heads, head_width, causal=True).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def test_attention_equals_its_formula_position_by_position():
    layer, x = attention(), torch.randn(2, 5, 12)
    bias = torch.randn(3, 5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
    found = layer(x, bias)
    query, key, value = layer.qkv(x).view(2, 5, 3, 3, 4).unbind(2)  # each [B, N, H, d]
    for row in range(2):
        for i in range(5):
            heads = []
            for head in range(3):
                q = query[row, i, head] / query[row, i, head].norm() * 2 * layer.gain[0, 0, head, 0]
                logits = []
                for j in range(i + 1):
                    k = key[row, j, head] / key[row, j, head].norm() * 2 * layer.gain[1, 0, head, 0]
                    logits.append(q @ k / 2 + bias[head, i, j])  # d = 4: sqrt(d) = 2
                heads.append(torch.stack(logits).softmax(0) @ value[row, : i + 1, head])
            torch.testing.assert_close(found[row, i], layer.out(torch.cat(heads)), rtol=1e-4, atol=1e-4)


def test_grouped_queries_share_the_keys_and_values_of_their_group():
    grouped, plain, x = attention(heads=6, kv_heads=2), attention(heads=6, kv_heads=6), torch.randn(2, 5, 12)
    q, k, v = grouped.qkv.weight.data.unflatten(0, (-1, 4)).split((6, 2, 2))  # [heads, d, D]
    gains = grouped.gain.data.split((6, 2))
    k, v, gain = (rows[[0, 0, 0, 1, 1, 1]] for rows in (k, v, gains[1]))  # the first three heads of queries ask the first
    plain.qkv.weight.data = torch.cat([q, k, v]).flatten(0, 1)
    plain.gain.data = torch.stack([gains[0], gain])[:, None]
    plain.out.weight.data = grouped.out.weight.data
    bias = torch.randn(6, 5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
    torch.testing.assert_close(grouped(x, bias), plain(x, bias), rtol=1e-5, atol=1e-5)


def test_logits_do_not_grow_with_the_projections():
    layer, x, bias = attention(), torch.randn(1, 6, 12), torch.zeros(3, 6, 6)
    before = layer(x, bias)
    layer.qkv.weight.data[:24] *= 1000  # queries and keys
    torch.testing.assert_close(layer(x, bias), before, rtol=1e-4, atol=1e-4)


def test_cached_in_pieces_equals_the_whole():
    layer, x = attention(), torch.randn(2, 9, 12)
    bias = torch.randn(3, 9, 9).masked_fill(torch.ones(9, 9).triu(1).bool(), -math.inf)
    cache, parts = Cache(layers=2, rows=2, heads=3, length=9, head_width=4), []
    for start, end in ((0, 5), (5, 6), (6, 9)):
        parts.append(layer(x[:, start:end], bias[:, start:end, :end], cache, layer=1))
        cache.filled = end
    torch.testing.assert_close(torch.cat(parts, 1), layer(x, bias), rtol=1e-5, atol=1e-5)
    assert not cache.keys[0].any(), "another layer's cache was written"


@pytest.mark.parametrize("earlier", [0, 3])
def test_blocks_of_queries_equal_all_at_once(monkeypatch, earlier):
    layer, q = attention(), torch.randn(2, 3, 9, 4)
    k, v = torch.randn(2, 2, 3, 9 + earlier, 4)
    bias = torch.randn(1, 3, 9, 9 + earlier).masked_fill(torch.ones(9, 9 + earlier).triu(1 + earlier).bool(), -math.inf)
    whole = layer._attend(q, k, v, bias)
    monkeypatch.setattr("accompgen.model.attention.QUERIES_AT_ONCE", 4)
    torch.testing.assert_close(layer._attend(q, k, v, bias), whole, rtol=1e-5, atol=1e-5)


def test_a_linear_layer_computes_in_the_type_of_its_weights():
    layer, x = Linear(8, 4), torch.randn(3, 8)
    exact = layer(x)
    layer.bfloat16()
    assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(layer(x).float(), exact, rtol=0.05, atol=0.05)
