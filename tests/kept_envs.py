"""Environments whose simulator outlives reset(): a stand-in for a world of Box2D, and what such a world may keep."""

from typing import Any

from tests.faulty_envs import Cart


class Counter:
    """Counts, where no attribute shows it: like the order of contacts in a simulator that is not Python's."""

    __slots__ = ("bodies", "count", "joints")

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.joints: list[Any] = []
        self.count = 0


class b2World(Counter):
    __slots__ = ()


b2World.__module__ = "Box2D.Box2D"


class Body:
    """A body, as its world shows it."""

    def __init__(self, position: float) -> None:
        self.position = position
        self.fixtures: list[Any] = []


class KeptSimulator(Cart):
    """Something is kept where nobody sees it."""

    kind: type[Counter] = Counter

    def __init__(self) -> None:
        super().__init__()
        self.world = self.kind()

    def pushed(self, action: Any) -> None:
        self.world.count += 1
        super().pushed(action * (1 + 1e-6 * (self.world.count % 1000)))


class KeptContacts(KeptSimulator):
    """Nothing but the order of contacts is kept."""

    kind = b2World


class KeptBody(KeptContacts):
    """A body is where the episode before has left it."""

    def pushed(self, action: Any) -> None:
        self.world.bodies[:] = [Body(self.world.count)]
        super().pushed(action)
