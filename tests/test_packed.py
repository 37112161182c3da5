"""Layers of a decoding model against the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from accompgen.model.packed import DecodingNorm, PackedLinear, can_pack
from accompgen.model.transformer import RMSNorm


@pytest.mark.skipif(not can_pack("cpu"), reason="this torch has no oneDNN")
@pytest.mark.parametrize("rows", [(1,), (2,), (10,), (2, 33)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_layer_is_the_plain_one_rounded_to_bfloat16(rows, bias):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(48, 32, generator=generator), torch.randn(*rows, 32, generator=generator)
    bias = torch.randn(48, generator=generator) if bias else None
    found = PackedLinear(weight, bias)(x)
    rounded = [None if part is None else part.bfloat16().float() for part in (x, weight, bias)]
    assert found.dtype == torch.bfloat16 and found.shape == (*rows, 48)
    torch.testing.assert_close(found.float(), F.linear(*rounded), rtol=2**-7, atol=2**-7)


def test_the_norm_of_decoding_is_the_norm_of_training():
    plain, x = RMSNorm(8), torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    plain.gain.data = torch.arange(1.0, 9.0)
    norm = DecodingNorm(plain.gain)
    torch.testing.assert_close(norm(x), plain(x), rtol=1e-6, atol=1e-6)
    assert norm(torch.zeros(1, 8)).abs().max() == 0, "silence must stay finite"
