"""accompgen: a singing voice goes in, a band comes out.

The tour. `stages.py` is the table of the system: which streams of tokens there are, and which stage predicts which.
`layout.py` lays streams out as one sequence of ids. `tokens/` turns sound into integers and back (HuBERT units, EnCodec
codes), `model/` integers into logits, `generation/` a vocal into an accompaniment (`pipeline.py` reads from top to bottom),
`data/` songs into shards and batches, `training/` batches into weights, `checkpoint.py` weights into directories;
`evaluation/` scores folders of sound, and `cli.py` is the command line.

    import accompgen

    model = accompgen.load("pocket")
    song = model.accompany("vocal.wav", seed=0)
    song.save("out/")
    for piece in accompgen.stream("vocal.wav", seed=0):  # the same song, window by window
        play(piece.accompaniment, piece.rate)

Shapes in comments and docstrings: B batch, C channels, T samples, S semantic frames (50 Hz), F acoustic frames (75 Hz),
Q codebooks, N sequence, D width, H heads, V vocabulary. Sound is [C, T] with full scale 1.0; codes are [B, Q, F].
"""

from accompgen.threads import wait_passively

wait_passively()  # before anything imports torch


def load(checkpoint="pocket", device: str = "auto", helper: bool = False):
    """Load a checkpoint by name or directory -> `generation.pipeline.Accompanist`, whose `accompany` makes songs.

    With `helper`, on a CPU, songs of a minute or more are made by two processes; a script that asks for it must begin its work
    under `if __name__ == "__main__":`.

    Raises CheckpointError for weights that cannot be used, DeviceError for a device that is not there.
    """
    from accompgen.generation import pipeline  # here, so that `import accompgen` and `accompgen --help` are instant

    return pipeline.load(checkpoint, device, helper)


def accompany(vocal, seed: int = 0, checkpoint="pocket", device: str = "auto"):
    """One accompaniment to one vocal (a path, or wav and rate) -> `generation.pipeline.Song`. For several, `load` once."""
    return load(checkpoint, device).accompany(vocal, seed=seed)


def stream(vocal, rate: int | None = None, seed: int = 0, checkpoint="pocket", device: str = "auto"):
    """The accompaniment piece by piece, as it is made -> `generation.stream.Stream`, to be iterated.

    `vocal` is a recording (a path, or wav and rate), or an iterable of sample blocks with their `rate`, such as a microphone's.
    """
    from accompgen.generation.stream import Stream

    return Stream(load(checkpoint, device), vocal, seed, rate)
