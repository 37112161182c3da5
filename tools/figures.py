"""The figures of a checkpoint as a table for a recipe's README: the codec measured now, the stages as their trainings ended.

    python tools/figures.py CHECKPOINT MANIFEST
"""

import argparse
import platform
import subprocess
from pathlib import Path

import torch

from accompgen.checkpoint import find_checkpoint, read_checkpoint
from accompgen.component import load_component
from accompgen.training.codec import evaluate_codec


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a checkpoint's name or directory")
    parser.add_argument("manifest", type=Path, help="the songs the checkpoint was trained on")
    parser.add_argument("--songs", type=int, default=50, help="at most so many songs for the codec")
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="of the songs for the codec")
    args = parser.parse_args()
    checkpoint = read_checkpoint(find_checkpoint(args.checkpoint))

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    print(f"{checkpoint.path.name} at {commit or 'no commit'}, torch {torch.__version__}, {platform.machine()}\n")
    evaluate_codec(checkpoint.component("acoustic_tokenizer"), args.manifest, args.split, args.songs)
    columns = ["stage", "steps", "cross-entropy", "bigram", "accuracy"]
    columns += ["gain over shuffled: all", "first second", "changes", "late 1 s costs"]
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for stage in checkpoint.graph.stage_names:
        config, _ = load_component(checkpoint.component(stage))
        result = config["validation"]
        gain, accuracy = result["gain"]["shuffled"], sum(result["accuracy"]) / len(result["accuracy"])
        cells = [f"{config['step']}", f"{result['cross_entropy']:.3f}", f"{result['bigram']:.3f}", f"{accuracy:.3f}"]
        cells += [figure(gain["all"]), figure(gain["first_second"]), figure(gain["changes"])]
        cells.append(figure(result["vocal_late"].get("1")))
        print(f"| {stage} | {' | '.join(cells)} |")
    print("\nNats a token on held-out songs, mean over codebooks +- standard error over windows.")


def figure(value):
    return "" if value is None else f"{value[0]:.4f} +- {value[1]:.4f}"


if __name__ == "__main__":
    main()
