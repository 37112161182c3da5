"""What a run of the MUSDB18 recipe needs, in small: a folder of the data set's layout, more songs, published weights.

    python tests/musdb18_like.py DIR

writes DIR/data, DIR/more, DIR/hubert, DIR/encodec and, where demucs is, DIR/separator.safetensors. The songs are synthetic,
the weights random, in the formats of transformers and demucs.
"""

import json
import sys
from pathlib import Path

import evaluation_songs
import numpy as np
import torch

from accompgen import audio

RATE = 44100
TRAIN = ("A Band - Second Song", "Leaf - Summerghost", "Somebody - Else's", "Third & Last")  # one is a validation track
TEST = {"A Band - First Song": 0, "B & C - Second": 2}  # the second one's singer comes in after 2 s


def write_tracks(folder, tracks, seconds):
    """folder/<track>/{vocals,drums,bass,other}.wav, stereo; `tracks` are names -> seconds before the voice comes in."""
    for number, (name, rest) in enumerate(tracks.items()):
        root = evaluation_songs.ROOTS[number % len(evaluation_songs.ROOTS)]
        sung = evaluation_songs.voice(root, seconds, RATE)
        sung[: rest * RATE] = 0
        band = 0.3 * evaluation_songs.band(root, seconds, 0.5, RATE)
        (folder / name).mkdir(parents=True)
        for stem, wav in {"vocals": sung, "drums": 0.2 * band, "bass": 0.3 * band, "other": 0.5 * band}.items():
            audio.write(folder / name / f"{stem}.wav", np.stack([wav, 0.9 * wav]), RATE, "PCM_16")
    return folder


def write_more(folder, seconds):
    """More songs, as a folder: ours.vocal.wav beside ours.accompaniment.wav, and mixed.wav, which is to be separated."""
    folder.mkdir(parents=True)
    for name, root in (("ours", evaluation_songs.ROOTS[-1]), ("mixed", evaluation_songs.ROOTS[-2])):
        sung, band = evaluation_songs.voice(root, seconds, RATE), 0.3 * evaluation_songs.band(root, seconds, 0.6, RATE)
        files = {"mixed": sung + band} if name == "mixed" else {"ours.vocal": sung, "ours.accompaniment": band}
        for file, wav in files.items():
            audio.write(folder / f"{file}.wav", np.stack([wav, wav]), RATE, "PCM_16")
    return folder


def write_hubert(folder):
    """A HuBERT of the published structure, 3 layers of width 32, as transformers writes it."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    sizes = dict(
        conv_dim=[8] * 7, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    HubertModel(HubertConfig(**sizes)).save_pretrained(folder)
    return folder


def write_encodec(folder, bins=64):
    """An EnCodec of the published structure with 8 codebooks, as transformers writes it."""
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    kbps = 8 * 0.075 * (bins - 1).bit_length() + 0.001
    network = EncodecModel(EncodecConfig(num_filters=2, hidden_size=16, codebook_size=bins, target_bandwidths=[kbps]))
    for layer in network.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)  # zeros as transformers makes them
    network.save_pretrained(folder)
    return folder


def write_separator(path):
    """A minute HTDemucs in demucs's safetensors format."""
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    torch.manual_seed(0)
    sources = ["drums", "bass", "other", "vocals"]
    sizes = dict(channels=8, depth=2, nfft=512, t_layers=1, t_heads=2, bottom_channels=16, segment=1, samplerate=8000)
    state = {name: value.clone().contiguous() for name, value in HTDemucs(sources, **sizes).state_dict().items()}
    about = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps([sources]), "kwargs": json.dumps(sizes)}
    save_file(state, path, metadata=about)
    return path


def main(folder):
    write_tracks(folder / "data" / "train", dict.fromkeys(TRAIN, 0), 12.0)
    write_tracks(folder / "data" / "test", TEST, 12.0)
    write_hubert(folder / "hubert")
    write_encodec(folder / "encodec")
    write_more(folder / "more", 8.0)
    try:
        write_separator(folder / "separator.safetensors")
    except ImportError:
        print("demucs is not installed: no separator.safetensors, so more/mixed.wav cannot be separated", file=sys.stderr)
        (folder / "more" / "mixed.wav").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
