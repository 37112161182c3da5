"""accompgen: a singing voice goes in, a band comes out.

The tour. `stages.py` is the graph of the system: which streams of tokens there are, and which stage predicts which.
`layout.py` lays streams out as one sequence of ids. `tokens/` turns sound into integers and back (HuBERT units, EnCodec
codes), `model/` integers into logits, `generation/` a vocal into an accompaniment (`pipeline.py` reads from top to bottom),
`data/` songs into shards and batches, `training/` batches into weights, `checkpoint.py` weights into directories;
`evaluation/` scores folders of sound, and `cli.py` is the command line.

    import accompgen

    model = accompgen.load()  # `band`: stems on a chart
    song = model.accompany("vocal.wav", seed=0)
    song.save("out/")
    cooler = model.accompany("vocal.wav", sampling={"semantic": accompgen.Sampling(temperature=0.7)})
    for piece in accompgen.stream("vocal.wav", seed=0):  # `pocket`: one track, window by window
        play(piece.accompaniment, piece.rate)

Shapes in comments and docstrings: B batch, C channels, T samples, S semantic frames (50 Hz), F acoustic frames (75 Hz),
Q codebooks, N sequence, D width, H heads, V vocabulary. Sound is [C, T] with full scale 1.0; codes are [B, Q, F].
"""

import os

from accompgen.threads import wait_passively

wait_passively()  # before anything imports torch

# the checkpoint of whole songs, and that of streams, where no other one is named
CHECKPOINT, STREAMED = "band", "pocket"


def load(checkpoint=CHECKPOINT, device: str = "auto", helper: bool = False, engine: str = "auto"):
    """Load a checkpoint by name or directory -> `generation.pipeline.Accompanist`, whose `accompany`
    makes songs; of an adopted MusicGen or STAGE a `generation.single_stage.SingleStagePlayer`,
    likewise.

    `engine` says what makes the steps of the stages: "torch", "onnx" (ONNX Runtime, on a CPU), or
    "auto", the quicker one of those installed. With `helper`, on a CPU, torch's steps of songs of a
    minute or more are made by two processes; a script that asks for it must begin its work under
    `if __name__ == "__main__":`. ONNX Runtime's are made by two threads, whatever `helper` says.

    Raises CheckpointError for weights that cannot be used, DeviceError for a device that is not
    there, EngineError for such an engine.
    """
    # here, so that `import accompgen` and `accompgen --help` are instant
    from accompgen.generation import single_stage

    return single_stage.load_any(checkpoint, device, helper, engine)


def accompany(vocal, seed: int = 0, checkpoint=CHECKPOINT, device: str = "auto", **options):
    """One accompaniment to one vocal (a path, or a pair of wav and rate) -> `generation.song.Song`.
    For several, `load` once.

    `options` are those of `Accompanist.accompany`, such as sampling={"semantic": Sampling(temperature=0.8)},
    balance=-6 or progress=True.
    """
    _refuse_a_rate(vocal)
    return load(checkpoint, device).accompany(vocal, seed=seed, **options)


def stream(
    vocal,
    rate: int | None = None,
    seed: int = 0,
    checkpoint=STREAMED,
    device: str = "auto",
    **options,
):
    """The accompaniment piece by piece, as it is made -> `generation.stream.Stream`, to be iterated.

    `vocal` is a recording (a path, or a pair of wav and rate), or an iterable of sample blocks with
    their `rate`, such as a microphone's. `options` are those of `Stream`, such as
    sampling={"semantic": Sampling(temperature=0.8)}, balance or noise.
    """
    from accompgen.generation import pipeline
    from accompgen.generation.stream import Stream

    return Stream(pipeline.load(checkpoint, device), vocal, seed, rate, **options)


def _refuse_a_rate(vocal):
    """Raise TypeError for samples without a rate, before weights are loaded."""
    if not isinstance(vocal, (str, os.PathLike, tuple)) and hasattr(vocal, "__array__"):
        raise TypeError("samples need their rate: give both as one pair, accompany((wav, 44100))")


def __getattr__(name):
    """`accompgen.Sampling`, imported when it is asked for: torch takes a second."""
    if name == "Sampling":
        from accompgen.generation.sampling import Sampling

        return Sampling
    raise AttributeError(f"module 'accompgen' has no attribute {name!r}")
