"""The mean of trained weights: several runs of one stage, or the checkpoint's stage and a run that went on from it.

    python tools/mean_weights.py checkpoints/band/semantic work/text/semantic/model -o work/mean

A short training on few songs for one thing (a text) costs a stage some of the others (a drum stem without chords in it); the
mean loses less of them, and some of what was gained (Wortsman et al. 2022, "Model soups", arXiv 2203.05482). OUT is a component
directory: `accompgen train --set start_from=OUT --set steps=1 --set learning_rate=1e-12` validates it, and its run can be
exported.
"""

import argparse
import sys
from pathlib import Path

from accompgen.component import CheckpointError, load_component, save_component


def main(argv=None) -> int:
    """Write the mean; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", metavar="DIR", nargs="+", type=Path, help="directories with config.json and model.safetensors")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the mean, with the config.json of the last one")
    args = parser.parse_args(argv)
    try:
        if args.out.exists():
            raise CheckpointError(f"{args.out} exists; choose another folder")
        save_component(args.out, *mean_of(args.parts))
    except (CheckpointError, OSError) as error:
        print("mean_weights:", error, file=sys.stderr)
        return 1
    return 0


def mean_of(parts: list[Path]) -> tuple[dict, dict]:
    """The config of the last part, and the mean of all weights in float32.

    Raises CheckpointError for fewer than two parts, or networks that are not alike.
    """
    if len(parts) < 2:
        raise CheckpointError(f"a mean needs two parts or more, and {len(parts)} is given")
    loaded = [load_component(part) for part in parts]
    config, weights = loaded[-1]
    for part, (other, tensors) in zip(parts, loaded):
        alike = tensors.keys() == weights.keys() and all(tensors[name].shape == weights[name].shape for name in weights)
        if not alike or any(other.get(key) != config.get(key) for key in ("stage", "tokenizers")):
            raise CheckpointError(f"{part} and {parts[-1]} are not the same network on the same tokenizers; they have no mean")
    return config, {name: sum(tensors[name].float() for _, tensors in loaded) / len(loaded) for name in weights}


if __name__ == "__main__":
    sys.exit(main())
