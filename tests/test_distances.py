"""Distances between sets against closed forms, direct computations and known limits."""

import numpy as np
import pytest

from accompgen.evaluation import distances
from accompgen.evaluation.gaussian import Gaussian, Target, frechet


def make_songs(rng, songs=12, windows=40, dimension=6, shift=0.0, scale=1.0):
    return {f"song{i:02d}": shift + scale * rng.normal(size=(windows, dimension)) for i in range(songs)}


def exact(mean, covariance, n=1e9):
    """A Gaussian with just this mean and covariance."""
    result = Gaussian(len(mean))
    result.n, result.mean, result.scatter = n, np.asarray(mean, float), np.asarray(covariance, float) * (n - 1)
    return result


def test_streaming_statistics_are_those_of_the_whole_set():
    rng = np.random.default_rng(0)
    rows = 1e4 + rng.normal(size=(500, 5)) @ rng.normal(size=(5, 5))  # far from zero: naive sums of squares would fail
    gathered = Gaussian(5)
    for part in np.split(rows, [1, 20, 20, 300]):
        gathered.add(Gaussian.of(part))
    assert gathered.n == 500
    assert gathered.mean == pytest.approx(rows.mean(0), rel=1e-12)
    np.testing.assert_allclose(gathered.covariance(), np.cov(rows.T), rtol=1e-9)


def test_a_set_taken_twice_counts_twice():
    rows = np.random.default_rng(1).normal(size=(30, 4))
    twice = Gaussian.of(rows).add(Gaussian.of(rows))
    weighted = Gaussian(4).add(Gaussian.of(rows), times=2)
    assert weighted.n == twice.n == 60
    np.testing.assert_allclose(weighted.scatter, twice.scatter, rtol=1e-12)


def test_fad_of_a_set_to_itself_is_zero():
    songs = make_songs(np.random.default_rng(0))
    assert distances.fad(songs, songs)["value"] == pytest.approx(0, abs=1e-9)


def test_frechet_closed_form_of_gaussians_that_commute():
    first = exact([1.0, 2.0, 3.0], np.diag([4.0, 9.0, 1.0]))
    second = exact([0.0, 2.0, 5.0], np.diag([1.0, 16.0, 1.0]))
    # |shift|^2 = 1 + 4; (2 - 1)^2 + (3 - 4)^2 + 0
    assert frechet(Target(first), second) == pytest.approx(5 + 1 + 1, rel=1e-7)


def test_frechet_of_gaussians_that_do_not_commute_against_the_matrix_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(3)
    a, b = (m @ m.T for m in rng.normal(size=(2, 7, 7)))
    mean = rng.normal(size=7)
    expected = mean @ mean + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(Target(exact(mean, a)), exact(np.zeros(7), b)) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_rank_deficient_covariances():
    """Fewer windows than dimensions: two sets in planes at right angles share nothing, so their traces add up."""
    first, second = np.zeros((8, 8)), np.zeros((8, 8))
    first[0, 0], first[1, 1] = 3.0, 2.0
    second[2, 2], second[3, 3] = 5.0, 7.0
    assert frechet(Target(exact(np.zeros(8), first)), exact(np.zeros(8), second)) == pytest.approx(17, rel=1e-7)
    assert frechet(Target(exact(np.zeros(8), first)), exact(np.zeros(8), first)) == pytest.approx(0, abs=1e-6)


def test_fad_warns_where_embeddings_are_fewer_than_dimensions():
    rng = np.random.default_rng(0)
    few, many = make_songs(rng, songs=2, windows=3, dimension=16), make_songs(rng, songs=20, dimension=16)
    assert "fewer than their 16 dimensions" in distances.fad(few, many)["warning"]
    assert "warning" not in distances.fad(many, many)
    assert "fewer than their 16 dimensions" in distances.apa(few, many, make_songs(rng, dimension=16, shift=1.0))["warning"]


def test_kad_warns_below_a_hundred_embeddings_of_either_set():
    few, many = ({f"song{i}": np.random.default_rng(i).normal(size=(n, 4)) for i in range(3)} for n in (33, 34))
    assert distances.kad(few, many)["warning"] == distances.kad(many, few)["warning"]
    assert "99 embeddings" in distances.kad(few, many)["warning"] and "warning" not in distances.kad(many, many)


def test_fad_infinity_recovers_the_limit_that_fad_misses():
    """Two isotropic Gaussians of different width: the limit is D (1.3 - 1)^2; the mean of ten draws shows the bias."""
    rng = np.random.default_rng(5)
    reference = make_songs(rng, songs=100, windows=400, dimension=20)
    draws = [make_songs(rng, songs=30, windows=10, dimension=20, scale=1.3) for _ in range(10)]
    limit = 20 * 0.09
    plain = np.mean([distances.fad(songs, reference)["value"] for songs in draws])
    unbiased = np.mean([distances.fad_infinity(songs, reference, resamples=0)["value"] for songs in draws])
    assert plain > limit * 1.2
    assert unbiased == pytest.approx(limit, rel=0.05)


def test_song_fad_finds_the_odd_song():
    rng = np.random.default_rng(6)
    songs = make_songs(rng)
    songs["song03"] = songs["song03"] + 3
    values = distances.song_fad(songs, make_songs(rng, songs=40))
    assert max(values, key=values.get) == "song03"
    assert values["song03"] > 9 * 6 * 0.8 > 5 * sorted(values.values())[-2]
    assert distances.song_fad({"short": np.zeros((0, 6))}, make_songs(rng)) == {"short": None}


def test_kad_against_the_direct_sum_over_all_pairs():
    rng = np.random.default_rng(7)
    songs, reference = make_songs(rng, songs=5, windows=9, shift=0.4), make_songs(rng, songs=4, windows=11)
    x, y = np.concatenate(list(songs.values())), np.concatenate(list(reference.values()))
    pairwise = [np.linalg.norm(y[i] - y[j]) for i in range(len(y)) for j in range(i)]
    bandwidth = np.median(pairwise)

    def kernel(a, b):
        return np.exp(-(np.linalg.norm(a - b) ** 2) / (2 * bandwidth**2))

    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(kernel(a, b) for a in x for b in y) / (n * m)
    result = distances.kad(songs, reference)
    assert result["value"] == pytest.approx(100 * (xx + yy - 2 * xy), rel=1e-9)
    assert result["bandwidth"] == pytest.approx(bandwidth)


def test_kad_is_unbiased_around_zero_and_grows_with_the_shift():
    rng = np.random.default_rng(8)
    reference = make_songs(rng, songs=20)
    same = [distances.kad(make_songs(rng, songs=6), reference)["value"] for _ in range(12)]
    assert min(same) < 0 < max(same)
    near, far = (distances.kad(make_songs(rng, songs=6, shift=s), reference)["value"] for s in (0.3, 0.9))
    assert max(same) < near < far


def test_the_interval_of_kad_has_a_width_with_two_songs():
    """Draws in which one of the two comes twice are draws, too; without them all that were left were alike."""
    rng = np.random.default_rng(3)
    reference = {f"r{i}": rng.normal(size=(40, 4)) for i in range(4)}
    songs = {"near": rng.normal(size=(40, 4)), "far": 2 + rng.normal(size=(40, 4))}
    result = distances.kad(songs, reference)
    alone = [distances.kad({"one": rows}, reference)["value"] for rows in songs.values()]
    assert result["spread"] > 0.5 * abs(alone[0] - alone[1])
    one_each = {name: rows[:1] for name, rows in songs.items()}  # a song twice has no pair here
    assert np.isfinite(distances.kad(one_each, reference)["spread"])


def test_kad_on_a_sample_stays_near_the_whole():
    rng = np.random.default_rng(9)
    songs, reference = make_songs(rng, songs=30, shift=0.5), make_songs(rng, songs=30)
    whole, part = distances.kad(songs, reference), distances.kad(songs, reference, limit=400)
    assert (whole["n"], part["n"]) == (1200, 400)
    assert part["value"] == pytest.approx(whole["value"], rel=0.15)


def test_apa_is_one_for_true_pairs_and_zero_for_shuffled_ones():
    rng = np.random.default_rng(10)
    true, false = make_songs(rng), make_songs(rng, shift=1.0)
    assert distances.apa(true, true, false)["value"] == pytest.approx(1, abs=1e-6)
    assert distances.apa(false, true, false)["value"] == pytest.approx(0, abs=1e-6)
    half = {**{k: true[k] for k in list(true)[:6]}, **{k: false[k] for k in list(false)[6:]}}
    assert 0.2 < distances.apa(half, true, false)["value"] < 0.8
    with pytest.raises(ValueError, match="two different songs"):
        distances.apa(true, true, true)


@pytest.mark.parametrize("metric", ["fad", "fad_infinity", "kad"])
def test_order_of_files_does_not_matter(metric):
    rng = np.random.default_rng(11)
    songs, reference = make_songs(rng, shift=0.3), make_songs(rng)
    backwards = dict(reversed(list(songs.items())))
    function = getattr(distances, metric)
    assert function(backwards, dict(reversed(list(reference.items())))) == function(songs, reference)


def test_interval_of_a_distance_covers_what_other_draws_give():
    rng = np.random.default_rng(12)
    reference = make_songs(rng, songs=100)
    truth = distances.fad(make_songs(rng, songs=400, shift=0.5), reference)["value"]
    covered = 0
    for _ in range(20):
        result = distances.fad(make_songs(rng, songs=25, shift=0.5), reference)
        covered += result["low"] <= truth <= result["high"]
    assert covered >= 15


def test_interval_redraws_songs_not_windows():
    """Windows of a song are copies of one another: the interval must be as wide as that of the songs alone."""
    rng = np.random.default_rng(13)
    centres = rng.normal(size=(20, 3))
    copies = {f"s{i:02d}": np.repeat(c[None], 50, axis=0) for i, c in enumerate(centres)}
    single = {f"s{i:02d}": c[None] for i, c in enumerate(centres)}
    reference = make_songs(rng, songs=30, dimension=3)
    wide, expected = distances.fad(copies, reference), distances.fad(single, reference)
    assert wide["high"] - wide["value"] == pytest.approx(expected["high"] - expected["value"], rel=0.15)


def test_clips_of_one_recording_are_redrawn_together():
    values = {f"track{t}@{i:03d}": float(t) for t in range(8) for i in range(30)}
    tracks = {f"track{t}": float(t) for t in range(8)}
    clips, whole = distances.mean_interval(values), distances.mean_interval(tracks)
    assert (clips["value"], clips["low"], clips["high"]) == (whole["value"], whole["low"], whole["high"])
    assert (clips["n"], clips["songs"]) == (240, 8)
    assert distances.groups(values)["track3@000"] == distances.groups(values)["track3@029"]


def test_mean_interval_leaves_out_what_has_no_value():
    result = distances.mean_interval({"a": 1.0, "b": 3.0, "c": None, "d": float("nan")})
    assert result["value"] == 2.0 and result["n"] == 2
    assert distances.mean_interval({})["value"] is None


def test_memory_stays_flat_in_the_number_of_songs():
    import tracemalloc

    class Lazy(dict):
        def __getitem__(self, name):
            return np.random.default_rng(int(name)).normal(size=(200, 32))

    def peak(count):
        songs = Lazy({f"{i:05d}": None for i in range(count)})
        tracemalloc.start()
        distances.merged(distances.gather(songs))
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    assert peak(800) < 1.2 * peak(100)


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_a_set_of_fewer_embeddings_than_dimensions_has_the_distance_of_its_covariance(count):
    """Kept as rows or as a matrix, weighted and merged: the same Gaussian."""
    rng = np.random.default_rng(count)
    target, kept, summed = Target(Gaussian.of(rng.normal(size=(40, 12)))), Gaussian(12), Gaussian(12)
    for times in (1, 3):
        rows = rng.normal(size=(count, 12))
        whole = Gaussian.of(np.repeat(rows, times, axis=0))
        whole.scatter = whole.scatter  # as a matrix
        kept.add(Gaussian.of(rows), times)
        summed.add(whole)
    assert (kept.rows is None) == (count > 5) and summed.rows is None
    np.testing.assert_allclose(kept.covariance(), summed.covariance(), atol=1e-12)
    assert kept.trace == pytest.approx(summed.trace)
    assert frechet(target, kept) == pytest.approx(frechet(target, summed), abs=1e-6)
