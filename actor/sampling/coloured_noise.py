"""Coloured noise: normal numbers whose power falls as 1 / f^colour. Knows one generator; knows no slots, no policy.

    x_t = sum over k < TAPS of h_k w_{t-k} / |h|,    h_0 = 1,    h_k = h_{k-1} (k - 1 + colour / 2) / k

of white standard normal w (N. J. Kasdin 1995, "Discrete simulation of colored noise and stochastic processes and
1/f^alpha power law noise generation", Proceedings of the IEEE 83(5)). Each x is standard normal, exactly, and the
process is stationary from its first number on and goes on for ever. Its spectrum is |2 sin(pi f)|^-colour down to a
frequency of about 1 / TAPS, and flat below.
"""

import numpy as np

TAPS = 1024  # steps that a number remembers
TRANSFORM = 2048  # length of the Fourier transforms
BLOCK_STEPS = TRANSFORM - TAPS + 1  # made by one of them

MOST_COLOURED = 2**12  # numbers of a step: the past of each is kept
MOST_COLOUR = 2.0  # red: a random walk, as far as the memory reaches


class ColouredNoise:
    """The numbers of one slot. What it gives does not depend on other slots: each has transforms of its own."""

    def __init__(self, generator: np.random.Generator, size: int, colour: float) -> None:
        """size: numbers of a step, independent of each other. colour: 0 is white, 1 pink, 2 red."""
        self._generator = generator
        self._filter = np.fft.rfft(weights(colour), TRANSFORM)[:, None]
        self._past = self._white(TAPS - 1, size)
        self._size = size

    def block(self) -> np.ndarray:
        """The next BLOCK_STEPS rows, float32 [BLOCK_STEPS, size]."""
        white = np.concatenate([self._past, self._white(BLOCK_STEPS, self._size)])
        self._past = white[BLOCK_STEPS:]
        # the product is the circular convolution, which is the linear one from where its window does not wrap
        around = np.fft.irfft(np.fft.rfft(white, TRANSFORM, axis=0) * self._filter, TRANSFORM, axis=0)
        return around[TAPS - 1 :].astype(np.float32)

    def _white(self, rows: int, size: int) -> np.ndarray:
        return self._generator.standard_normal((rows, size), np.float32)


def weights(colour: float) -> np.ndarray:
    """Return h_k / |h|, float64 [TAPS]: the share of each of the white numbers."""
    k = np.arange(1.0, TAPS)
    h = np.concatenate([[1.0], np.cumprod((k - 1.0 + colour / 2.0) / k)])
    normal: np.ndarray = h / np.sqrt((h * h).sum())
    return normal
