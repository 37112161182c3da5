"""docs/architecture.md shows the graphs that there are."""

from accompgen.stages import GRAPHS


def test_the_page_has_the_graphs_of_the_code(root, load_tools):
    tool = load_tools("graph")
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert tool.filled(page) == page, "python tools/graph.py --write"
    assert all(f"{stage.name} stage" in page for make in GRAPHS.values() for stage in make().stages)
