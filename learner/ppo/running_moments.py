"""Running mean and variance of a stream of arrays. Knows numpy only."""

import numpy as np

from dppo.learner.ppo.reduce import Reduce, joint_moments


class RunningMoments:
    """Mean and variance of everything seen, merged batch by batch in float64.

    Chan, Golub, LeVeque 1979: with d = mean_b - mean_a and n = n_a + n_b,
    mean = mean_a + d * n_b / n and M2 = M2_a + M2_b + d^2 * n_a * n_b / n.
    The count is a Python integer: a float32 count would stop growing at 2^24.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self._mean = np.zeros(shape, np.float64)
        self._squares = np.zeros(shape, np.float64)  # M2: sum of squared deviations from the mean

    def update(self, array: np.ndarray, reduce: Reduce | None = None) -> None:
        """Merge n more samples, array [n, *shape], and those of all other ranks.

        The same samples in another order may differ in the last bit.
        """
        if array.shape[1:] != self._mean.shape:
            raise ValueError(f"samples of shape {array.shape[1:]} for moments of shape {self._mean.shape}")
        n = len(array)
        array = np.asarray(array, np.float64)
        mean = array.mean(axis=0) if n else np.zeros_like(self._mean)
        squares = np.square(array - mean).sum(axis=0)
        if reduce is not None:
            n, mean, squares = joint_moments(reduce, n, mean, squares)
        if n == 0:
            return
        difference = mean - self._mean
        total = self.count + n
        self._squares += squares + np.square(difference) * (self.count * n / total)
        self._mean += difference * (n / total)
        self.count = total

    @property
    def mean(self) -> np.ndarray:
        """[*shape] float64; 0 before the first sample."""
        return self._mean

    @property
    def variance(self) -> np.ndarray:
        """[*shape] float64, of the population; 1 before the first sample."""
        return self._squares / self.count if self.count else np.ones_like(self._squares)

    def scale(self, epsilon: float) -> np.ndarray:
        """[*shape] float64: what to multiply deviations from the mean with, 1 / sqrt(variance + epsilon)."""
        return np.asarray(1.0 / np.sqrt(self.variance + epsilon))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays, for a checkpoint."""
        return {"count": np.array(self.count, np.int64), "mean": self._mean.copy(), "squares": self._squares.copy()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "RunningMoments":
        """The moments that `arrays` came from, bit for bit."""
        moments = cls(arrays["mean"].shape)
        moments.count = int(arrays["count"])
        moments._mean = np.array(arrays["mean"], np.float64)
        moments._squares = np.array(arrays["squares"], np.float64)
        return moments
