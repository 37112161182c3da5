"""The example notebook runs from top to bottom, with a tiny band in place of the weights it names."""

import json

from tiny import sing

from accompgen import audio


def test_the_notebook_runs(root, band_checkpoint, tmp_path, capsys):
    notebook = json.loads((root / "docs" / "python.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)  # sounds of a run do not belong into the repository
    audio.write(tmp_path / "voice.wav", sing(1.4), 44_100)
    values = {"CHECKPOINT": str(band_checkpoint), "VOCAL": str(tmp_path / "voice.wav"), "OUT": str(tmp_path / "band")}
    names = {}
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        exec(compile(source, f"cell {number} of python.ipynb", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert set(values) <= set(names)
            names |= values
    said = capsys.readouterr().out
    assert "drums: 2 channels, 1.40 s" in said and "stopped while it made" in said and "beats a minute" in said
    assert {path.name for path in names["paths"].values()} >= {"voice.mix.wav", "voice.bass.wav", "voice.mid", "voice.json"}
    assert names["take"].rate == 44_100 and names["data"]["mix"][:4] == b"fLaC"
