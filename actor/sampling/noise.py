"""Seeded randomness of an actor's slots: exploration noise and environment seeds. Knows slots; knows no policy.

Every slot (a logical environment) has its own generators, spawned from the run's seed by slot, life and stream. So the
numbers that a slot sees are the same however the slots are grouped into actors, and a slot that starts again after a
crash (its next life) does not repeat itself.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from dppo.actor.envs.interface import Step
from dppo.actor.sampling.coloured_noise import MOST_COLOUR, MOST_COLOURED, ColouredNoise
from dppo.protocol.errors import ProtocolError

NoiseKind = Literal["normal", "gumbel"]

EXPLORATION_STREAM = 0
ENVIRONMENT_STREAM = 1
HELD_STREAM = 2
COLOURED_STREAM = 3

KINDS: dict[str, NoiseKind] = {"normal": "normal", "gumbel": "gumbel"}

EPISODE = 0  # in the place of steps: as long as an episode
OF_AN_EPISODE = "episode"  # its word in a graph
_COLOUR = re.compile(r"colour(\d(?:\.\d{1,6})?)")

BLOCK_STEPS = 256  # drawn at once; one call a slot and step would cost more than a small policy
BLOCK_NUMBERS = 2**16  # and at most so many numbers a slot, for wide actions


class NoisePart(NamedTuple):
    """Some of the numbers of a step's noise."""

    kind: NoiseKind
    size: int
    steps: int = 1  # for which they stay the same; EPISODE: until the episode ends
    colour: float = 0.0  # of normal ones: their power falls as 1 / f^colour; 0: white


class NoiseStream:
    """Standard normal or standard Gumbel noise, or both, for E consecutive slots, `size` numbers a slot and step."""

    def __init__(self, seed: int, *, first_slot: int, envs: int, life: int, kind: str, size: int) -> None:
        """kind: as `noise_parts` reads it, which raises ProtocolError for another."""
        self.kind = kind
        self.size = size
        first, *others = noise_parts(kind, size)
        slots = range(first_slot, first_slot + envs)
        self._held: _Held | _Coloured | None = None
        self._of_episodes: _HeldForEpisodes | None = None
        is_plain = first.steps == 1 and not first.colour
        if first.colour:
            generators = [np.random.default_rng(_sequence(seed, slot, life, COLOURED_STREAM)) for slot in slots]
            self._held = _Coloured(first, generators)
        elif first.steps != 1:
            generators = [np.random.default_rng(_sequence(seed, slot, life, HELD_STREAM)) for slot in slots]
            if first.steps == EPISODE:
                self._of_episodes = _HeldForEpisodes(first, generators)
            else:
                self._held = _Held(first, generators)
        self._parts = (first, *others) if is_plain else tuple(others)
        size = sum(part.size for part in self._parts)
        self._generators = [np.random.default_rng(_sequence(seed, slot, life, EXPLORATION_STREAM)) for slot in slots]
        # must not depend on E: a slot's numbers would then depend on its actor
        self._block_steps = max(1, min(BLOCK_STEPS, BLOCK_NUMBERS // max(1, size)))
        self._block = np.empty((0, envs, size), np.float32)
        self._step = 0

    def next(self) -> np.ndarray:
        """The next step's noise, float32 [E, size]; a view that is never overwritten."""
        if self._step == len(self._block):
            self._block = np.stack([self._draw(generator) for generator in self._generators], axis=1)
            self._step = 0
        noise: np.ndarray = self._block[self._step]
        self._step += 1
        if self._held is not None:
            return self._held.beside(noise)
        return noise if self._of_episodes is None else self._of_episodes.beside(noise)

    @property
    def heeds_episodes(self) -> bool:
        """Whether `after` must be called with every step."""
        return self._of_episodes is not None

    def after(self, step: Step) -> None:
        """Draw what stays the same for an episode anew where the step ended one or was none: a reset, a crash."""
        if self._of_episodes is not None:
            self._of_episodes.begins |= step.terminated | step.truncated | ~step.valid

    def _draw(self, generator: np.random.Generator) -> np.ndarray:
        return drawn(generator, self._parts, self._block_steps)


class _Held:
    """Noise that stays the same for some steps, of several slots."""

    def __init__(self, part: NoisePart, generators: Sequence[np.random.Generator]) -> None:
        self._part = part
        self._generators = generators
        self._kept = np.empty((len(generators), 0), np.float32)
        self._left = 0  # steps for which it stays

    def beside(self, noise: np.ndarray) -> np.ndarray:
        """Return the numbers of this step, [E, size], and the others [E, n] behind them."""
        if not self._left:
            self._left = self._part.steps
            self._kept = np.concatenate([drawn(generator, [self._part], 1) for generator in self._generators])
        self._left -= 1
        return np.concatenate([self._kept, noise], 1)


class _Coloured:
    """Noise of which each step depends on those before, of several slots. It goes on over episodes and versions."""

    def __init__(self, part: NoisePart, generators: Sequence[np.random.Generator]) -> None:
        self._slots = [ColouredNoise(generator, part.size, part.colour) for generator in generators]
        self._block = np.empty((0, len(generators), part.size), np.float32)
        self._step = 0

    def beside(self, noise: np.ndarray) -> np.ndarray:
        """Return the numbers of this step, [E, size], and the others [E, n] behind them."""
        if self._step == len(self._block):
            self._block = np.stack([slot.block() for slot in self._slots], axis=1)
            self._step = 0
        numbers = self._block[self._step]
        self._step += 1
        return np.concatenate([numbers, noise], 1)


class _HeldForEpisodes:
    """Noise that stays the same for an episode, of several slots."""

    def __init__(self, part: NoisePart, generators: Sequence[np.random.Generator]) -> None:
        self._part = part
        self._generators = generators
        self._kept = np.empty((len(generators), part.size), np.float32)
        self.begins = np.ones(len(generators), bool)  # slots whose next step begins an episode

    def beside(self, noise: np.ndarray) -> np.ndarray:
        """Return the numbers of this step, [E, size], and the others [E, n] behind them."""
        if np.count_nonzero(self.begins):
            for slot in np.flatnonzero(self.begins).tolist():
                self._kept[slot] = drawn(self._generators[slot], [self._part], 1)
            self.begins[:] = False
        return np.concatenate([self._kept, noise], 1)


def noise_parts(kind: str, size: int) -> tuple[NoisePart, ...]:
    """Return the parts in their order, of "normal", "gumbel" or "normal:2 gumbel:6": how many numbers of which kind.

    "normal:2:16": the same for 16 steps, which only the first part can be; "normal:2:episode": for an episode;
    "normal:2:colour0.5": of that colour. Raises ProtocolError for what is no such text, or for another size in all.
    """
    if kind in KINDS:
        return (NoisePart(KINDS[kind], size),)
    texts = [part.split(":") for part in kind.split(" ")]
    allowed = [len(text) == 2 or (len(text) == 3 and not place) for place, text in enumerate(texts)]
    if not all(allowed) or not all(name in KINDS and _are_counts(*counts) for name, *counts in texts):
        raise ProtocolError(f"the policy graph asks for noise of kind {kind[:64]!r}; known are {', '.join(KINDS)}")
    parts = tuple(NoisePart(KINDS[name], int(size), *_manner(*steps)) for name, size, *steps in texts)
    if parts[0].colour and (parts[0].kind != "normal" or parts[0].size > MOST_COLOURED):
        raise ProtocolError(
            f"the policy graph asks for coloured noise as {kind[:64]!r}, which is for up to {MOST_COLOURED} normal "
            "numbers"
        )
    if sum(part.size for part in parts) != size:
        raise ProtocolError(
            f"the policy graph asks for {size} numbers of noise, and for {sum(part.size for part in parts)} as "
            f"{kind[:64]!r}"
        )
    return parts


def _are_counts(size: str, *manner: str) -> bool:
    return _is_count(size) and all(
        text == OF_AN_EPISODE or _is_count(text) or 0 < _colour(text) <= MOST_COLOUR for text in manner
    )


def _manner(text: str = "1") -> tuple[int, float]:
    """Steps for which numbers stay the same, and their colour."""
    if colour := _colour(text):
        return 1, colour
    return EPISODE if text == OF_AN_EPISODE else int(text), 0.0


def _colour(text: str) -> float:
    """Return the colour that the text names; 0 for one that names none."""
    found = _COLOUR.fullmatch(text)
    return float(found[1]) if found else 0.0


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10 and int(text) > 0


def drawn(generator: np.random.Generator, parts: Sequence[NoisePart], rows: int) -> np.ndarray:
    """Noise [rows, size] float32 of these parts, all of it fresh in each row."""
    columns = [
        generator.standard_normal((rows, size), np.float32)
        if kind == "normal"
        # numpy draws again where the logarithm would be infinite; in float32 we would have to
        else generator.gumbel(size=(rows, size)).astype(np.float32)
        for kind, size, *_ in parts
    ]
    return columns[0] if len(columns) == 1 else np.concatenate(columns or [np.empty((rows, 0), np.float32)], 1)


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
