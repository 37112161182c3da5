"""The benchmark in one small table: what was aimed at, what was measured, where and when."""

from bench_report import NOT_MEASURED, short, table


def summary(results: dict) -> str:
    """Markdown of the figures that have a goal, and of those that a reader asks for first, from results.json's contents."""
    found = {name: part["rows"] for name, part in results.items()}
    ratios = {name: part.get("ratios", []) for name, part in results.items()}
    rows = []
    for device in ("cpu", "cuda"):
        rows += _decoding(found.get("decode", []), ratios.get("decode", []), device)
        rows += _songs(found.get("song", []), device, results.get("song", {}))
        rows += _training(found.get("training", []), ratios.get("training", []), device)
    rows += [[row["what"], "–", _text(row["seconds"], " s")] for row in found.get("start", [])[1:]]
    rows += [
        [f"a short song beside {row['busy']} busy processes: time over none", "at most 3", _text(row["wall_ratio"])]
        for row in found.get("busy", [])[2:]
    ]
    return table(["", "goal", "measured"], rows) + "\n" + "".join(f"{line}\n" for line in _where(results))


def _decoding(rows, ratios, device):
    sizes = {"cpu": ("35 M", "at least 60 %"), "cuda": ("250 M", "at least 50 %")}
    size, goal = sizes[device]
    here = [row for row in rows if row["device"] == device]
    if here and here[0]["steps_per_second"] == NOT_MEASURED:
        return [[f"decoding on {device}, {size}, one song: share of the memory's bandwidth", goal, NOT_MEASURED]]
    lines = []
    ours = [row for row in here if (row["size"], row["songs"]) == (size, 1) and row["system"] == "accompgen, coarse"]
    for row in ours[-1:]:  # the last type of weights is the one that decoding uses
        what = f"decoding on {device}, {size}, one song, {row['weights']} weights"
        lines.append([f"{what}: guided steps a second", "–", _text(row["steps_per_second"])])
        lines.append([f"{what}: share of the memory's bandwidth", goal, _text(row["share_of_bandwidth"], " %", 100)])
        beside = [r for r in ratios if all(r[key] == row[key] for key in ("device", "size", "weights", "songs"))]
        aim = "at least 2.5" if device == "cpu" else "–"
        lines += [[f"{what}: over {r['over']}", aim, _text(r["ratio"])] for r in beside if "best" in r["over"]]
    return lines


def _songs(rows, device, part):
    lines = []
    for row in (row for row in rows if row["device"] == device):
        if row["real_time_factor"] == NOT_MEASURED:
            return [["a song on cuda, base: real-time factor", "at most 0.05", NOT_MEASURED]]
        length, aims = f"{row['length_seconds']:g} s of song on {device}, {part['about']['checkpoint']}", device == "cpu"
        goal = "at most 0.5" if aims and row["length_seconds"] == 30 else "–"
        lines.append([f"{length}: real-time factor", goal, _text(row["real_time_factor"])])
        if row["length_seconds"] == 240:
            lines.append([f"{length}: peak memory", "at most 2000 MB" if aims else "–", f"{row['peak_mb']:.0f} MB"])
    return lines


def _training(rows, ratios, device):
    if any(row["device"] == device and row["positions_per_second"] == NOT_MEASURED for row in rows):
        return [[f"training on {device}: of the peak arithmetic", "at least 40 %", NOT_MEASURED]]
    here = [r for r in ratios if r["device"] == device]
    what = "training on {device}, {size}, {arithmetic}: {of} over {over}"
    return [[what.format(**r), "–", _text(r["ratio"])] for r in here if r["arithmetic"] == "bfloat16"]


def _text(figure, unit="", factor=1.0):
    if figure == NOT_MEASURED:
        return NOT_MEASURED
    median, low, high = (short(factor * figure[name]) for name in ("median", "low", "high"))
    return f"{median}{unit} ({low}–{high})"


def _where(results):
    """A line for each machine, commit and day."""
    lines = {}
    for name, part in results.items():
        known = part["about"]
        line = f"{known['cpu']}, {known['threads']} threads, torch {known['torch']}, "
        line += f"commit {known['commit']}, {known['date'][:10]}"
        line += " (QUICK: these figures mean nothing)" if known["quick"] else ""
        lines.setdefault(line, []).append(name)
    return [f"{', '.join(names)}: {line}." for line, names in lines.items()]
