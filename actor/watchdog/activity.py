"""Activity of an actor's main thread, for a thread that watches it. A record of plain numbers.

Written at every step and read about once a second, without a lock: each field is one store, and a reader of a mixture
of two moments looks again a second later.
"""

from dataclasses import dataclass

from dppo.actor.envs.interface import Environments


@dataclass
class Activity:
    """The environment call in progress on the main thread."""

    what: str = ""  # "env.step", "env.reset", "making the environments"; "": something of our own
    turns: int = 0  # grows with everything begun
    loops: int = 0  # grows several times a second where the main thread goes on, whatever it does
    limit_seconds: float = 0.0  # that it may take; 0: for ever
    environments: Environments | None = None  # None while they are made

    def begin(self, what: str) -> None:
        """Note that something is handed to the environments."""
        self.turns += 1
        self.what = what

    def end(self) -> None:
        """Note that the environments are done with it."""
        self.what = ""
