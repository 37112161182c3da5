"""report.html: one file to look at and to listen to, without a network: table, songs to sort, players and pictures.

Of a song all rows and the truth can be heard by one clock: another one is switched to in the middle of a bar.
"""

import base64
import html
import json
from pathlib import Path

import numpy as np

from accompgen import audio
from accompgen.evaluation import folders, listen, pictures
from accompgen.evaluation.report import (
    ARTEFACTS,
    COLUMNS,
    MINUTE,
    MINUTES_TITLE,
    SANITY,
    cell,
    columns,
    conditions,
    sections,
    show,
)
from accompgen.evaluation.tracks import levelled

EACH = 10  # so many of the worst and so many of the best songs can be heard
RANKED = {"song_fad": -1, "beat_f1": 1, "chroma_reference": 1, "chord_tone_share": 1}
TRUTH = "truth (reference)"  # beside the rows
TEMPLATE = Path(__file__).with_name("page.html")


def rank(songs: dict[str, dict]) -> list[str]:
    """Song names, best first: by the mean of their places in per-song FAD, beat F1, chroma and chord tones, as far as known."""
    places = {name: [] for name in songs}
    for measure, good in RANKED.items():
        known = {name: good * scores[measure] for name, scores in songs.items() if scores.get(measure) is not None}
        values = np.array(list(known.values()))
        for name, value in known.items():
            places[name].append(float((values > value).sum() + 0.5 * ((values == value).sum() - 1)) / max(len(known) - 1, 1))
    return sorted(places, key=lambda name: (np.mean(places[name]) if places[name] else 1.0, name))


def write_page(results: dict, systems: dict, vocals, out, reference=None, row: str | None = None, progress=True) -> Path:
    """Write out/report.html.

    Args:
        results: what `runner.evaluate` returned. systems, vocals, reference: the folders it was given.
        row: the row that says which songs are the best and the worst; the default is the first. All rows, and the truth
            where there is a reference, can be heard of them.

    Returns: its path. Raises ValueError if there is no such row.
    """
    row = row or next(iter(systems))
    if row not in systems:
        raise ValueError(f"there is no row {row!r} to listen to; rows are {', '.join(systems)}")
    order = rank(results["songs"][row])
    best, worst = order[: min(EACH, len(order) - len(order) // 2)], order[::-1][: min(EACH, len(order) // 2)]
    # the results say already which files were left out
    ignored = folders.Report()
    vocal_files = folders.find_songs(vocals, "vocal", ignored)
    bands = {
        name: {
            song: path
            for song, path in folders.find_songs(folder, "accompaniment", ignored).items()
            if song in results["songs"][name]  # a file that could not be read was not scored
        }
        for name, folder in systems.items()
    }
    bands |= {TRUTH: folders.find_songs(reference, "accompaniment", ignored)} if reference else {}
    seconds = results["settings"]["window_seconds"]
    heard = {}
    for name in folders.bar([*worst, *best], progress, "page"):
        files = {"voice": vocal_files[name]} | {band: found[name] for band, found in bands.items() if name in found}
        heard[name] = _song(name, results["songs"][row][name], files, seconds)
    parts = {
        "TITLE": f"Evaluation of {html.escape(', '.join(systems))}",
        "TABLE": "".join((
            _table(results, columns(results)), _sections(results), _minutes(results.get("minutes"))
        )),  # fmt: skip
        "CONDITIONS": _list(conditions(results)),
        "MISSING": _section("What is missing", results["problems"]) + _section("Notes", results["notes"]),
        "ROW": html.escape(row),
        "SECONDS": f"{seconds:g}",
        "WORST": "".join(heard[name] for name in worst),
        "BEST": "".join(heard[name] for name in best),
        "DATA": _data(results),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    path = Path(out) / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write_bytes(path, text.encode())
    return path


def _table(results, shown):
    marks = {1: " &#8593;", -1: " &#8595;", 0: ""}
    heads = "".join(f"<th>{heading}{marks[good]}</th>" for heading, _, good in shown.values())
    body = []
    for name, row in results["rows"].items():
        cells = "".join(_cell(row.get(metric), decimals) for metric, (_, decimals, _) in shown.items())
        count = len(results["songs"].get(name, {})) or "-"
        body.append(f"<tr><th>{html.escape(name)}</th><td>{count}</td>{cells}</tr>")
    return f"<div class=wide><table><tr><th>row</th><th>songs</th>{heads}</tr>{''.join(body)}</table></div>"


def _cell(result, decimals):
    value, _, interval = cell(result, decimals).partition(" ")
    below = f"<small>{interval}</small>" if interval else ""
    if warning := (result or {}).get("warning"):  # too little data: to be seen before it is believed
        return f"<td class=little title='{html.escape(warning, quote=True)}'>{value}{below}</td>"
    return f"<td>{value}{below}</td>"


def _sections(results):
    return "".join(f"<h3>{title}</h3>{_table(*found)}" for title, *found in sections(results))


def _minutes(found):
    if not found:
        return ""
    heads = "".join(f"<th>{heading}</th>" for heading, _, _ in MINUTE.values())
    body = "".join(
        f"<tr><th>{html.escape(row)}</th><td>{number}</td><td>{values['songs']}</td>"
        + "".join(f"<td>{show(values[name], decimals)}</td>" for name, (_, decimals, _) in MINUTE.items())
        + "</tr>"
        for row, minutes in found.items()
        for number, values in enumerate(minutes, 1)
    )
    table = f"<table><tr><th>row</th><th>minute</th><th>songs</th>{heads}</tr>{body}</table>"
    return f"<h3>{MINUTES_TITLE}</h3><div class=wide>{table}</div>"


def _list(lines):
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _section(title, lines):
    return f"<h3>{title}</h3>{_list(lines)}" if lines else ""


def _song(name, scores, files, seconds):
    """A card: name, numbers, one player for the voice and every band, and pictures of what is heard first of each."""
    sounds = {}
    for part, file in files.items():
        wav, rate = audio.read(file)
        mono = audio.resample(audio.to_mono(wav), rate, listen.RATE)[: round(seconds * listen.RATE)]
        sounds[part] = levelled(mono, listen.RATE)
    length = max(map(len, sounds.values()))
    sounds = {part: audio.fit(mono, length) for part, mono in sounds.items()}
    heard = ("frame_lock", "buzz_db", "crest_excess_db", "clicks")
    known = COLUMNS | {measure: ARTEFACTS[measure] for measure in heard}
    numbers = {**{m: known[m] for m in scores if m in known}, "song_fad": ("song FAD", 2, -1)}
    listed = " &middot; ".join(
        f"{heading} <b>{show(scores[measure], decimals)}</b>"
        for measure, (heading, decimals, _) in numbers.items()
        if scores.get(measure) is not None
    )
    flags = "".join(f"<span class=flag>{html.escape(flag)}</span>" for flag in scores.get("flags", ()))
    parts = "".join(
        f"<figure data-part='{html.escape(part, quote=True)}' data-sound='{_mp3(mono)}'><figcaption></figcaption>"
        f"<div class=heard><img class=mel alt='mel spectrogram' src='{_inline(pictures.mel_picture(mono), 'image/png')}'>"
        f"<img class=chroma alt='pitch classes' src='{_inline(pictures.chroma_picture(mono), 'image/png')}'>"
        "<div class=playhead></div></div></figure>"
        for part, mono in sounds.items()
    )
    return (
        f"<section class=song data-seconds={length / listen.RATE:g}><h3>{html.escape(name)} {flags}</h3><p>{listed}</p>"
        f"<div class=player></div><div class=parts>{parts}</div></section>"
    )


def _mp3(mono):
    level = audio.peak(mono)
    mono = mono * np.float32(min(1.0, audio.PEAK_LIMIT / level)) if level else mono
    return _inline(audio.encode(mono[None], listen.RATE, ".mp3"), "audio/mpeg")


def _inline(data, kind):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _data(results):
    """Per-song values of every row for the table that sorts, as JSON that cannot end the script element."""
    names = {"song_fad": ("song FAD", 2, -1), **COLUMNS, **SANITY, **ARTEFACTS}
    there = [m for m in names if any(s.get(m) is not None for row in results["songs"].values() for s in row.values())]
    data = {
        "columns": [[measure, names[measure][0], names[measure][1]] for measure in there],
        "rows": {
            row: [[name, [scores.get(m) for m in there], scores.get("flags", [])] for name, scores in songs.items()]
            for row, songs in results["songs"].items()
        },
    }
    return json.dumps(data).replace("<", "\\u003c")
