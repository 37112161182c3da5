"""tools/mean_weights.py: the mean of two trained stages, and what has none."""

import json
from pathlib import Path

import pytest
import torch

from accompgen.component import load_component, save_component


@pytest.fixture(scope="module")
def mean_weights(load_tools):
    return load_tools("mean_weights")


def stage_like(band_checkpoint, folder, factor):
    config, tensors = load_component(Path(band_checkpoint) / "semantic")
    save_component(folder, config | {"step": factor}, {name: tensor.float() * factor for name, tensor in tensors.items()})
    return folder


def test_the_mean_of_two(mean_weights, band_checkpoint, tmp_path, capsys):
    one, other = (stage_like(band_checkpoint, tmp_path / str(factor), factor) for factor in (1, 3))
    assert mean_weights.main([str(one), str(other), "-o", str(tmp_path / "mean")]) == 0
    (config, found), (_, plain) = load_component(tmp_path / "mean"), load_component(one)
    assert config["step"] == 3 and found.keys() == plain.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, 2 * plain[name])
    assert mean_weights.main([str(one), str(other), "-o", str(tmp_path / "mean")]) == 1
    assert "exists; choose another folder" in capsys.readouterr().err


def test_other_networks_have_none(mean_weights, band_checkpoint, tmp_path):
    one, other = (stage_like(band_checkpoint, tmp_path / str(factor), factor) for factor in (1, 3))
    about = json.loads((other / "config.json").read_text())
    about["tokenizers"]["semantic"] = "0" * 64
    (other / "config.json").write_text(json.dumps(about))
    with pytest.raises(mean_weights.CheckpointError, match="not the same network on the same tokenizers"):
        mean_weights.mean_of([one, other])
    with pytest.raises(mean_weights.CheckpointError, match="needs two parts or more, and 1 is given"):
        mean_weights.mean_of([one])
