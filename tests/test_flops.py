"""The formula of model FLOP utilisation against what torch counts."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from accompgen.config import StageConfig
from accompgen.model.stage_lm import StageLM
from accompgen.training.flops import measured_peak, window_flops


@pytest.mark.parametrize(
    "values",
    [
        {"stage": "semantic", "context": "prefix"},
        {"stage": "coarse", "context": "aligned"},
        {"stage": "fine", "context": "aligned", "pattern": "delay"},
        {"stage": "semantic", "context": "aligned", "context_width": 24, "context_pool": 5, "listen": True},
        {"stage": "semantic", "context": "aligned", "context_width": 24, "context_pool": 5, "listen": "alone"},
    ],
)
def test_training_takes_three_times_the_products_of_a_forward_pass(values):
    torch.manual_seed(0)
    values = dict(values)
    listen = values.pop("listen", False)
    sizes = dict(width=16, layers=2, heads=2, context_layers=1, semantic_vocab=20, bins=10)
    model = StageLM(StageConfig(**sizes, **values))
    shapes = {"vocal": (2, 1, 20), "semantic": (2, 1, 20), "coarse": (2, 4, 30), "fine": (2, 4, 30)}
    grids = {name: torch.randint(0, 10, shape) for name, shape in shapes.items()}
    context = {stream.name: grids[stream.name] for stream in model.layout.context}
    target = grids[model.layout.target.name]
    one = {name: ids[:1] for name, ids in context.items()}
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(one, target[:1], listen=listen)
    assert window_flops(model, context, target, listen) == pytest.approx(3 * counted.get_total_flops(), rel=0.02)
    assert model.training  # as it was


def test_a_device_is_measured_by_a_product():
    before = torch.get_rng_state()
    assert 1e8 < measured_peak(torch.device("cpu"), "float32") < 1e14
    assert torch.equal(torch.get_rng_state(), before)
