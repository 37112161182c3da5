"""Training: positions a second of a step (forward, backward, AdamW) and the share of the processor's arithmetic that it uses.

Beside our StageLM of the coarse stage stands x-transformers' Decoder of the same width, layers, heads and vocabulary, with the
same optimiser, type and number of positions; ours reads its context on top of them, and where codebooks are delayed it predicts
one token of each at a position, x-transformers one alone. Model FLOP are those that the formulas need, whatever is computed
again or masked away: 6 a weight and position in linear layers, and 6 N D a layer and position for causal attention (12 N D
where nothing is masked). The peak is that of a square matrix product of the same type.
"""

import sys
from contextlib import nullcontext

import torch
from bench_peers import xtransformers_decoder
from bench_report import NOT_MEASURED, Options, is_there, progress, rounds, short, table, wait
from torch.nn import functional as F

from accompgen.config import StageConfig
from accompgen.layout import frames_covering
from accompgen.model.stage_lm import StageLM
from accompgen.model.transformer import Transformer
from accompgen.training.loss import stage_loss

STAGE = "coarse"
POCKET = dict(width=256, layers=4, heads=4, context_layers=2, pattern="delay")  # the shipped coarse stage
# name -> (sizes, batch, frames, whether to measure it compiled on a CPU, where compiling takes a minute)
SIZES = {"pocket": (POCKET, 4, 480, True), "35 M": (dict(width=512, layers=8, heads=8, context_layers=2), 2, 150, False)}
CUDA_SIZES = {
    "35 M": (dict(width=512, layers=8, heads=8, context_layers=2), 16, 450, True),
    "250 M": (dict(width=1024, layers=15, heads=16, context_layers=2), 8, 450, True),
}
QUICK_SIZES = {"0.1 M": (dict(width=32, layers=1, heads=2, context_layers=1), 2, 24, False)}
PEAK_SIDE, CUDA_PEAK_SIDE, QUICK_PEAK_SIDE = 2048, 8192, 256


def measure(options: Options) -> dict:
    """Rows: one for every device, size, type and system; ratios: ours over x-transformers."""
    rows, ratios = [], []
    torch.manual_seed(options.seed)
    for device in options.devices:
        if not is_there(device):
            rows.append(dict(device=device, positions_per_second=NOT_MEASURED))
            continue
        sizes = QUICK_SIZES if options.quick else CUDA_SIZES if device == "cuda" else SIZES
        for name, (size, batch, frames, compiled) in sizes.items():
            for dtype in (torch.float32, torch.bfloat16):
                known = dict(device=device, size=name, arithmetic=str(dtype).removeprefix("torch."))
                progress(f"  {device}, {name}, {known['arithmetic']}")
                both = compiled and dtype == torch.bfloat16  # the type that the recipes train in
                found = _in_turn(size, batch, frames, both, dtype, device, options)
                rows += [known | row for row in found[0]]
                ratios += [known | ratio for ratio in found[1]]
    return {"rows": rows, "ratios": ratios}


def _in_turn(size, batch, frames, compiled, dtype, device, options):
    """Rounds of one size in one type -> (rows, ratios)."""
    config = StageConfig(STAGE, **size)
    model = StageLM(config)
    context, target = _ids(model, batch, frames)
    systems = {"accompgen": Step(Ours(model, context, target), flop(model, batch, frames), device, dtype)}
    if compiled:
        other = StageLM(config)
        other.compile()
        systems["accompgen, compiled"] = Step(Ours(other, context, target), flop(model, batch, frames), device, dtype)
    vocab, length = model.layout.target.vocab, model.layout.steps(frames)
    peer = Peer(
        xtransformers_decoder(config.width, config.layers, config.heads, config.heads, vocab, length), batch, length, vocab
    )
    work = stack_flop(config.width, config.layers, batch, length, causal=True) + 6 * batch * length * config.width * vocab
    systems["x-transformers"] = Step(peer, work, device, dtype)
    side = QUICK_PEAK_SIDE if options.quick else CUDA_PEAK_SIDE if device == "cuda" else PEAK_SIDE
    seconds = rounds(systems | {"": Peak(side, device, dtype)}, 2 if options.quick else 3)
    peak, positions = seconds.pop(""), batch * length
    speeds = {name: figure.inverse().times(positions) for name, figure in seconds.items()}
    rows = [
        dict(
            system=name,
            positions_a_step=positions,
            positions_per_second=speed,
            flop_per_position=systems[name].flop / positions,
            peak_flop_per_second=peak,
            utilisation=speed.times(systems[name].flop / positions).over(peak),
        )
        for name, speed in speeds.items()
    ]
    mine = [name for name in speeds if name != "x-transformers"]
    return rows, [dict(of=name, over="x-transformers", ratio=speeds[name].over(speeds["x-transformers"])) for name in mine]


class Step:
    """An optimiser step of a module whose forward gives a loss."""

    def __init__(self, module, flop: float, device: str, dtype):
        self.module, self.flop, self.device, self.dtype = module.to(device).train(), flop, device, dtype
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)

    def __call__(self) -> float:
        """Seconds of one step."""
        started = wait(self.device)
        mixed = torch.autocast(self.device, dtype=self.dtype) if self.dtype != torch.float32 else nullcontext()
        with mixed:
            loss = self.module()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return wait(self.device) - started


class Ours(torch.nn.Module):
    """Our stage with its batch."""

    def __init__(self, model: StageLM, context: dict, target):
        super().__init__()
        self.model, self.names = model, tuple(context)
        for name, grid in context.items():
            self.register_buffer(f"context_{name}", grid)
        self.register_buffer("target", target)

    def forward(self):
        context = {name: getattr(self, f"context_{name}") for name in self.names}
        return stage_loss(self.model(context, self.target), self.target).loss


class Peer(torch.nn.Module):
    """x-transformers' language model with a batch of as many positions."""

    def __init__(self, model, batch: int, length: int, vocab: int):
        super().__init__()
        self.model = model
        self.register_buffer("ids", torch.randint(vocab, (batch, length)))

    def forward(self):
        logits = self.model(self.ids.roll(1, dims=1))  # [B, N, V]
        return F.cross_entropy(logits.flatten(0, 1).float(), self.ids.flatten())


class Peak:
    """FLOP a second of a square matrix product."""

    def __init__(self, side: int, device: str, dtype):
        self.device, self.one = device, torch.randn(side, side, device=device, dtype=dtype)

    def __call__(self) -> float:
        best = float("inf")
        for _ in range(3):
            started = wait(self.device)
            self.one @ self.one
            best = min(best, wait(self.device) - started)
        return 2 * len(self.one) ** 3 / best


def _ids(model, batch, frames):
    layout = model.layout
    target = torch.randint(layout.target.vocab, (batch, layout.target.codebooks, frames))
    context = {
        stream.name: torch.randint(stream.vocab, (batch, stream.codebooks, frames_covering(layout.target, frames, stream)))
        for stream in layout.context
    }
    return context, target


def flop(model: StageLM, batch: int, frames: int) -> float:
    """Model FLOP of a training step of a stage with an aligned context: decoder, context encoder and heads."""
    layout, width = model.layout, model.config.width
    positions, tokens = layout.steps(frames), frames * layout.target.codebooks
    heard = min(frames_covering(layout.target, frames, stream) for stream in layout.context)
    heads = 6 * batch * tokens * width * layout.target.vocab
    encoder = stack_flop(width, model.config.context_layers, batch, heard, causal=False)
    return stack_flop(width, model.config.layers, batch, positions, causal=True) + encoder + heads


def stack_flop(width: int, layers: int, batch: int, length: int, causal: bool) -> float:
    """Model FLOP of forward and backward of a stack of blocks."""
    weights = sum(p.numel() for p in Transformer(width, 1, 1, causal).blocks.parameters() if p.ndim == 2)
    attention = 12 * length * width * (0.5 if causal else 1.0)
    return batch * length * layers * (6 * weights + attention)


def text(measured: dict) -> str:
    """Two tables: systems, and ours over x-transformers."""
    rows = []
    for row in measured["rows"]:
        if row["positions_per_second"] == NOT_MEASURED:
            rows.append([row["device"], *["–"] * 4, NOT_MEASURED, "–", "–"])
            continue
        names = ("device", "size", "arithmetic", "system", "positions_a_step", "positions_per_second")
        used = f"{row['utilisation'].median:.0%} of {short(row['peak_flop_per_second'].median / 1e9)}"
        rows.append([*(row[name] for name in names), short(row["flop_per_position"] / 1e6), used])
    columns = ["device", "size", "arithmetic", "system", "positions", "positions / s", "MFLOP each", "of peak GFLOP / s"]
    names = ("device", "size", "arithmetic", "of", "over", "ratio")
    ratios = [[ratio[name] for name in names] for ratio in measured["ratios"]]
    return table(columns, rows) + "\n" + table([*names[:3], "positions / s of", "over", "ratio"], ratios)


if __name__ == "__main__":
    from bench import main

    sys.exit(main(["training", *sys.argv[1:]]))
