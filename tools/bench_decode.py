"""Decoding: guided steps a second of every stage, beside peers of its size, and the share of the memory's bandwidth.

A step makes the next position of all songs, for the two rows of guidance each, and samples. Timed are the steps behind a cache
that holds as many positions in every system; reading the prompt and the first step are not. Beside torch's float16 weights the
stages are decoded by ONNX Runtime, too (engines/onnx_steps.py). The systems and the bandwidth take turns, and a ratio is the
median of the ratios of the rounds.
"""

import gc
import sys

import torch
from bench_peers import TEMPERATURE, TOP_K, Remembered, Ticks, peers
from bench_report import NOT_MEASURED, Options, is_there, progress, rounds, short, table, wait

from accompgen.checkpoint import find_checkpoint, read_checkpoint
from accompgen.component import load_component
from accompgen.config import StageConfig, from_dict
from accompgen.engines import choose_engine
from accompgen.generation.decode import decode, decoding_dtype, prepare_for_decoding, step_weights
from accompgen.generation.sampling import Sampling
from accompgen.layout import frames_covering
from accompgen.model.packed import PackedLinear
from accompgen.model.stage_lm import StageLM, parameters
from accompgen.stages import GRAPHS, PUBLISHED
from accompgen.threads import threads_of_step

STAGES = GRAPHS[PUBLISHED]().stage_names

# Sizes of a stage with random weights, the positions in its cache and the steps that are timed on a CPU.
SIZES = {
    "35 M": (dict(width=512, layers=8, heads=8, context_layers=1), 448, 24),
    "35 M, grouped": (dict(width=512, layers=8, heads=8, kv_heads=2, context_layers=1), 448, 24),
    "250 M": (dict(width=1024, layers=15, heads=16, context_layers=1), 32, 8),
}
QUICK_SIZES = {"1 M": (dict(width=128, layers=5, heads=2, context_layers=1), 32, 8)}
CHECKPOINT_LOAD, QUICK_LOAD, CUDA_LOAD = (448, 64), (32, 8), (448, 256)
SONGS, QUICK_SONGS = (1, 4, 16), (1, 4)
BUFFER_MB, QUICK_BUFFER_MB = 512, 16
LARGE = 100_000_000  # weights of a step from which on the engine is not tried: each copy of them takes 400 MB
BLOCK = 32  # weights of 8 bits that share a scale
BESIDE_PEERS = "coarse"  # the stage that peers stand beside: it has most steps


def measure(options: Options) -> dict:
    """Rows: one for every device, size, type of weights, number of songs and system; ratios: ours over each peer."""
    rows, ratios = [], []
    torch.manual_seed(options.seed)
    for device in options.devices:
        if not is_there(device):
            rows.append(dict(device=device, steps_per_second=NOT_MEASURED))
            continue
        bandwidth = Bandwidth(device, QUICK_BUFFER_MB if options.quick else BUFFER_MB)
        sizes = {options.checkpoint: (None, *(QUICK_LOAD if options.quick else CHECKPOINT_LOAD))}
        sizes |= QUICK_SIZES if options.quick else SIZES
        for name, (size, positions, steps) in sizes.items():
            if device == "cuda" and not options.quick:
                positions, steps = CUDA_LOAD
            for dtype in dict.fromkeys([torch.float32, decoding_dtype(device)]):
                label = dict(device=device, size=name, weights=_name(dtype))
                found = _size(options, label, size, positions, steps, dtype, bandwidth)
                gc.collect()  # models whose methods are replaced hold themselves
                rows += found[0]
                ratios += found[1]
    return {"rows": rows, "ratios": ratios}


def _size(options, label, size, positions, steps, dtype, bandwidth):
    """One size in one type of weights, ours: all numbers of songs -> (rows, ratios)."""
    device, rows, ratios = label["device"], [], []
    models = {stage: _model(options.checkpoint, stage, size, device, dtype) for stage in STAGES}
    memories = {stage: Remembered(model, "start") for stage, model in models.items()} if device == "cpu" else {}
    beside = models[BESIDE_PEERS]
    others = peers(beside.config, beside.layout.target.vocab, 4 * (positions + steps), device)
    theirs = dtype if dtype == torch.float32 else torch.bfloat16  # on a CPU they would be much slower in float16
    for peer in others:
        peer.network.to(theirs)
    counts = QUICK_SONGS if options.quick else SONGS
    for songs in counts if dtype == decoding_dtype(device) else (1,):
        progress(f"  {device}, {label['size']}, {label['weights']}, songs: {songs}")
        ours = [Ours(stage, models[stage], memories.get(stage), songs, positions, steps, device) for stage in STAGES]
        if dtype != torch.float32 and choose_engine("auto", device) == "onnx":
            for stage in STAGES:
                for model, memory, engine in _compiled(options.checkpoint, stage, size):
                    ours.append(Ours(stage, model, memory, songs, positions, steps, device, engine))
        compiled = songs == 1 and dtype == decoding_dtype(device) and not options.quick
        there = [peer for peer in others if compiled or not peer.compiled]
        found = _in_turn(ours, there, bandwidth, songs, steps, device, 2 if options.quick else 3)
        rows += [label | dict(songs=songs) | row for row in found[0]]
        ratios += [label | dict(songs=songs) | ratio for ratio in found[1]]
    return rows, ratios


def _name(dtype):
    return str(dtype).removeprefix("torch.")


def _compiled(checkpoint, stage, size):
    """(model, memory of its start, its compiled steps) of each type of weights that the engine has for it."""
    from accompgen.engines.onnx_steps import OnnxSteps, why_not

    for int8 in (False, True):
        model = _weights(checkpoint, stage, size).eval().requires_grad_(False)
        if step_weights(model) < LARGE and not why_not(model, int8):
            yield model, Remembered(model, "start"), OnnxSteps(model, threads_of_step(step_weights(model)), int8)


def _model(checkpoint, stage, size, device, dtype):
    return prepare_for_decoding(_weights(checkpoint, stage, size).to(device), dtype)


def _weights(checkpoint, stage, size):
    if size is None:
        config, tensors = load_component(read_checkpoint(find_checkpoint(checkpoint)).component(stage))
        model = StageLM(from_dict(StageConfig, config["stage"], f"{checkpoint}: {stage}"))
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    else:
        model = StageLM(StageConfig(stage, **size))
    return model


def _in_turn(ours, others, bandwidth, songs, steps, device, repeats):
    """Rounds of all systems with so many songs -> (rows, ratios)."""
    positions = next(system.positions for system in ours if system.stage == BESIDE_PEERS)

    def run(peer):
        def decode_once():
            ticks = Ticks(device, steps)
            peer.generate(positions, steps, songs, ticks)
            return ticks.per_second

        return decode_once

    speeds = rounds({"": bandwidth} | {o.name: o for o in ours} | {peer.name: run(peer) for peer in others}, repeats)
    limit = speeds.pop("")
    rows = []
    for system in ours:
        row = dict(system=f"accompgen, {system.name}", parameters=system.parameters, positions=system.positions)
        if system.engine is not None:
            row["weights"] = system.engine.name.split()[-1]
        row |= _figures(speeds[system.name], system.bytes_per_step, limit)
        rows.append(row | dict(sound_per_second=speeds[system.name].times(system.sound_per_step)))
    for peer in others:
        row = dict(system=peer.name, weights=_name(next(peer.network.parameters()).dtype), positions=positions)
        row |= dict(parameters=parameters(peer.network) - parameters(peer.unread))
        rows.append(row | _figures(speeds[peer.name], peer.bytes_per_step(positions + steps / 2, songs), limit))
    best = max(others, key=lambda peer: speeds[peer.name].median).name
    over = {peer.name: peer.name for peer in others} | {f"the best peer, {best}": best}
    stage = speeds[BESIDE_PEERS]
    ratios = [dict(of=BESIDE_PEERS, over=name, ratio=stage.over(speeds[peer])) for name, peer in over.items()]
    compiled = [system for system in ours if system.engine is not None]
    ratios += [dict(of=o.name, over=o.stage, ratio=speeds[o.name].over(speeds[o.stage])) for o in compiled]
    return rows, ratios


def _figures(speed, bytes_per_step, limit):
    share = speed.times(bytes_per_step).over(limit)
    return dict(steps_per_second=speed, bytes_per_step=bytes_per_step, bandwidth=limit, share_of_bandwidth=share)


class Ours:
    """One stage with random ids for context and prompt, decoded by the package's own `decode`."""

    def __init__(
        self, stage: str, model: StageLM, memory, songs: int, positions: int, steps: int, device: str, engine=None
    ):  # fmt: skip
        self.engine, self.name = engine, stage if engine is None else f"{stage}, {engine.name}"
        self.stage, self.model, self.memory, self.songs, self.device = stage, model, memory, songs, device
        target = model.layout.target
        self.per_frame = model.layout.steps_before(1)  # steps
        self.sound_per_step = songs / (target.hz * self.per_frame)  # seconds
        given = positions // self.per_frame  # frames of the prompt
        self.frames = given + 1 + max(1, steps // self.per_frame)
        self.context = {
            stream.name: torch.randint(stream.vocab, (songs, stream.codebooks, frames_covering(target, self.frames, stream)))
            for stream in model.layout.context
        }
        self.prompt = torch.randint(target.vocab, (songs, target.codebooks, given))
        self.sampling = Sampling(temperature=TEMPERATURE, top_k=min(TOP_K, target.vocab))
        self._weigh()

    def __call__(self) -> float:
        """Decode once -> steps a second behind the first frame."""
        times = {}  # frames done -> when, of the first call and of the last

        def progress(done, frames):
            if not times or done == frames:
                times[done] = wait(self.device)

        self._begin()
        generators = [torch.Generator().manual_seed(song) for song in range(self.songs)]
        decode(self.model, self.context, self.frames, self.sampling, generators, self.prompt, progress, engine=self.engine)
        first, last = times
        return (last - first) * self.per_frame / (times[last] - times[first])

    def _begin(self):
        if self.memory:
            self.memory.begin(self.songs)

    @torch.inference_mode()
    def _weigh(self):
        """Find out how many positions the cache holds behind the prompt, and how many bytes a step reads.

        Read are the decoder's weights, the heads that a step uses, and what of the cache is filled halfway through the steps.
        """
        model = self.model
        twice = {name: grid.repeat(2, 1, 1).to(self.device) for name, grid in self.context.items()}
        drop = torch.arange(2 * self.songs, device=self.device) >= self.songs
        self._begin()
        state, _ = model.start(twice, self.prompt.repeat(2, 1, 1).to(self.device), self.frames, drop)
        self.positions = state.cache.filled
        cache = sum(tensor.nbytes for tensor in vars(state.cache).values() if isinstance(tensor, torch.Tensor))
        filled = (self.positions + state.cache.keys.shape[3]) / 2 / state.cache.keys.shape[3]
        decoder, heads = _size_of(model.decoder), _size_of(model.step_heads or model.heads)  # heads: of all codebooks
        self.parameters, weights = (part + head // self.per_frame for part, head in zip(decoder, heads))
        if self.engine is not None and self.engine.int8:
            weights *= (1 + 4 / BLOCK) / 4  # a byte for each and a scale for each block, in place of four bytes
        self.bytes_per_step = weights + cache * filled


def _size_of(part):
    """Number of weights of a module or tensor, and their bytes."""
    if isinstance(part, torch.Tensor):
        return part.numel(), part.nbytes
    packed = [layer for layer in part.modules() if isinstance(layer, PackedLinear)]
    held = [*part.parameters(), *part.buffers(), *packed]
    return sum(w.elements if w in packed else w.numel() for w in held), sum(weight.nbytes for weight in held)


class Bandwidth:
    """Bytes a second that the memory gives: the better of summing a large buffer up and copying it to another one."""

    def __init__(self, device: str, megabytes: int):
        self.device = device
        self.buffer = torch.ones(megabytes * 2**20 // 4, device=device)
        self.other = torch.empty_like(self.buffer)

    def __call__(self) -> float:
        copied, read = self._seconds(lambda: self.other.copy_(self.buffer)), self._seconds(self.buffer.sum)
        return max(2 * self.buffer.nbytes / copied, self.buffer.nbytes / read)

    def _seconds(self, work):
        best = float("inf")
        for _ in range(3):
            started = wait(self.device)
            work()
            best = min(best, wait(self.device) - started)
        return best


def text(measured: dict) -> str:
    """Two tables: systems, and ours over each peer."""
    rows = []
    for row in measured["rows"]:
        if row["steps_per_second"] == NOT_MEASURED:
            rows.append([row["device"], *["–"] * 5, NOT_MEASURED, "–", "–", "–"])
            continue
        sound = row.get("sound_per_second")
        rows.append(
            [
                *(row[name] for name in ("device", "size", "weights", "songs", "system", "positions")),
                row["steps_per_second"],
                short(sound.median) if sound else "–",
                short(row["bytes_per_step"] / 1e6),
                f"{row['share_of_bandwidth'].median:.0%} of {short(row['bandwidth'].median / 1e9)}",
            ]
        )
    columns = ["device", "size", "weights", "songs", "system", "cached positions", "guided steps / s", "s of sound / s"]
    found = table([*columns, "MB a step", "share of GB / s"], rows)
    names = ("device", "size", "weights", "songs", "of", "over")
    ratios = [[*(ratio[name] for name in names), ratio["ratio"]] for ratio in measured["ratios"]]
    return found + "\n" + table([*names[:4], "steps of", "over", "ratio"], ratios)


if __name__ == "__main__":
    from bench import main

    sys.exit(main(["decode", *sys.argv[1:]]))
