"""Results of `accompgen evaluate`, one file a stem -> one table by stem, with the published figures
below it.
"""

import argparse
import json
from pathlib import Path

from accompgen import audio

# column -> (measure of results.json, factor, digits)
COLUMNS = {
    "COCOLA": ("cocola", 1, 2),
    "FAD": ("fad", 1, 2),
    "KAD": ("kad", 1, 2),
    "beat F1": ("beat_f1", 100, 1),
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", metavar="STEM=FILE", help="results.json of each stem")
    parser.add_argument("--name", required=True, help="what the row of the system is called")
    parser.add_argument("--published", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args(argv)
    found = {}
    for text in args.results:
        stem, _, path = text.partition("=")
        found[stem] = json.loads(Path(path).read_text(encoding="utf-8"))
    text = f"{table(found, args.name)}\n{args.published.read_text(encoding='utf-8')}"
    audio.write_bytes(args.out, text.encode())


def table(found: dict[str, dict], name: str) -> str:
    """The rows of each stem's results, with what decides the numbers above them."""
    first = next(iter(found.values()))
    settings, embedding = first["settings"], first["embedding"] or {}
    lines = [
        f"Embedding of FAD and KAD: {embedding.get('name')}; beats: {first['tracker']['name']}; windows of "
        f"{settings['window_seconds']:g} s; intervals of 95 %.",
        "",
        f"| stem | row | {' | '.join(COLUMNS)} | clips |",
        f"|---|---|{'---|' * len(COLUMNS)}---|",
    ]
    for stem, results in found.items():
        for row, measures in results["rows"].items():
            cells = [
                _cell(measures.get(measure), factor, digits)
                for measure, factor, digits in COLUMNS.values()
            ]
            clips = len(results["songs"].get(row, {}))
            lines.append(
                f"| {stem} | {name if row == 'scored' else row} | {' | '.join(cells)} | {clips} |"
            )
    for stem, results in found.items():
        lines += [f"\n{stem}: {text}" for text in (*results["problems"], *results["notes"])]
    return "\n".join(lines) + "\n"


def _cell(measure, factor, digits):
    if not measure or measure.get("value") is None:
        return ""

    def shown(value):
        return f"{round(factor * value, digits) + 0.0:.{digits}f}"  # no -0.00

    text = shown(measure["value"]) + (" %" if factor == 100 else "")
    if measure.get("low") is not None:
        text += f" ({shown(measure['low'])} to {shown(measure['high'])})"
    return text


if __name__ == "__main__":
    main()
