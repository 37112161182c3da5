"""Golden files of the EnCodec of 48 kHz: the package `encodec` itself, small and with random weights.

    python -m venv encodec-environment
    encodec-environment/bin/pip install encodec==0.1.1
    encodec-environment/bin/python tools/golden_encodec_48khz.py tests/golden/encodec_48khz

It runs in an environment of its own, for the reasons that tools/golden_vocos.py names. Written are
`encodec_48khz-HASH.th` in the published layout, weights in half precision, and `expected.npz`: of the
sound that `sound` makes, for each chunk its codes `codes_i` [4, F] and loudness `loudness_i`; of the
decoded sound [2, T] every 16th sample as `thinned`, and as `overlap` those around the end of the first
second, where chunks overlap; the versions as `about` (JSON).
"""

import argparse
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import encodec
import numpy as np
import torch
from encodec.modules import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer

LATENT, BINS, CODEBOOKS, SAMPLES = 8, 16, 4, 48_000 + 6_000
OVERLAP = slice(47_400, 48_100)


def sound(samples=SAMPLES):
    """Two glides, one on each side, that swell: float32 [2, T]."""
    seconds = np.arange(samples) / 48_000
    glides = [np.sin(2 * np.pi * (low * seconds + 900 * seconds**2)) for low in (220, 330)]
    return (np.stack(glides) * (0.05 + 0.4 * seconds)).astype(np.float32)


def small_model():
    encoder, decoder = (
        kind(
            channels=2, dimension=LATENT, n_filters=2, norm="time_group_norm", causal=False, lstm=1
        )
        for kind in (SEANetEncoder, SEANetDecoder)
    )
    quantizer = ResidualVectorQuantizer(dimension=LATENT, n_q=CODEBOOKS, bins=BINS)
    # 150 frames a second of 4 bits: 0.6 kbit/s a codebook
    model = encodec.EncodecModel(
        encoder, decoder, quantizer, [2.4], 48_000, 2, normalize=True, segment=1.0
    )
    model.set_target_bandwidth(2.4)
    for layer in quantizer.vq.layers:
        torch.nn.init.normal_(layer._codebook.embed, std=0.5)
        layer._codebook.inited.fill_(1)
    for name, weight in model.named_parameters():
        if ".norm." in name:
            torch.nn.init.normal_(weight, mean=float(name.endswith("weight")), std=0.3)
    rounded = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(
        {name: value.to(model.state_dict()[name].dtype) for name, value in rounded.items()}
    )
    return model.eval(), rounded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, help="where to write, such as tests/golden/encodec_48khz"
    )
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model, weights = small_model()
    torch.save(weights, folder / "new")
    digest = hashlib.sha256((folder / "new").read_bytes()).hexdigest()[:8]
    (folder / "new").rename(folder / f"encodec_48khz-{digest}.th")
    with torch.no_grad():
        chunks = model.encode(torch.from_numpy(sound())[None])
        wav = model.decode(chunks)[0].numpy()
    arrays = {"thinned": wav[:, ::16], "overlap": wav[:, OVERLAP]}
    for index, (codes, loudness) in enumerate(chunks):
        arrays |= {
            f"codes_{index}": codes[0].numpy().astype(np.int16),
            f"loudness_{index}": loudness[0, 0].numpy(),
        }
    about = {"python": platform.python_version()}
    about |= {name: version(name) for name in ("encodec", "torch", "torchaudio", "numpy")}
    np.savez_compressed(folder / "expected.npz", about=json.dumps(about), **arrays)
    for path in sorted(folder.iterdir()):
        print(path, path.stat().st_size, "bytes")
    print([len(np.unique(codes[0].numpy())) for codes, _ in chunks], np.abs(wav).max(), about)


if __name__ == "__main__":
    main()
