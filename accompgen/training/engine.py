"""TrainConfig -> DeepSpeed engine; the only file that imports deepspeed.

One process needs no launcher. Under `deepspeed` or `torchrun` every process calls the same functions, in the same order; what
they decide together goes through `agree` and `gather`. With one process or many,
nothing is compiled at the start unless `compile` asks for it.
"""

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch.utils.checkpoint import checkpoint

from accompgen.config import ConfigError, TrainConfig
from accompgen.device import DeviceError, choose_device
from accompgen.model.transformer import Block, Transformer
from accompgen.training.optimizer import MuonAdamW, sorted_parameters


def deepspeed_settings(config: TrainConfig, world: int) -> dict:
    """DeepSpeed's dictionary. The learning rate is not in it: the loop sets it on the optimizer, step by step."""
    return {
        "train_micro_batch_size_per_gpu": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "train_batch_size": config.batch_size * config.accumulation * world,
        "gradient_clipping": config.clip_norm,
        "zero_optimization": {"stage": config.zero_stage},
        "torch_autocast": {"enabled": config.dtype == "bfloat16", "dtype": "bfloat16"},
        "steps_per_print": 10**9,
    }


def start(model: torch.nn.Module, config: TrainConfig):
    """The DeepSpeed engine of `model`, on this process's device. Weight decay acts on products and embeddings alone.

    Raises:
        ConfigError: deepspeed is not installed, or the device does not exist.
    """
    device = pick_device(config.device)
    if device == "cuda":
        _pick_gpu()
    os.environ.setdefault("DS_ACCELERATOR", device)
    deepspeed = _import_deepspeed()
    _init_processes(deepspeed, device)
    if config.activation_checkpointing:
        _recompute_blocks(model)
    _choose_attention(model, config, device)
    model = model.to(torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else device)
    optimizer = _optimizer(model, config)
    settings = deepspeed_settings(config, torch.distributed.get_world_size())
    engine = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)[0]
    if config.compile:
        engine.module.compile()
    return engine


def _optimizer(model, config):
    inner, decaying, still = sorted_parameters(model)
    if config.optimizer == "adamw":
        inner, decaying = [], inner + decaying
    groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": still, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    return MuonAdamW(inner, groups, config.learning_rate, config.weight_decay, config.betas)


def set_learning_rate(engine, rate: float) -> None:
    """Give every parameter group the learning rate of the coming step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def update(engine) -> float | None:
    """Step after a micro-step's backward pass; where it ends an optimizer step, the norm of the whole gradient before clipping.

    None after a micro-step that is not the last of its optimizer step.
    """
    if not engine.is_gradient_accumulation_boundary():
        engine.step()
        return None
    if engine.zero_optimization():  # no rank holds the whole gradient: the optimizer adds the parts up
        engine.step()
        return float(engine.get_global_grad_norm())
    norm = torch.nn.utils.get_total_norm([p.grad for p in engine.module.parameters() if p.grad is not None])
    engine.step()
    return norm.item()


def save(engine, directory, client_state: dict) -> None:
    """Write model, optimizer and rank 0's `client_state` to a new directory, all ranks together."""
    directory = Path(directory)
    engine.save_checkpoint(str(directory.parent), tag=directory.name, client_state=client_state, save_latest=False)


def load(engine, directory) -> dict:
    """Restore model and optimizer from what `save` wrote; returns its client_state. Raises ConfigError if it is not whole."""
    directory = Path(directory)
    path, client_state = engine.load_checkpoint(str(directory.parent), tag=directory.name)
    if path is None:
        raise ConfigError(f"the training state {directory} is not complete; remove it to start from the state before")
    return client_state


def autocast(config: TrainConfig):
    """The context in which validation runs, with the precision of training."""
    if config.dtype == "float32":
        return nullcontext()
    return torch.autocast(pick_device(config.device), dtype=torch.bfloat16)


def pick_device(name: str) -> str:
    """`cpu` or `cuda` for a configuration's device: which GPU follows from the process. Raises DeviceError."""
    if name.startswith("cuda:"):
        number = name.partition(":")[2]
        raise DeviceError(
            f"device is {name!r}, but each process takes a GPU of its own; set 'cuda' and CUDA_VISIBLE_DEVICES={number}"
        )
    return choose_device(name).partition(":")[0]


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, as the launcher says; (0, 1) without one."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def agree(engine, values: list[float]) -> list[float]:
    """The largest of each value over the ranks, on every rank, so that all take the same decision."""
    if engine.world_size == 1:
        return values
    shared = torch.tensor(values, dtype=torch.float64, device=engine.device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return shared.tolist()


def gather(engine, value) -> list:
    """A picklable value of every rank, in their order, on every rank."""
    if engine.world_size == 1:
        return [value]
    values = [None] * engine.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def mean_over_ranks(engine, value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the ranks."""
    if engine.world_size > 1:
        value = value.clone()
        torch.distributed.all_reduce(value)
        value /= engine.world_size
    return value


def _choose_attention(model, config, device):
    """Leave the bias to FlexAttention on GPUs; on a CPU it has no backward pass."""
    possible = device == "cuda"
    if config.attention == "flex" and not possible:
        raise ConfigError(f"attention is 'flex', which trains on GPUs alone, but the device is {device}; set it to 'auto'")
    for module in model.modules():
        if isinstance(module, Transformer):
            module.flex = possible and config.attention != "plain"


def _recompute_blocks(model):
    """Let every block keep its input alone for the backward pass, which then computes the rest again."""
    for module in model.modules():
        if isinstance(module, Block):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)


def _import_deepspeed():
    try:
        import deepspeed
    except ImportError as error:
        raise ConfigError("training needs deepspeed: pip install 'accompgen[train]'") from error
    return deepspeed


def _pick_gpu():
    """Each process its own GPU, before anything is allocated on one. Raises ConfigError if there are fewer."""
    local, found = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= found:
        raise ConfigError(f"process {local} of this machine finds {found} GPUs; start at most {found} processes on it")
    torch.cuda.set_device(local)


def _init_processes(deepspeed, device):
    if torch.distributed.is_initialized() and deepspeed.comm.is_initialized():
        return
    backend = "nccl" if device == "cuda" else "gloo"
    if "RANK" not in os.environ:  # no launcher: this process meets nobody, and must not race others for a port
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
        # A store in memory: one on the disk would stay behind when the process is killed.
        torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    # Reductions on a CPU through shared memory would be compiled now: half a minute, and a C++ compiler. Gloo needs neither.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(backend, auto_mpi_discovery=False)
