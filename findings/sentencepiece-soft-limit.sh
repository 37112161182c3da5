#!/usr/bin/env bash
# With hard_vocab_limit=False, sentencepiece's unigram model may end far below the vocabulary that was asked for, without a word,
# where texts have few distinct words; common words are then split. Its BPE fills the same vocabulary from the same texts.
# Seen with sentencepiece 0.2.3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sentencepiece==0.2.3
"$folder/venv/bin/python" - <<'PYTHON'
import io
import itertools

import sentencepiece

speeds, moods = ("slow", "fast", "steady", "quick", "gentle"), ("sad", "bright", "dark", "warm", "calm", "happy")
styles = ("ballad", "rock song", "waltz", "march", "bossa nova", "shuffle")
players = ("piano", "guitar", "strings", "organ", "brushes", "drums", "upright bass")
texts = [
    f"{speed} {mood} {style}, {one} and {other}"
    for speed, mood, style, (one, other) in itertools.product(speeds, moods, styles, itertools.permutations(players, 2))
]


def pieces(kind):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=120, model_type=kind, hard_vocab_limit=False,
        split_digits=True, num_threads=1, minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return processor.vocab_size(), processor.encode("slow dark waltz, strings and drums", out_type=str)


found = {kind: pieces(kind) for kind in ("unigram", "bpe")}
for kind, (size, example) in found.items():
    print(f"sentencepiece {sentencepiece.__version__}, {kind}: {size} of 120 pieces; {len(example)} for an example: {example}")
assert found["unigram"][0] < 100 <= found["bpe"][0], "both fill the vocabulary now, or neither does"
PYTHON
