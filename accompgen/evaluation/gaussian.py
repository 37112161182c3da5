"""Mean and covariance of embeddings, gathered song by song, and the Frechet distance between two of them.

Counts, means and sums of squares about the mean are merged pair by pair (Chan, Golub, LeVeque, "Updating formulae and a
pairwise algorithm for computing sample variances", 1979). The memory is that of one D x D matrix, however many songs pass
through. Sets of fewer than D embeddings are kept as rows: their scatter has no more rank than that, and a Frechet distance
costs the cube of the rank.
"""

import numpy as np


class Gaussian:
    """Count, mean [D] and scatter [D, D] (sum of squares about the mean) of the embeddings added so far, in float64."""

    def __init__(self, dimension: int):
        self.n = 0.0
        self.mean = np.zeros(dimension)
        self._parts: list | None = []  # rows [k, D] whose squares are the scatter; None: there were as many as dimensions
        self._scatter = None  # in that case

    @classmethod
    def of(cls, rows: np.ndarray) -> "Gaussian":
        """The statistics of rows [n, D]; n may be 0."""
        rows = np.asarray(rows, np.float64)
        result = cls(rows.shape[1])
        if len(rows):
            result.n, result.mean = float(len(rows)), rows.mean(axis=0)
        if len(rows) > 1:  # the scatter of a single one is 0
            result._parts = [rows - result.mean]
            result._sum_up_if_many()
        return result

    def add(self, other: "Gaussian", times: float = 1.0) -> "Gaussian":
        """Take in another set, as if each of its embeddings had come `times` times; returns itself."""
        extra = other.n * times
        if extra:
            total = self.n + extra
            shift = other.mean - self.mean
            between = shift[None] * np.sqrt(self.n * extra / total)  # [1, D]
            if self._parts is None or other._parts is None:
                self.scatter = self.scatter + times * other.scatter + between.T @ between
            else:
                self._parts = self._parts + [part * np.sqrt(times) for part in other._parts] + [between] * bool(self.n)
                self._sum_up_if_many()
            self.mean = self.mean + shift * (extra / total)
            self.n = total
        return self

    @property
    def rows(self) -> np.ndarray | None:
        """Rows [k, D] whose squares are the scatter, k below D; None for larger sets."""
        return None if self._parts is None else np.concatenate([np.zeros((0, len(self.mean))), *self._parts])

    @property
    def scatter(self) -> np.ndarray:
        """[D, D]."""
        return self._scatter if self._parts is None else self.rows.T @ self.rows

    @scatter.setter
    def scatter(self, value: np.ndarray) -> None:
        self._scatter, self._parts = value, None

    def covariance(self) -> np.ndarray:
        """[D, D], with the divisor n - 1; zeros for a single embedding."""
        return self.scatter / self._divisor

    @property
    def trace(self) -> float:
        """Of the covariance."""
        squares = np.trace(self._scatter) if self._parts is None else sum((part**2).sum() for part in self._parts)
        return float(squares / self._divisor)

    def root_trace(self, root: np.ndarray) -> float:
        """Tr (R C R)^1/2 of the covariance C and a symmetric matrix R [D, D]."""
        if (rows := self.rows) is None:
            product = root @ self.covariance() @ root
        else:  # R F^T F R and F R R F^T have the same eigenvalues, but for zeros
            half = rows @ root
            product = half @ half.T / self._divisor
        return float(np.sqrt(np.clip(np.linalg.eigvalsh(product), 0, None)).sum())

    @property
    def _divisor(self):
        return max(self.n - 1, 1)

    def _sum_up_if_many(self):
        if sum(map(len, self._parts)) >= len(self.mean):
            self.scatter = self.rows.T @ self.rows


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
    shift = target.mean - gaussian.mean
    return float(shift @ shift + target.trace + gaussian.trace - 2 * gaussian.root_trace(target.root))
