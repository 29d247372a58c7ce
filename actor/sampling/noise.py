"""Seeded randomness of an actor's slots: exploration noise and environment seeds. Knows slots; knows no policy.

Every slot (a logical environment) has its own generators, spawned from the run's seed by slot, life and stream. So the
numbers that a slot sees are the same however the slots are grouped into actors, and a slot that starts again after a
crash (its next life) does not repeat itself.
"""

from typing import Literal

import numpy as np

NoiseKind = Literal["normal", "gumbel"]

EXPLORATION_STREAM = 0
ENVIRONMENT_STREAM = 1

BLOCK_STEPS = 256  # drawn at once; one call a slot and step would cost more than a small policy
BLOCK_NUMBERS = 2**16  # and at most so many numbers a slot, for wide actions


class NoiseStream:
    """Standard normal or standard Gumbel noise for E consecutive slots, `size` numbers a slot and step."""

    def __init__(self, seed: int, *, first_slot: int, envs: int, life: int, kind: NoiseKind, size: int) -> None:
        self.kind = kind
        self.size = size
        self._generators = [
            np.random.default_rng(_sequence(seed, slot, life, EXPLORATION_STREAM))
            for slot in range(first_slot, first_slot + envs)
        ]
        # must not depend on E: a slot's numbers would then depend on its actor
        self._block_steps = max(1, min(BLOCK_STEPS, BLOCK_NUMBERS // size))
        self._block = np.empty((0, envs, size), np.float32)
        self._step = 0

    def next(self) -> np.ndarray:
        """The next step's noise, float32 [E, size]; a view that is never overwritten."""
        if self._step == len(self._block):
            self._block = np.stack([self._draw(generator) for generator in self._generators], axis=1)
            self._step = 0
        noise: np.ndarray = self._block[self._step]
        self._step += 1
        return noise

    def _draw(self, generator: np.random.Generator) -> np.ndarray:
        shape = (self._block_steps, self.size)
        if self.kind == "normal":
            return generator.standard_normal(shape, np.float32)
        # numpy draws again where the logarithm would be infinite; in float32 we would have to
        return generator.gumbel(size=shape).astype(np.float32)


def environment_seeds(seed: int, *, first_slot: int, envs: int, life: int) -> list[int]:
    """One seed a slot for its environment's reset, in [0, 2**31): some simulators keep it in 32 signed bits."""
    return [
        int(_sequence(seed, slot, life, ENVIRONMENT_STREAM).generate_state(1)[0]) >> 1
        for slot in range(first_slot, first_slot + envs)
    ]


def restart_seed(seed: int, *, slot: int, life: int, restart: int) -> int:
    """Return the seed of that slot's environment once it is made again; restart: 1 the first time in this life."""
    return int(_sequence(seed, slot, life, ENVIRONMENT_STREAM, restart).generate_state(1)[0]) >> 1


def _sequence(seed: int, slot: int, life: int, *stream: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(slot, life, *stream))
