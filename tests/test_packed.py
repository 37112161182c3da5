"""Layers of a decoding model against the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from accompgen.model.packed import DecodingNorm, PackedLinear, can_pack
from accompgen.model.transformer import RMSNorm


@pytest.mark.skipif(not can_pack("cpu"), reason="this processor or this torch cannot unpack float16 for FBGEMM")
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_layer_is_the_plain_one_with_weights_rounded_to_float16(bias):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(48, 40, generator=generator), torch.randn(10, 3, 40, generator=generator)
    bias = torch.randn(48, generator=generator) if bias else None
    layer = PackedLinear(weight, bias)
    found = layer(x)
    assert found.dtype == torch.float32 and found.shape == (10, 3, 48)
    torch.testing.assert_close(found, F.linear(x, weight.half().float(), bias), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, F.linear(x, weight, bias), rtol=1e-5, atol=1e-5), "the weights were rounded"
    assert layer.elements == 48 * 40 and layer.nbytes == 2 * 48 * 40 + (4 * 48 if bias is not None else 0)
    for rows in (1, 2, 7):
        assert torch.equal(layer(x[:rows]), found[:rows]), "a row does not depend on how many there are"


def test_the_norm_of_decoding_is_the_norm_of_training():
    plain, x = RMSNorm(8), torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    plain.gain.data = torch.arange(1.0, 9.0)
    norm = DecodingNorm(plain.gain)
    torch.testing.assert_close(norm(x), plain(x), rtol=1e-6, atol=1e-6)
    assert norm(torch.zeros(1, 8)).abs().max() == 0, "silence must stay finite"
