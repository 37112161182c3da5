"""Golden files of Vocos: the package `vocos` itself, small and with random weights, and what it plays.

    python -m venv vocos-environment
    vocos-environment/bin/pip install vocos==0.1.0
    vocos-environment/bin/python tools/golden_vocos.py tests/golden/vocos

It runs in an environment of its own, because the package wants torchaudio, which breaks the audio
models of transformers beside a CPU build of torch. Beside such a build the compiled half of torchaudio
does not load; nothing here needs it, so delete `torchaudio/lib` in that environment.

Written are `config.yaml` and `pytorch_model.bin` in the published layout, and `expected.npz`: codes
[16, F], for each number of codebooks q the sound `wav_q` [F * 320], and the versions as `about` (JSON).
"""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

import encodec
import numpy as np
import torch
import yaml
from encodec.modules import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from vocos import Vocos

BINS, LATENT, WIDTH, FRAMES = 16, 8, 8, 12
BANDWIDTHS = [
    0.6,
    1.2,
    2.4,
    4.8,
]  # kbit/s; with 16 bins a codebook costs 0.3, so these are 2, 4, 8 and 16 codebooks
PACKAGES = ("vocos", "encodec", "torch", "torchaudio", "numpy", "scipy")


def small_codec(pretrained=True):
    """What the package builds instead of downloading the published EnCodec."""
    encoder, decoder = (
        kind(dimension=LATENT, n_filters=2, norm="weight_norm", causal=True)
        for kind in (SEANetEncoder, SEANetDecoder)
    )
    quantizer = ResidualVectorQuantizer(dimension=LATENT, n_q=16, bins=BINS)
    return encodec.EncodecModel(encoder, decoder, quantizer, BANDWIDTHS, 24_000, 1)


def config():
    """The published config.yaml, but for its sizes."""
    parts = {
        "feature_extractor": ("feature_extractors.EncodecFeatures", {
            "encodec_model": "encodec_24khz", "bandwidths": BANDWIDTHS,
        }),
        "backbone": ("models.VocosBackbone", {
            "input_channels": LATENT, "dim": WIDTH, "intermediate_dim": 24, "num_layers": 2,
            "adanorm_num_embeddings": 4,
        }),
        "head": ("heads.ISTFTHead", {
            "dim": WIDTH, "n_fft": 1280, "hop_length": 320, "padding": "same",
        }),
    }  # fmt: skip
    return {
        part: {"class_path": f"vocos.{name}", "init_args": sizes}
        for part, (name, sizes) in parts.items()
    }


def randomise(model):
    """Weights that matter: as the package draws them, norms do nothing and the sound is faint."""
    for name, weight in model.named_parameters():
        if not name.startswith("feature_extractor.encodec."):
            torch.nn.init.normal_(
                weight, mean=1.0 if ".scale." in name or name.endswith("gamma") else 0.0, std=0.4
            )
    model.head.out.bias.data[: len(model.head.out.bias) // 2] -= 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write, such as tests/golden/vocos")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(), sort_keys=False), encoding="utf-8")
    encodec.EncodecModel.encodec_model_24khz = staticmethod(small_codec)
    torch.manual_seed(0)
    model = Vocos.from_hparams(str(folder / "config.yaml")).eval()
    randomise(model)
    # the published file leaves the codec out, and keeps parameters as such
    weights = model.state_dict(keep_vars=True)
    kept = {
        name: value
        for name, value in weights.items()
        if not name.startswith("feature_extractor.encodec.")
    }
    torch.save(kept, folder / "pytorch_model.bin")
    codes = torch.randint(BINS, (16, FRAMES))
    arrays = {"codes": codes.numpy().astype(np.int16)}
    for index, books in enumerate((2, 4, 8, 16)):
        features = model.codes_to_features(codes[:books])
        arrays[f"wav_{books}"] = model.decode(features, bandwidth_id=torch.tensor([index]))[
            0
        ].numpy()
    about = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    np.savez_compressed(folder / "expected.npz", about=json.dumps(about), **arrays)
    for path in sorted(folder.iterdir()):
        print(path, path.stat().st_size, "bytes")
    print(
        {name: f"{np.abs(wav).max():.3f}" for name, wav in arrays.items() if name != "codes"}, about
    )


if __name__ == "__main__":
    main()
