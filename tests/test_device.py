"""The device that is picked, on machines with and without GPUs."""

import pytest
import torch

from accompgen.device import DeviceError, choose_device


def machine(monkeypatch, gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    machine(monkeypatch, 2)
    names = ("auto", "cpu", "cuda", "cuda:0", "cuda:1")
    assert [choose_device(name) for name in names] == ["cuda:0", "cpu", "cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(DeviceError, match=r"'cuda:2'; here there are cpu, cuda:0, cuda:1 \(or auto\)$"):
        choose_device("cuda:2")


def test_without_one_it_is_the_cpu_and_a_gpu_is_refused(monkeypatch):
    machine(monkeypatch, 0)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    for name in ("cuda", "cuda:0", "tpu", ""):
        with pytest.raises(DeviceError, match=f"no such device: '{name}'; here there are cpu .* torch finds no GPU"):
            choose_device(name)


def test_training_of_stages_leaves_the_number_of_the_gpu_to_its_processes(monkeypatch):
    from accompgen.training.engine import pick_device

    machine(monkeypatch, 2)
    assert pick_device("auto") == pick_device("cuda") == "cuda"
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES=1"):
        pick_device("cuda:1")
