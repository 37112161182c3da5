"""The verbs evaluate and baselines: what they write, print and return."""

import shutil

import evaluation_songs
import pytest
import tiny

pytest.importorskip("librosa", reason="the evaluation needs librosa: pip install 'accompgen[eval]'")

from accompgen.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return evaluation_songs.make_songs(tmp_path_factory.mktemp("cli"), count=2, seconds=2.0)


def given(place, out, *more):
    return ["--vocals", str(place / "vocals"), "--reference", str(place / "reference"), "-o", str(out), "--quiet", *more]


def test_baselines_then_evaluate(place, tmp_path, capsys):
    assert main(["baselines", *given(place, tmp_path / "rows", "--rows", "truth", "noise", "shuffled")]) == 0
    assert [line.rsplit("/", 1)[1] for line in capsys.readouterr().out.split()] == ["truth", "noise", "shuffled"]
    checkpoint = tiny.make_checkpoint(tmp_path / "checkpoint")
    rows = [f"--system={row}={tmp_path / 'rows' / row}" for row in ("noise", "truth")]
    settings = f"--metrics fad sanity artefacts --seams 0.7:0.4 1 --embedding {checkpoint} --window 1".split()
    settings += ["--cache", str(tmp_path / "cache")]
    command = ["evaluate", *rows, *given(place, tmp_path / "out", *settings, "--delta", "truth", "noise", "--listen", "truth")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "table.md").read_text() and "| Delta (noise - truth) |" in printed
    assert "borders at 0.7 s and every 0.4 s, 1 s and every 1 s" in printed
    assert "best songs of <b>truth</b>" in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "rows" / "noise" / "song1.wav").unlink()
    # scored again, with what is missing, and with bars: two distances of two rows
    assert main([word for word in command if word != "--quiet"]) == 1
    captured = capsys.readouterr()
    assert "distances: 100%" in captured.err and "4/4" in captured.err.split("distances:")[-1]
    assert "accompgen: " in captured.err and "song1" in captured.err and "What is missing" in captured.out


def test_a_damaged_file_of_another_row_costs_neither_page_nor_table(place, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(place / "reference", damaged)
    (damaged / "song1.wav").write_text("no sound")
    rows = [f"--system=whole={place / 'reference'}", f"--system=damaged={damaged}"]
    settings = ["--metrics", "sanity", "--window", "1", "--cache", str(tmp_path / "cache")]
    assert main(["evaluate", *rows, *given(place, tmp_path / "out", *settings)]) == 1
    told = capsys.readouterr()
    assert "| whole | 2 |" in told.out and "| damaged | 1 |" in told.out and "song1.wav: not sound" in told.err
    assert "data-part='damaged'" in (tmp_path / "out" / "report.html").read_text()


def test_a_singer_is_scored_without_a_reference(place, tmp_path, capsys):
    command = ["evaluate", f"--system=mine={place / 'reference'}", "--vocals", str(place / "vocals")]
    command += ["-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--window", "1", "--quiet", "--metrics"]
    assert main([*command, "harmony", "apa", "fad"]) == 1
    said = capsys.readouterr().err
    assert "apa, fad: there is nothing to compare with" in said and "harmony" not in said and "--reference" in said
    assert main([*command, "band", "sanity"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "drums" in page and "data-part='mine'" in page and "truth (reference)" not in page


def test_usage(place, tmp_path, capsys):
    for wrong in (
        ["--system", "a=x", "--system", "a=y"], ["--system", "a=x", "--delta", "a", "b"], [],
        ["--system", "a=x", "--seams", "ten"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            main(["evaluate", *given(place, tmp_path), *wrong])
        assert stopped.value.code == 2
    (tmp_path / "results.json").write_text("{}")
    assert main(["evaluate", "--system", str(place / "reference"), *given(place, tmp_path)]) == 1
    assert "is not replaced" in capsys.readouterr().err
