"""Seeded randomness of an actor's slots: exploration noise and environment seeds. Knows slots; knows no policy.

Every slot (a logical environment) has its own generators, spawned from the run's seed by slot, life and stream. So the
numbers that a slot sees are the same however the slots are grouped into actors, and a slot that starts again after a
crash (its next life) does not repeat itself.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dppo.protocol.errors import ProtocolError

NoiseKind = Literal["normal", "gumbel"]

EXPLORATION_STREAM = 0
ENVIRONMENT_STREAM = 1

KINDS: dict[str, NoiseKind] = {"normal": "normal", "gumbel": "gumbel"}

BLOCK_STEPS = 256  # drawn at once; one call a slot and step would cost more than a small policy
BLOCK_NUMBERS = 2**16  # and at most so many numbers a slot, for wide actions


class NoiseStream:
    """Standard normal or standard Gumbel noise, or both, for E consecutive slots, `size` numbers a slot and step."""

    def __init__(self, seed: int, *, first_slot: int, envs: int, life: int, kind: str, size: int) -> None:
        """kind: as `noise_parts` reads it, which raises ProtocolError for another."""
        self.kind = kind
        self.size = size
        self._parts = noise_parts(kind, size)
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
        return drawn(generator, self._parts, self._block_steps)


def noise_parts(kind: str, size: int) -> tuple[tuple[NoiseKind, int], ...]:
    """Return the kinds in their order, and how many numbers each has, of "normal", "gumbel" or "normal:2 gumbel:6".

    Raises ProtocolError for what is no such text, or for another size in all.
    """
    if kind in KINDS:
        return ((KINDS[kind], size),)
    parts = [part.partition(":") for part in kind.split(" ")]
    if not all(name in KINDS and count.isdecimal() and len(count) < 10 and int(count) for name, _, count in parts):
        raise ProtocolError(f"the policy graph asks for noise of kind {kind[:64]!r}; known are {', '.join(KINDS)}")
    counts = [int(count) for _, _, count in parts]
    if sum(counts) != size:
        raise ProtocolError(
            f"the policy graph asks for {size} numbers of noise, and for {sum(counts)} as {kind[:64]!r}"
        )
    return tuple((KINDS[name], count) for (name, _, _), count in zip(parts, counts, strict=True))


def drawn(generator: np.random.Generator, parts: Sequence[tuple[NoiseKind, int]], rows: int) -> np.ndarray:
    """Noise [rows, size] float32 of these parts."""
    columns = [
        generator.standard_normal((rows, size), np.float32)
        if kind == "normal"
        # numpy draws again where the logarithm would be infinite; in float32 we would have to
        else generator.gumbel(size=(rows, size)).astype(np.float32)
        for kind, size in parts
    ]
    return columns[0] if len(columns) == 1 else np.concatenate(columns, 1)


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
