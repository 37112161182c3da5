"""Prompts: text <-> ids, by sentencepiece. The only place that imports it.

A text is folded to lower case and to one form of its characters (NFKC), its accents are taken off,
and it is divided into pieces that never cross a word. Every letter of a to z, every digit and every
character of the training texts is a piece of its own, too, so any English prompt has ids.
"""

import io
import unicodedata
import warnings

import torch

from accompgen import component
from accompgen.files import SoundWarning

KIND = "text_tokenizer"
UNKNOWN = 0  # the id that `encode` never returns, free for padding
RULE = "nmt_nfkc_cf"  # of sentencepiece: NFKC and case folding
ALWAYS = "abcdefghijklmnopqrstuvwxyz0123456789,.-#'"  # pieces, whatever the training texts hold
SIGNS = str.maketrans({"♯": "#", "♭": "b", "–": "-", "—": "-", "‘": "'", "’": "'"})
ACCENTS = ("\u0300", "\u036f")  # first and last of the combining marks that are taken off


class TextTokenizer:
    """A trained sentencepiece model; `vocab` is the number of ids that a network must know.

    Ids are 1 to vocab - 1. Id 0 is sentencepiece's unknown piece. `encode` leaves such pieces out.
    """

    def __init__(self, model: bytes, vocab: int, about: dict | None = None):
        """Args:
            model: serialized sentencepiece model of at most `vocab` pieces.
            about: what else config.json says, such as how it was trained.

        Raises ValueError for bytes that are no such model.
        """
        from sentencepiece import SentencePieceProcessor

        try:
            self._processor = SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"{len(model)} bytes are no sentencepiece model: {error}") from error
        pieces = self._processor.vocab_size()
        if not 1 < pieces <= vocab or self._processor.unk_id() != UNKNOWN:
            raise ValueError(
                f"a sentencepiece model of {pieces} pieces, the unknown one at "
                f"{self._processor.unk_id()}; expected 2 to {vocab}, the unknown one at {UNKNOWN}"
            )
        self.model, self.vocab, self.about = model, vocab, dict(about or {})

    @property
    def pieces(self) -> list[str]:
        """The text of every id; a leading `▁` begins a word. Fewer than `vocab` for few texts."""
        return [self._processor.id_to_piece(i) for i in range(self._processor.vocab_size())]

    @classmethod
    def train(cls, texts, vocab: int = 512, about: dict | None = None) -> "TextTokenizer":
        """A tokenizer for texts like these; the same texts and vocab give the same bytes.

        Args:
            texts: strings, a caption each. Their order may matter; their number need not be large.
            vocab: the most pieces there may be. Few texts give fewer.

        Raises ValueError for no texts, or for a vocab smaller than the number of characters.
        """
        from sentencepiece import SentencePieceTrainer

        lines = [line for text in texts for line in [" ".join(_plain(text).split())] if line]
        if not lines:
            raise ValueError("there is no text to train a text tokenizer on")
        written = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_writer=written, vocab_size=vocab,
                # a small vocabulary of merged pieces has the words of captions whole; a unigram model
                # of as many pieces prunes them
                model_type="bpe", character_coverage=1.0, required_chars=ALWAYS,
                normalization_rule_name=RULE, hard_vocab_limit=False,
                # numbers are read digit by digit: a tempo that no song had is known all the same
                split_digits=True,
                unk_id=UNKNOWN, bos_id=-1, eos_id=-1, pad_id=-1,
                # more threads add numbers in another order
                num_threads=1, max_sentence_length=10**6, minloglevel=2,
            )  # fmt: skip
        except RuntimeError as error:
            raise ValueError(
                f"sentencepiece cannot make {vocab} pieces of {len(lines)} texts; every character "
                f"of them needs one, so a larger vocab may help: {error}"
            ) from error
        return cls(written.getvalue(), vocab, about)

    def encode(self, text: str, length: int) -> list[int]:
        """The ids of a text, at most `length`, each 1 to vocab - 1; none for an empty text.

        What does not fit is cut off between two words, and characters that no training text had are
        left out. A SoundWarning says which.
        """
        text, pieces = self._divided(text)
        known = _known(pieces)
        if len(known) < len(pieces):
            missing = "".join(dict.fromkeys(text[a:b] for i, _, (a, b) in pieces if i == UNKNOWN))
            warnings.warn(
                f"prompt {text!r}: this checkpoint knows no {missing!r}, which is left out",
                SoundWarning, stacklevel=2,
            )  # fmt: skip
        if len(known) > length:
            cut = _last_word(known, length)
            rest = text[known[cut][2][0] :].strip()
            warnings.warn(
                f"prompt {text!r}: {len(known)} pieces, and this checkpoint takes {length}; "
                f"{rest!r} is left out",
                SoundWarning, stacklevel=2,
            )  # fmt: skip
            known = known[:cut]
        return [piece[0] for piece in known]

    def unknown(self, text: str) -> int:
        """How many parts of a text `encode` leaves out, as no training text had them."""
        return sum(piece[0] == UNKNOWN for piece in self._divided(text)[1])

    def _divided(self, text):
        """The text as it is read, and its pieces as (id, piece, (start, end) in that text)."""
        text = " ".join(_plain(text).split())
        found = self._processor.encode(text, return_type="offset_mapping")
        return text, list(zip(found["ids"], found["pieces"], found["offsets"], strict=True))

    def decode(self, ids: list[int]) -> str:
        """The text of ids, in lower case. Raises IndexError for an id that there is not."""
        return self._processor.decode(list(ids))

    def save(self, directory, force: bool = False) -> None:
        """Write a component directory: config.json + model.safetensors, the model as uint8 [N].

        Raises CheckpointError where something is in the way.
        """
        config = {
            "kind": KIND, "vocab": self.vocab, "pieces": self._processor.vocab_size(), **self.about,
        }  # fmt: skip
        model = torch.frombuffer(bytearray(self.model), dtype=torch.uint8)
        component.save_component(directory, config, {"sentencepiece": model}, force=force)

    @classmethod
    def load(cls, directory) -> "TextTokenizer":
        """Read a component directory. Raises CheckpointError if it is incomplete or of another
        kind."""
        config, tensors = component.load_component(directory)
        if config.get("kind") != KIND:
            raise component.CheckpointError(
                f"{directory} holds {config.get('kind')!r}; expected a {KIND}"
            )
        model, vocab = tensors.get("sentencepiece"), config.get("vocab")
        if model is None or model.dtype != torch.uint8 or not isinstance(vocab, int):
            raise component.CheckpointError(
                f"{directory} is no complete {KIND}: expected a number `vocab` in its config.json "
                "and the bytes `sentencepiece` in its model.safetensors; train or get it again"
            )
        about = {name: value for name, value in config.items() if name not in _OWN}
        try:
            return cls(model.numpy().tobytes(), vocab, about)
        except ValueError as error:
            raise component.CheckpointError(f"{directory}: {error}; get it again") from error


_OWN = ("kind", "vocab", "pieces")  # of config.json, which `save` writes itself


def _plain(text):
    """The text without accents, with # and b for the signs of music."""
    first, last = ACCENTS
    apart = unicodedata.normalize("NFD", text.translate(SIGNS))
    return unicodedata.normalize("NFC", "".join(c for c in apart if not first <= c <= last))


def _known(pieces):
    """The pieces without unknown ones, and without the mark of a word that begins with one."""
    kept = []
    for number, piece in enumerate(pieces):
        lone = piece[1] == "▁" and [i for i, _, _ in pieces[number + 1 : number + 2]] == [UNKNOWN]
        if piece[0] != UNKNOWN and not lone:
            kept.append(piece)
    return kept


def _last_word(pieces, length):
    """How many of the pieces to keep, at most `length`: up to the last one that begins a word, or
    all where a single word is too long."""
    starts = [i for i in range(1, length + 1) if pieces[i][1].startswith("▁")]
    return starts[-1] if starts else length
