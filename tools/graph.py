"""The graphs of stages.py as Mermaid pictures, as docs/architecture.md holds them between its marks."""

import argparse
import re
import sys
from pathlib import Path

from accompgen.stages import GRAPHS, Graph

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
BLOCK = r"(<!-- graph {name} -->\n)(.*?)(<!-- end -->)"


def mermaid(graph: Graph) -> str:
    """A graph as Mermaid's flowchart: streams are rounded, stages are boxes."""
    lines = ["```mermaid", "flowchart LR"]
    for stream in graph.streams:
        books = f"{stream.codebooks} x " if stream.codebooks > 1 else ""
        lines.append(f'    {stream.name}_ids(["{stream.name}<br>{stream.hz} Hz, {books}{stream.vocab} ids"])')
    for stage in graph.stages:
        prefix = f"<br>prefix: {', '.join(stage.prefix)}" if stage.prefix else ""
        lines.append(f'    {stage.name}["{stage.name} stage{prefix}"]')
        lines += [f"    {name}_ids --> {stage.name}" for name in stage.context]
        lines.append(f"    {stage.name} --> {stage.target}_ids")
    return "\n".join([*lines, "```", ""])


def filled(page: str) -> str:
    """The page with the pictures of all graphs between their marks. Raises ValueError for a graph that has no marks."""
    for name, make in GRAPHS.items():
        pattern = re.compile(BLOCK.format(name=name), re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"{PAGE} has no marks for the graph {name!r}")
        picture = mermaid(make(text_vocab=512, text_pieces=24))
        page = pattern.sub(rf"\g<1>{picture}\g<3>", page)
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put them into docs/architecture.md")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    print("\n".join(mermaid(make(text_vocab=512, text_pieces=24)) for make in GRAPHS.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
