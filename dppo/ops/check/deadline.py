"""A deadline for each call into an environment, kept by a thread: one that hangs is named, and the process ends."""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dppo.actor.envs.interface import Environments, Step
from dppo.actor.watchdog.traceback_location import with_place
from dppo.fitted_text import fitted
from dppo.protocol.process.descendants import descendants, kill
from dppo.protocol.rollout import Leaves

LOOK_SECONDS = 0.2
ANNOUNCE_SECONDS = 2.0  # what takes longer is worth a line
FAILED = 1


class Deadline:
    """Ends this process where what was begun last takes too long."""

    def __init__(self, name: str, seconds: float, announcement: str = "") -> None:
        """announcement: printed where all of it takes a while."""
        self._name = name
        self._seconds = seconds
        self._announcement = announcement
        self._began: tuple[str, float] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deadline", daemon=True)

    def begin(self, what: str) -> None:
        """Say what may hang from now on; "" for nothing."""
        self._began = (what, time.monotonic()) if what else None

    def __enter__(self) -> "Deadline":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while not self._over.wait(LOOK_SECONDS):
            if self._announcement and time.monotonic() - started > ANNOUNCE_SECONDS:
                print(fitted(self._announcement, sys.stderr), file=sys.stderr, flush=True)
                self._announcement = ""
            began = self._began
            if began is not None and time.monotonic() - began[1] > self._seconds:
                advice = "env.step_timeout_seconds is its limit here and in training, 0 for none"
                text = f"dppo: error: {self._name}: {began[0]} takes longer than {self._seconds:g} s; {advice}"
                print(fitted(text, sys.stderr), file=sys.stderr, flush=True)
                kill(descendants(os.getpid()))  # the sweeper among them, which is not needed any more
                os._exit(FAILED)


class Watched:
    """Environments whose every call is begun at a deadline."""

    def __init__(
        self, environments: Environments, deadline: Deadline, not_closed: Callable[[str], object] = lambda text: None
    ) -> None:
        """not_closed: called with the error where closing them fails, which costs nothing else."""
        self._not_closed = not_closed
        self._inner = environments
        self._deadline = deadline
        self.spec, self.envs, self.indivisible = environments.spec, environments.envs, environments.indivisible
        self.description, self.column = environments.description, environments.column

    def reset(self, seeds: Sequence[int]) -> Leaves:
        """Start E episodes."""
        self._deadline.begin("reset()")
        observations = self._inner.reset(seeds)
        self._deadline.begin("")
        self.spec = self._inner.spec  # the first reset shows whether there are masks
        return observations

    def step(self, env_action: np.ndarray | Leaves) -> Step:
        """Do env_action [E, ...]."""
        self._deadline.begin("step()")
        step = self._inner.step(env_action)
        self._deadline.begin("")
        return step

    def restart(self, columns: Sequence[int], seeds: Sequence[int]) -> Leaves:
        """Make these again."""
        self._deadline.begin("making it again")
        observations = self._inner.restart(columns, seeds)
        self._deadline.begin("")
        return observations

    def given(self, column: int, name: str) -> Any:
        """Return that leaf as its environment gave it."""
        return self._inner.given(column, name)

    def single(self, column: int) -> Any:
        """Return that column's environment."""
        return self._inner.single(column)

    def waiting_for(self) -> Sequence[int]:
        """Columns whose processes have not answered yet."""
        return self._inner.waiting_for()

    def tell_stack(self, column: int) -> None:
        """Have that column's process write its stack."""
        self._inner.tell_stack(column)

    def close(self) -> None:
        """Free what the environments hold. Raises nothing of theirs."""
        self._deadline.begin("close()")
        try:
            self._inner.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever a simulator raises
            self._not_closed(with_place(error))
        self._deadline.begin("")
