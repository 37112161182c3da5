"""Distances between sets of songs: FAD, FAD-infinity, per-song FAD, KAD, APA, each with a bootstrap interval.

A set is a mapping from a song's name to its embeddings [n, D]; a window of a song may have several. "Window" always means
one of the plan (folders.py). A set may read each song from disk when asked for it (`cache.Embeddings`). It is walked in the
order of the names, so that neither memory nor result depends on how the files lie.

Intervals: songs are what is drawn again, never single embeddings, because those of a song are alike. A distance is
biased by the number of distinct songs in it, and a resampled set has fewer; so the interval is the value plus and minus
1.96 standard deviations of the resampled values, not their percentiles. Each result is a plain dict: value, low, high,
n (embeddings), songs, and what it depended on.
"""

import zlib

import numpy as np

from accompgen.evaluation.gaussian import Gaussian, Target, frechet

RESAMPLES = 100
GROUPS = 50  # songs beyond this number share a group; groups are drawn again: memory stays GROUPS matrices
CURVE_POINTS = 25  # sample counts of the FAD-infinity line
CURVE_RESAMPLES = 20
# KAD looks at so many embeddings of each set at most; it costs their square
KERNEL_EMBEDDINGS = 4000
# The KAD of two sets of one distribution scatters around 0 with a standard deviation of 0.2 at 100 embeddings each, of
# 0.3 at 50 and of 0.7 to 0.9 at 25 (independent draws of Gaussians of 64 and 256 dimensions).
FEW_FOR_KERNEL = 100


def groups(names) -> dict[str, int]:
    """name -> group number. What stands before an "@" names the recording: its clips stay together."""
    recordings = sorted({name.split("@")[0] for name in names})
    number = {recording: i % GROUPS for i, recording in enumerate(recordings)}
    return {name: number[name.split("@")[0]] for name in names}


def gather(songs, wanted=None) -> list[Gaussian]:
    """One Gaussian per group of a set; `wanted(name, rows) -> rows` may leave rows out."""
    places = groups(songs)
    result = [None] * (max(places.values(), default=-1) + 1)
    for name in sorted(songs):
        rows = np.asarray(songs[name])
        rows = wanted(name, rows) if wanted else rows
        if result[places[name]] is None:
            result[places[name]] = Gaussian(rows.shape[1])
        result[places[name]].add(Gaussian.of(rows))
    return result


def merged(parts, times=None) -> Gaussian:
    """All groups as one set, each `times[i]` times."""
    if not parts:
        raise ValueError("the set has no songs; at least one is needed")
    whole = Gaussian(len(parts[0].mean))
    for i, part in enumerate(parts):
        whole.add(part, 1 if times is None else int(times[i]))
    return whole


def _draws(count, seed, resamples=RESAMPLES):
    """How often each of `count` groups comes in each resample [resamples, count]; None for a single group."""
    if count < 2:
        return []
    return np.random.default_rng([seed, count]).multinomial(count, np.full(count, 1 / count), size=resamples)


def _result(value, replicates, n, songs, **more):
    spread = 1.96 * float(np.std(replicates, ddof=1)) if len(replicates) > 1 else None
    return {
        "value": float(value),
        "low": None if spread is None else float(value - spread),
        "high": None if spread is None else float(value + spread),
        "spread": spread,  # 1.96 standard deviations; low and high may be clipped where a measure ends
        "n": int(n), "songs": int(songs), **more,
    }  # fmt: skip


def fad(songs, reference, seed: int = 0) -> dict:
    """Frechet audio distance of a set to a reference set (Kilgour et al., "Frechet Audio Distance", Interspeech 2019).

    Biased upwards by few embeddings: compare only rows of the same n, or use `fad_infinity`. `warning` says so where n is
    below D.
    """
    parts, goal = gather(songs), merged(gather(reference))
    target = Target(goal)
    whole = merged(parts)
    replicates = [frechet(target, merged(parts, times)) for times in _draws(len(parts), seed)]
    dimension = len(whole.mean)
    more = {"reference_n": int(goal.n), "dimension": dimension} | _few(whole, goal)
    result = _result(frechet(target, whole), replicates, whole.n, len(songs), **more)
    return result if result["low"] is None else result | {"low": max(result["low"], 0.0)}


def _few(*sets):
    """A warning where the covariance of a set of Gaussians has fewer rows than columns; {} where none has."""
    few, dimension = int(min(each.n for each in sets)), len(sets[0].mean)
    if few >= dimension:
        return {}
    return {"warning": f"{few} embeddings are fewer than their {dimension} dimensions"}


def song_fad(songs, reference) -> dict[str, float | None]:
    """FAD of each song's own embeddings to the whole reference set: name -> value (Gui et al., "Adapting Frechet Audio Distance
    for Generative Music Evaluation", ICASSP 2024). Comparable between songs of the same length only."""
    target = Target(merged(gather(reference)))
    found = ((name, Gaussian.of(songs[name])) for name in sorted(songs))
    return {name: frechet(target, gaussian) if gaussian.n else None for name, gaussian in found}


def ranks(name: str, count: int, seed: int) -> np.ndarray:
    """A random number in [0, 1) for each embedding of a song, from the song's name and the seed alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())]).random(count)


def fad_infinity(songs, reference, seed: int = 0, resamples: int = CURVE_RESAMPLES) -> dict:
    """FAD without its bias: the intercept of a line through FAD against 1 / n at 25 sample counts n.

    The bias of a Frechet distance is linear in 1 / n (Chong and Forsyth, "Effectively unbiased FID", CVPR 2020; for
    sound Gui et al., ICASSP 2024). The samples are nested: an embedding belongs to every sample larger than its random
    rank. Counts run from a tenth of the embeddings (at least twice the dimension, at most half of them) to all of
    them, evenly in n.

    The reference set is not extrapolated: its own bias stays and is the same in every row of a table.
    """
    target = Target(merged(gather(reference)))
    names = sorted(songs)
    total = sum(len(songs[name]) for name in names)
    if total < 4:
        raise ValueError(f"FAD-infinity needs at least 4 embeddings, got {total}; use more or longer files")
    dimension = len(target.mean)
    smallest = min(max(total / 10, 2 * dimension, 2), total / 2)
    counts = np.linspace(smallest, total, CURVE_POINTS)
    places = groups(names)
    value = _intercept(target, songs, names, counts / total, seed, None, places)
    draws = _draws(max(places.values()) + 1, seed, resamples)
    replicates = [_intercept(target, songs, names, counts / total, seed, times, places) for times in draws]
    more = {"dimension": dimension, "reference_n": int(target.n), "smallest_n": int(smallest)}
    if smallest < 2 * dimension:
        more["warning"] = f"the line begins at {int(smallest)} embeddings, fewer than twice the {dimension} dimensions"
    return _result(value, replicates, total, len(names), **more)


def _intercept(target, songs, names, shares, seed, times, places):
    """One pass over the songs: each embedding falls between two sample sizes; then the sizes are summed up."""
    bins = [Gaussian(len(target.mean)) for _ in shares]
    for name in names:
        repeat = 1 if times is None else int(times[places[name]])
        if not repeat:
            continue
        rows = np.asarray(songs[name])
        where = np.searchsorted(shares, ranks(name, len(rows), seed), side="right")
        for index in np.unique(where):
            bins[index].add(Gaussian.of(rows[where == index]), repeat)
    sample, points = Gaussian(len(target.mean)), []
    for part in bins:
        sample.add(part)
        if part.n and sample.n >= 2:
            points.append((1 / sample.n, frechet(target, sample)))
    points = np.array(points)
    if len(points) < 2:
        return float(points[-1, 1])
    return float(np.polyfit(points[:, 0], points[:, 1], 1)[1])


def sample_rows(songs, limit: int, seed: int):
    """At most `limit` embeddings of a set, those of the lowest rank: rows [n, D] and the group of each [n]."""
    places = groups(songs)
    names = sorted(songs)
    counts = {name: len(songs[name]) for name in names}
    ordered = np.sort(np.concatenate([ranks(name, counts[name], seed) for name in names]))
    if len(ordered) > limit:
        threshold = ordered[limit - 1]
    else:
        threshold = 1.0
    rows, labels = [], []
    for name in names:
        keep = ranks(name, counts[name], seed) <= threshold
        if keep.any():
            rows.append(np.asarray(songs[name], np.float64)[keep])
            labels += [places[name]] * int(keep.sum())
    return np.concatenate(rows), np.array(labels)


def kad(songs, reference, seed: int = 0, limit: int = KERNEL_EMBEDDINGS) -> dict:
    """Kernel audio distance: the unbiased squared MMD with k(x, y) = exp(-|x - y|^2 / (2 b^2)), times 100.

    b is the median distance between two embeddings of the reference (Chung et al., "KAD: No More FAD! An Effective and
    Efficient Evaluation Metric for Audio Generation", 2025). It may be below 0. `warning` tells
    of a set with fewer than 100. At most `limit` embeddings of each set are looked at, drawn by a
    rank that depends on song name and seed alone.
    """
    x, x_group = sample_rows(songs, limit, seed)
    y, _ = sample_rows(reference, limit, seed)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"KAD needs two embeddings in each set; it got {len(x)} and {len(y)}")
    distances = _squared_distances(y, y)
    bandwidth = float(np.median(np.sqrt(distances[np.triu_indices(len(y), 1)])))
    if bandwidth == 0:
        raise ValueError("all embeddings of the reference are equal, so KAD has no width; give a reference with sound in it")
    within = (np.exp(-distances / (2 * bandwidth**2)).sum() - len(y)) / (len(y) * (len(y) - 1))
    del distances
    count = int(x_group.max()) + 1
    pairs, cross = np.zeros((count, count)), np.zeros(count)
    for group in range(count):
        rows = x[x_group == group]
        cross[group] = np.exp(-_squared_distances(rows, y) / (2 * bandwidth**2)).sum()
        per_row = np.exp(-_squared_distances(rows, x) / (2 * bandwidth**2)).sum(axis=0)
        pairs[group] = np.bincount(x_group, per_row, count)
    sizes = np.bincount(x_group, minlength=count).astype(float)

    def distance(times):
        return 100 * (_mean_of_pairs(pairs, sizes, times) + within - 2 * (times @ cross) / ((times @ sizes) * len(y)))

    # a draw of nothing but one embedding has no pair
    replicates = [distance(times) for times in _draws(count, seed) if _pair_count(sizes, times)]
    more = {"reference_n": len(y), "bandwidth": bandwidth}
    if (few := min(len(x), len(y))) < FEW_FOR_KERNEL:
        more["warning"] = f"{few} embeddings are fewer than the {FEW_FOR_KERNEL} that KAD needs to settle"
    return _result(distance(np.ones(count)), replicates, len(x), len(songs), **more)


def _mean_of_pairs(pairs, sizes, times):
    """Mean kernel of two different embeddings; a group drawn twice is not paired with its own copy."""
    total = times @ pairs @ times - times**2 @ np.diag(pairs) + times @ (np.diag(pairs) - sizes)
    return total / _pair_count(sizes, times)


def _pair_count(sizes, times):
    """Ordered pairs of different embeddings, counted as in `_mean_of_pairs`."""
    return (times @ sizes) ** 2 - times**2 @ sizes**2 + times @ (sizes * (sizes - 1))


def _squared_distances(a, b):
    """[n, D], [m, D] -> [n, m]."""
    return np.clip((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0, None)


def apa(candidates, pairs, shuffled, seed: int = 0) -> dict:
    """Accompaniment prompt adherence of mixes: 1/2 + (FAD(C, R') - FAD(C, R)) / (2 FAD(R, R')), clipped to [0, 1].

    R are mixes of vocals with their own accompaniments, R' with those of other songs, C with the candidates (Grachten
    and Nistal, "Accompaniment Prompt Adherence: a measure for evaluating music accompaniment systems", ICASSP 2025). 1:
    as the true pairs are; 0: as if the accompaniment did not know the vocal. Mix at equal loudness.
    """
    parts = gather(candidates)
    true, false = merged(gather(pairs)), merged(gather(shuffled))
    true_target, false_target = Target(true), Target(false)
    between = frechet(true_target, false)
    if between <= 1e-9 * max(true_target.trace, 1e-300):
        raise ValueError("true and shuffled mixes are alike, so APA is not defined; give at least two different songs")

    def adherence(gaussian):
        return 0.5 + (frechet(false_target, gaussian) - frechet(true_target, gaussian)) / (2 * between)

    whole = merged(parts)
    value = adherence(whole)
    replicates = [np.clip(adherence(merged(parts, times)), 0, 1) for times in _draws(len(parts), seed)]
    result = _result(
        np.clip(value, 0, 1), replicates, whole.n, len(candidates), unclipped=float(value),
        between=between, **_few(whole, true, false),
    )  # fmt: skip
    if result["low"] is not None:
        result |= {"low": max(result["low"], 0.0), "high": min(result["high"], 1.0)}
    return result


def mean_interval(values: dict[str, float], seed: int = 0, resamples: int = 1000) -> dict:
    """Mean over songs of a number that each song has, with the 2.5 and 97.5 percentiles of means of redrawn recordings."""
    names = [name for name in sorted(values) if values[name] is not None and np.isfinite(values[name])]
    if not names:
        return {"value": None, "low": None, "high": None, "n": 0, "songs": 0}
    recordings = sorted({name.split("@")[0] for name in names})
    index = {recording: i for i, recording in enumerate(recordings)}
    sums, counts = np.zeros(len(recordings)), np.zeros(len(recordings))
    for name in names:
        sums[index[name.split("@")[0]]] += values[name]
        counts[index[name.split("@")[0]]] += 1
    low = high = None
    if len(recordings) > 1:
        count = len(recordings)
        times = np.random.default_rng([seed, count]).multinomial(count, np.full(count, 1 / count), size=resamples)
        low, high = (float(v) for v in np.percentile(times @ sums / (times @ counts), [2.5, 97.5]))
    return {"value": float(sums.sum() / counts.sum()), "low": low, "high": high, "n": len(names), "songs": len(recordings)}
