"""Mean and covariance of embeddings, gathered song by song, and the Frechet distance between two of them.

The memory is that of one D x D matrix however many songs pass through: counts, means and sums of squares about the mean
are merged pair by pair (Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979).
"""

import numpy as np


class Gaussian:
    """Count, mean [D] and scatter [D, D] (sum of squares about the mean) of the embeddings added so far, in float64."""

    def __init__(self, dimension: int):
        self.n = 0.0
        self.mean = np.zeros(dimension)
        self.scatter = np.zeros((dimension, dimension))

    @classmethod
    def of(cls, rows: np.ndarray) -> "Gaussian":
        """The statistics of rows [n, D]; n may be 0."""
        rows = np.asarray(rows, np.float64)
        result = cls(rows.shape[1])
        if len(rows):
            result.n, result.mean = float(len(rows)), rows.mean(axis=0)
            centred = rows - result.mean
            result.scatter = centred.T @ centred
        return result

    def add(self, other: "Gaussian", times: float = 1.0) -> "Gaussian":
        """Take in another set, as if each of its embeddings had come `times` times; returns itself."""
        extra = other.n * times
        if extra:
            total = self.n + extra
            shift = other.mean - self.mean
            self.scatter += times * other.scatter + np.outer(shift, shift) * (self.n * extra / total)
            self.mean = self.mean + shift * (extra / total)
            self.n = total
        return self

    def covariance(self) -> np.ndarray:
        """[D, D], with the divisor n - 1; zeros for a single embedding."""
        return self.scatter / max(self.n - 1, 1)


class Target:
    """A Gaussian whose covariance root is worked out once, because many sets are compared with it."""

    def __init__(self, gaussian: Gaussian):
        if not gaussian.n:
            raise ValueError("the reference set has no embeddings; give at least one file of one window")
        self.n, self.mean = gaussian.n, gaussian.mean
        covariance = gaussian.covariance()
        values, vectors = np.linalg.eigh(covariance)
        self.trace = np.trace(covariance)
        self.root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T  # [D, D]


def frechet(target: Target, gaussian: Gaussian) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^1/2): the squared Frechet distance of two Gaussians (Dowson and Landau, 1982).

    The trace of the root is the sum of the roots of the eigenvalues of C1^1/2 C2 C1^1/2, which is symmetric and has no
    negative eigenvalue but by rounding; so no matrix root of a product is taken, and a covariance of deficient rank is
    no special case. Raises ValueError for an empty set.
    """
    if not gaussian.n:
        raise ValueError("the set to compare has no embeddings; give at least one file of one window")
    covariance = gaussian.covariance()
    eigenvalues = np.linalg.eigvalsh(target.root @ covariance @ target.root)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    shift = target.mean - gaussian.mean
    return float(shift @ shift + target.trace + np.trace(covariance) - 2 * cross)
