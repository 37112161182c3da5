"""The training of one stage, from the first step to the last, in one function.

A run directory holds

    config.json   the configuration; a run goes on only with the same one
    log.jsonl     one JSON object a line: {"step", "loss", ...} or {"step", "validation": {...}}
    tensorboard/  the same for TensorBoard, and samples as sound where `sample_windows` is set
    last/         the state to go on from: `latest` names the newest whole state beside it
    snapshot/     the stage as a component (config.json + model.safetensors), renewed at each validation
    model/        the same, written when the run has reached its end, so that its presence says so

Under `torchrun` or `deepspeed` every process runs this function; rank 0 alone prints and writes.
"""

import math
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from accompgen.component import tokens_hash
from accompgen.config import ConfigError, TrainConfig, from_dict, read_toml
from accompgen.data.batches import Batches
from accompgen.data.shards import open_shards
from accompgen.model.stage_lm import StageLM, parameters
from accompgen.stages import ACOUSTIC, SEMANTIC
from accompgen.time import seconds_of
from accompgen.training import engine as deepspeed_engine
from accompgen.training import listening, state
from accompgen.training.average import make_average
from accompgen.training.flops import measured_peak, window_flops
from accompgen.training.log import Log
from accompgen.training.loss import stage_loss
from accompgen.training.optimizer import learning_rate
from accompgen.training.samples import Samples
from accompgen.training.start import start_embeddings, start_weights
from accompgen.training.stops import TrainingError, stop_signals
from accompgen.training.texts import WindowTexts


def train_file(path, overrides=(), run_dir=None, **pauses) -> dict:
    """`train` with the configuration of a TOML file; `run_dir` defaults to runs/<name of the file>."""
    config = from_dict(TrainConfig, _with_own_graph(read_toml(path, overrides)), str(path))
    return train(config, run_dir or Path("runs") / Path(path).stem, **pauses)


def _with_own_graph(values):
    """Values of a configuration whose model's graph, where it is a file, is read from there."""
    model = values.get("model")
    if isinstance(model, dict) and str(model.get("graph", "")).endswith(".toml"):
        graph = read_toml(model["graph"])
        values = {**values, "model": {**model, "graph": graph.get("name", ""), "own_graph": graph}}
    return values


def train(config: TrainConfig, run_dir, pause_after_steps: int = 0, pause_after_minutes: float = 0.0) -> dict:
    """Train the stage of `config` in `run_dir`; a run that was stopped goes on where it was last saved.

    The run ends at `config.steps`, or earlier when all its calls together took `config.minutes`: the learning rate falls with
    whichever is further on. SIGTERM and the first Ctrl-C save and return, and so do the two pauses; of several processes it is
    enough that one is told.

    Args:
        pause_after_steps: stop this call after so many steps, saved; 0: do not.
        pause_after_minutes: stop this call after so much wall time, saved; 0: do not.

    Returns:
        {"step", "finished", "parameters", "tokens_per_second", "validation"}.

    Raises:
        ConfigError: the run directory belongs to another configuration or number of processes, or the shards do not fit it.
        TrainingError: the loss is not finite; names the step and the windows. Or a file cannot be written; names it. The last
            saved state stays.
        ShardError: a shard is missing or was altered; names it.
    """
    entered = time.monotonic()
    run = _begin(config, Path(run_dir))
    first, stop = run.step, False
    share = deepspeed_engine.agree(run.engine, [run.progress()])[0]
    if run.done and share < 1 and run.chief:  # the run goes on: snapshot/ holds the same weights
        shutil.rmtree(run.run_dir / "model")
    with stop_signals() as stopped:
        while share < 1 and not stop:
            rate = learning_rate(config, run.step, share)
            deepspeed_engine.set_learning_rate(run.engine, rate)
            start = time.monotonic()
            made = _make_step(run.engine, run.batches, config)
            run.count(time.monotonic() - start)
            pausing = stopped() or (pause_after_steps and run.step - first >= pause_after_steps)
            pausing = pausing or (pause_after_minutes and time.monotonic() - entered >= 60 * pause_after_minutes)
            share, stop, broken = deepspeed_engine.agree(run.engine, [run.progress(), bool(pausing), bool(made.broken)])
            if broken:
                raise TrainingError(_what_broke(made.broken, run.step, run.run_dir))
            if run.average is not None:
                run.average.update_parameters(run.engine.module)
            if run.step % config.log_every == 0 or run.step == 1:
                run.tell(made, rate, share)
            if run.step % config.validate_every == 0 and share < 1 and not stop:  # who was told to stop has little time left
                run.measure(["snapshot"])
            if share >= 1 or stop or run.step % config.save_every == 0:
                state.save(run.engine, run.average, run.batches, run.run_dir, run.step, run.spent())
        if share < 1:
            run.log.say(f"stopped at step {run.step}, saved; the same command goes on from here")
        elif run.step > first or not run.done:
            run.measure(["snapshot", "model"])
    run.log.close()
    result = {"step": run.step, "finished": share >= 1, "parameters": run.size, "tokens_per_second": round(run.speed)}
    return {**result, "validation": run.validation}


def _begin(config, run_dir) -> "_Run":
    """A new run, or one that was stopped, where it was last saved."""
    rank, world = deepspeed_engine.rank_and_world()
    state.claim(run_dir, config, rank, world)
    shards = open_shards(config.shards)
    torch.manual_seed(config.seed)
    model = _fresh_model(config, shards)
    _choose_learners(model, config.encoder_learns)
    engine = deepspeed_engine.start(model, config)
    if rank:
        torch.manual_seed(state.random_seed(config.seed, rank))
    batches = Batches(shards, config, rank, world, WindowTexts(config) if config.captions else None)
    held_out = listening.prepare(shards, config)
    average = make_average(engine.module, config.ema_decay)
    step, before = state.resume(engine, average, batches, run_dir, config.seed)
    run = _Run(
        config=config, run_dir=run_dir, engine=engine, average=average, batches=batches, held_out=held_out, step=step,
        before=before, chief=rank == 0, log=Log(run_dir, step, rank == 0, config.tensorboard),
        samples=Samples(config, held_out) if rank == 0 else None, size=parameters(engine.module),
        tokens=config.batch_size * config.accumulation * world * held_out.target[0].numel(),
        done=bool(deepspeed_engine.agree(engine, [float((run_dir / "model").exists())])[0]),
        validation=state.last_validation(run_dir),
    )  # fmt: skip
    run.utilisation = _utilisation(engine, config, held_out, run.tokens)
    run.log.say(_greeting(config, run.size, batches, step, world))
    run.began = time.monotonic()
    return run


@dataclass
class _Run:
    """What a call trains, and how far it is."""

    config: TrainConfig
    run_dir: Path
    engine: object
    average: object  # of the weights, or None
    batches: Batches
    held_out: listening.HeldOut
    step: int
    before: float  # seconds of training in earlier calls
    chief: bool  # whether this is rank 0
    log: Log
    samples: Samples | None
    size: int  # learned values
    tokens: int  # of the target in a step, all ranks together
    done: bool  # whether the run had come to its end before
    validation: dict | None
    utilisation: float = 0.0
    began: float = 0.0
    seconds: float = 0.0  # of the last step
    speed: float = 0.0  # tokens a second, a running mean

    def spent(self) -> float:
        """Seconds of training, all calls together."""
        return self.before + time.monotonic() - self.began

    def progress(self) -> float:
        """The share of the run that is done."""
        minutes = self.config.minutes
        return max(self.step / self.config.steps, self.spent() / (60 * minutes) if minutes else 0.0)

    def count(self, seconds: float) -> None:
        """One step more, which took so long."""
        speed = self.tokens / seconds
        self.step, self.seconds = self.step + 1, seconds
        self.speed = 0.95 * self.speed + 0.05 * speed if self.speed else speed

    def tell(self, made: "_Made", rate: float, share: float) -> None:
        """Log a step."""
        loss, books = (deepspeed_engine.mean_over_ranks(self.engine, x) for x in (made.loss, made.cross_entropy))
        accumulation = self.config.accumulation
        values = {"loss": loss.item() / accumulation, "per_codebook": (books / accumulation).tolist()}
        values |= {"learning_rate": rate, "gradient_norm": made.gradient_norm}
        values |= {"seconds": self.seconds, "waited": made.waited, "elapsed": self.spent()}
        values |= {"tokens_per_second": self.speed, "mfu": self.speed * self.utilisation}
        self.log.step(self.step, share, values)

    def measure(self, names: list[str]) -> None:
        """Validate, and write the stage as components of these names."""
        model = self.engine.module if self.average is None else self.average.module
        self.validation = _validate(self.engine, model, self.config, self.held_out)
        self.log.validation(self.step, self.validation)
        if self.chief:
            self.samples.tell(self.log, model, self.step)
            for name in names:
                shards = self.batches.shards
                state.save_stage(self.run_dir / name, model, self.config, shards, self.step, self.validation)


@dataclass
class _Made:
    """One optimizer step of this rank: sums over its micro-steps, and (what, value, window) of what was not finite."""

    loss: torch.Tensor | float = 0.0
    cross_entropy: torch.Tensor | float = 0.0  # [Q]
    gradient_norm: float = 0.0
    waited: float = 0.0  # seconds, for data
    broken: list = field(default_factory=list)


def _make_step(engine, batches, config) -> _Made:
    made = _Made()
    for _ in range(config.accumulation):
        start = time.monotonic()
        batch = batches.next()
        made.waited += time.monotonic() - start
        result, loss = _forward(engine, batch, config)
        value = loss.item()
        if not math.isfinite(value):  # go on to the end of the step, where the other ranks hear of it
            made.broken += [("loss", value, window) for window in batch.windows]
        engine.backward(loss)
        norm = deepspeed_engine.update(engine)
        made.loss, made.cross_entropy = made.loss + result.loss.detach(), made.cross_entropy + result.cross_entropy
    made.gradient_norm = norm
    if not math.isfinite(norm) and not made.broken:
        made.broken = [("gradient's norm", norm, window) for window in batch.windows]
    return made


def _what_broke(broken, step, run_dir):
    if not broken:
        return f"the loss or the gradient at step {step} is not finite in another process, which names the windows"
    places = ", ".join(f"{window.song.id} at {seconds_of(window.first_block):.2f} s" for _, _, window in broken)
    return (
        f"the {broken[0][0]} at step {step} is {broken[0][1]}; the batch was {places}. The state in {run_dir / 'last'} is of "
        "an earlier step: lower learning_rate, or start again with another seed"
    )


def _greeting(config, size, batches, step, world):
    left_out = f", {batches.left_out} shorter than a window are left out" if batches.left_out else ""
    songs = f"{len(batches.songs)} training songs{left_out}"
    processes = f", {world} processes" if world > 1 else ""
    return f"{config.model.stage}: {size / 1e6:.2f} M parameters, {songs}{processes}, from step {step}"


def _utilisation(engine, config, held_out, tokens):
    """Model FLOP utilisation at one target token a second, all ranks together."""
    if engine.global_rank:
        return 0.0  # rank 0 tells it
    flops = window_flops(engine.module, held_out.contexts["true"], held_out.target, _listen(config))
    per_token = flops / held_out.target[0].numel()
    peak = config.peak_tflops * 1e12 or measured_peak(engine.device, config.dtype)
    return per_token / engine.world_size / peak


def _fresh_model(config, shards):
    """The model at its start: a trained one's weights, or embeddings from the tokenizers, where the configuration says so."""
    model = StageLM(config.model)
    _start_from_tokenizers(model, config, shards)
    if config.start_from and not start_weights(model, config.start_from, shards.tokenizers):
        print(f"{config.start_from} has a context encoder of other sizes: that of this run begins anew", file=sys.stderr)
    return model


def _start_from_tokenizers(model, config, shards):
    given = {SEMANTIC: config.semantic_tokenizer, ACOUSTIC: config.acoustic_tokenizer}
    needed = {kind: given[kind] for kind in config.model.tokenizers}
    if not any(needed.values()):
        return
    for kind, directory in needed.items():
        if not directory:
            raise ConfigError(f"the {config.model.stage} stage starts from {', '.join(needed)}; {kind}_tokenizer is not set")
        if tokens_hash(directory) != shards.tokenizers[kind]:
            raise ConfigError(f"{config.shards} was made with another {kind} tokenizer than {directory}; give that one")
    start_embeddings(model, needed)


def _choose_learners(model, encoder_learns):
    """Who learns from what: see TrainConfig.encoder_learns."""
    model.detached = encoder_learns == "apart"
    if encoder_learns == "alone":
        model.requires_grad_(False)
        model.listener.requires_grad_(True)


def _listen(config):
    """What StageLM.forward is asked to give of the context encoder's own logits in a training step."""
    return "alone" if config.encoder_learns == "alone" else bool(config.listening_weight)


def _forward(engine, batch, config):
    """The stage's Loss on a batch, and the loss to follow: with what the context encoder alone says of the target."""
    device, listen = engine.device, _listen(config)
    context = {name: ids.to(device) for name, ids in batch.context.items()}
    target, prefix_ids = batch.target.to(device), {name: ids.to(device) for name, ids in batch.prefix_ids.items()}
    masks = {"drop": batch.drop.to(device), "hide": batch.hide.to(device)}
    # logits [B, F, Q, V], or two of them
    made = engine(context, target, prefix_ids=prefix_ids, **masks, listen=listen)
    if listen is True:
        logits, heard = made
        result = stage_loss(logits, target)
        return result, result.loss + config.listening_weight * stage_loss(heard, target).loss
    result = stage_loss(made, target)
    return result, config.listening_weight * result.loss if listen == "alone" else result.loss


def _validate(engine, model, config, held_out):
    """The figures of `model`, each rank measuring its share of the windows."""

    listen = "alone" if config.encoder_learns == "alone" else False

    def run(context, target, prefix_ids):
        with deepspeed_engine.autocast(config):  # not the compiled call: other shapes would be compiled anew
            return model.forward(context, target, prefix_ids=prefix_ids, listen=listen)

    def gather(value):
        return deepspeed_engine.gather(engine, value)

    model.eval()
    result = listening.validate(run, engine.device, held_out, config.batch_size, engine.global_rank, engine.world_size, gather)
    model.train()
    return result
