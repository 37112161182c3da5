"""Texts -> states, by the encoder of a T5 (Raffel et al. 2020) and its own sentencepiece model.

The network is that of transformers. Its sizes are read off its weights, so that a T5 inside another
file needs no config of its own.
"""

import re
from pathlib import Path

import torch

from accompgen.component import CheckpointError, load_component, save_component
from accompgen.tokens.weight_files import find_weights, read_content, tensors_of

KIND = "text_encoder"
PIECES_FILE = "spiece.model"
_PIECES = "sentencepiece"  # what a component calls the bytes of that file
_BLOCK = "encoder.block.0.layer."


class T5Encoder:
    """A T5's encoder and its pieces.

    Args:
        state: weights by transformers' names, without those of a T5's decoder.
        pieces: bytes of its sentencepiece model.

    Attributes:
        width: D', of its states.

    Raises:
        ValueError: weights that are no whole T5 encoder, or bytes that are no sentencepiece model.
    """

    def __init__(self, state: dict, pieces: bytes, device="cpu"):
        from sentencepiece import SentencePieceProcessor

        try:
            self._processor = SentencePieceProcessor(model_proto=pieces)
        except RuntimeError as error:
            raise ValueError(f"{len(pieces)} bytes are no sentencepiece model: {error}") from error
        self.network = _network_of(state).to(device).eval().requires_grad_(False)
        self.pieces, self.width, rows = (
            pieces,
            self.network.config.d_model,
            self.network.config.vocab_size,
        )
        if not 0 <= self._processor.eos_id() < self._processor.vocab_size() <= rows:
            raise ValueError(
                f"a sentencepiece model of {self._processor.vocab_size()} pieces, the end of a text "
                f"at {self._processor.eos_id()}; expected at most {rows}, which the network knows, "
                "and an end"
            )

    @torch.no_grad()
    def encode(self, text: str) -> torch.Tensor:
        """The states [L, D'] of a text, one for each piece and one for its end, on the network's
        device.
        """
        ids = [*self._processor.encode(text), self._processor.eos_id()]
        ids = torch.tensor([ids], device=self.network.device)
        return self.network(input_ids=ids).last_hidden_state[0]

    def save(self, directory, dtype: torch.dtype = torch.float32, force: bool = False) -> None:
        """Write a component directory. Raises CheckpointError as `save_component`."""
        state = {
            name: value.to(dtype)
            for name, value in self.network.state_dict().items()
            if not _tied(name)
        }
        pieces = torch.frombuffer(bytearray(self.pieces), dtype=torch.uint8)
        save_component(directory, {"kind": KIND}, state | {_PIECES: pieces}, force=force)

    @classmethod
    def load(cls, directory, device="cpu") -> "T5Encoder":
        """Read a component directory. Raises CheckpointError if it is incomplete or of another
        kind.
        """
        config, tensors = load_component(directory)
        pieces = tensors.pop(_PIECES, None)
        if config.get("kind") != KIND or pieces is None:
            raise CheckpointError(
                f"{directory} holds {config.get('kind')!r}; expected a whole {KIND}"
            )
        try:
            return cls(tensors_of(tensors, directory), pieces.numpy().tobytes(), device)
        except ValueError as error:
            raise CheckpointError(f"{directory}: {error}; adopt it again") from error


def read_pieces(path) -> bytes:
    """The sentencepiece model of a T5, of its file or of the directory that it lies in. Raises
    CheckpointError.
    """
    path = Path(path)
    file = path / PIECES_FILE if path.is_dir() else path
    try:
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read {file}: {error.strerror}; "
            "it is part of t5-base and of a MusicGen directory of transformers"
        ) from error


def read_t5(directory) -> dict:
    """The weights of the encoder in a T5's directory of transformers. Raises CheckpointError."""
    file = find_weights(directory)
    return encoder_weights(tensors_of(read_content(file), file))


def encoder_weights(state: dict) -> dict:
    """Of a T5's weights those of its encoder."""
    return {
        name: value for name, value in state.items() if name.startswith(("shared.", "encoder."))
    }


def _tied(name):
    return name == "encoder.embed_tokens.weight"  # the same as shared.weight


def _network_of(state):
    """A transformers.T5EncoderModel with these weights, of the sizes that they have. Raises
    ValueError.
    """
    from transformers import T5Config, T5EncoderModel

    state = dict(state)
    embeddings = state.pop("encoder.embed_tokens.weight", None)
    state.setdefault("shared.weight", embeddings)
    try:
        vocab, width = state["shared.weight"].shape
        buckets, heads = state[f"{_BLOCK}0.SelfAttention.relative_attention_bias.weight"].shape
        inner = state[f"{_BLOCK}0.SelfAttention.q.weight"].shape[0]
        gated = f"{_BLOCK}1.DenseReluDense.wi_0.weight" in state
        hidden = state[f"{_BLOCK}1.DenseReluDense.wi{'_0' if gated else ''}.weight"].shape[0]
    except (KeyError, AttributeError) as error:
        raise ValueError(f"the weights are no T5: {error} is missing") from error
    blocks = {found[1] for name in state if (found := re.match(r"encoder\.block\.(\d+)\.", name))}
    config = T5Config(
        vocab_size=vocab, d_model=width, d_kv=inner // heads, d_ff=hidden, num_layers=len(blocks),
        num_heads=heads,
        relative_attention_num_buckets=buckets, feed_forward_proj="gated-gelu" if gated else "relu",
    )  # fmt: skip
    with torch.random.fork_rng(
        devices=[]
    ):  # building draws random weights, which nobody shall notice
        network = T5EncoderModel(config)
    try:
        lost = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"the weights are no T5: {str(error).strip().splitlines()[-1].strip()}"
        ) from error
    wrong = [name for name in (*lost.missing_keys, *lost.unexpected_keys) if not _tied(name)]
    if wrong:
        raise ValueError(f"the weights are no whole T5 encoder: {wrong[0]} is missing or unknown")
    return network
