"""The processes of an asynchronous vector environment: what runs in each, which one failed, how all of them end.

Knows how Gymnasium keeps them. One that hangs answers no request to close, and one whose actor was killed gets no
request: so here they are killed, and end by themselves with their actor.
"""

import contextlib
import copy
import ctypes
import faulthandler
import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, VectorEnv

from dppo.actor.envs.contract import Contract
from dppo.actor.envs.env_numbers import set_variables
from dppo.actor.envs.first_calls import check_first_calls, given_to_reset
from dppo.actor.envs.lookup import make_single
from dppo.actor.envs.masks_in_worker import MasksInWorker
from dppo.actor.envs.metrics import StepMetrics
from dppo.actor.envs.returned_values import BrokenContract, RaisedInProcess
from dppo.actor.envs.vector_infos import told_at_the_end
from dppo.actor.envs.wrapping import wrapped
from dppo.actor.watchdog.traceback_location import with_place
from dppo.protocol.env_wrappers import EnvWrapper
from dppo.protocol.errors import DppoError
from dppo.protocol.placeholders import Numbers
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.specs import spec_of

PR_SET_PDEATHSIG = 1  # prctl(2)
SECONDS_TO_END = 2.0  # for a process whose pipe is closed already, or that was killed
TELL_STACK = signal.SIGUSR1
NOTES = "_dppo_notes"  # key of an info: what is odd in what an environment returned, a line each


def make_in_worker(
    env_id: str,
    kwargs: dict[str, Any],
    numbers: Numbers,
    wrappers: Sequence[EnvWrapper] = (),
    step_metrics: Sequence[str] = (),
    action_mask: str = "auto",
    metrics: Sequence[str] = (),
) -> gym.Env[Any, Any]:
    """Called in the new process. (Gymnasium also calls it once in the actor's, to look at the spaces.)

    metrics: names of all of them, those of steps included.
    """
    if multiprocessing.parent_process() is not None:
        _end_with_actor()
        faulthandler.enable()
        faulthandler.register(TELL_STACK, all_threads=True)  # answered also where something holds the interpreter
        set_variables(numbers)
    with _ends_told():
        environment = make_single(env_id, kwargs)
        check_first_calls(environment)
        environment = wrapped(environment, wrappers, numbers)
    return _InWorker(StepMetrics(environment, step_metrics) if step_metrics else environment, action_mask, metrics)


class _InWorker(gym.Wrapper[Any, Any, Any, Any]):
    """Checks what the environment returns before Gymnasium writes it into memory of the space's dtype, in silence;
    seeds the action space, in the process where the environment is; lets only what is read of infos leave it.
    """

    def __init__(self, environment: gym.Env[Any, Any], action_mask: str = "auto", metrics: Sequence[str] = ()) -> None:
        super().__init__(environment)
        space, spec = environment.observation_space, spec_of(environment.observation_space, environment.action_space)
        self._metrics = metrics
        self._notes: list[str] = []  # to be handed over with the next info
        self._contract = Contract(space, spec.observation, self._notes.append)
        self._masks = MasksInWorker(environment, spec, action_mask, self._contract)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset as Env.reset does."""
        if seed is not None:
            self.action_space.seed(seed)
        with _errors_told():
            observation, info = self._contract.reset(self.env.reset(**given_to_reset(seed, options)))
            info = self._masks.after_reset(observation, info, self._notes.append)
        return self._contract.given(observation), self._with_notes(self._masks.told(info))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step as Env.step does."""
        with _errors_told():
            result: tuple[Any, Any, bool, bool, dict[str, Any]] = self._contract.step(self.env.step(action))
            if self._masks.reader is not None:
                result = self._masks.after_step(self._masks.reader, result)
        observation, info = self._contract.given(result[0]), self._masks.told(result[4])
        if result[2] or result[3]:  # Gymnasium resets before it sends it, and an environment may reuse its arrays
            observation = copy.deepcopy(observation)
            info |= told_at_the_end(result[4], self._metrics)
        return (observation, *result[1:4], self._with_notes(info))

    def _with_notes(self, info: dict[str, Any]) -> dict[str, Any]:
        if not self._notes:
            return info
        text = "\n".join(self._notes)
        self._notes.clear()
        return {**info, NOTES: text}


def take_notes(infos: dict[str, Any]) -> list[str]:
    """Remove what the processes noted from the infos of a vector, and return it."""
    notes: list[str] = []
    for found in (infos, infos.get("final_info")):  # the latter of episodes that ended in this step
        if isinstance(found, dict) and NOTES in found:
            notes += [line for text in found.pop(NOTES) if text for line in text.split("\n")]
            found.pop(f"_{NOTES}", None)  # Gymnasium's mask
    return notes


@contextlib.contextmanager
def _ends_told() -> Iterator[None]:
    """Raise an exception that would end the process silently (SystemExit, a foreign BaseException) as RuntimeError."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """Raise whatever an environment raises as its text, which Gymnasium's queue carries.

    An error of a user's own class may not fit in there, and then its actor would wait for ever; or only its text
    arrives, from which Gymnasium cannot make one whose class takes other arguments.
    """
    try:
        yield
    except (BrokenContract, DppoError):  # ours, made of a text
        raise
    except BaseException as error:
        raise RaisedInProcess(with_place(error)) from error


def _end_with_actor() -> None:
    """End with the actor, whatever the environment is doing: by a thread, and on Linux by the kernel."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # also there: the actor may have died before that line
    threading.Thread(target=_watch_actor, name="lifeline", daemon=True).start()


def _watch_actor() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker watches"
    parent.join()
    os._exit(1)


def worker_failure(vector: VectorEnv[Any, Any, Any], error: BaseException) -> tuple[int | None, BaseException]:
    """Return the column that made the vector's step raise, and the error; a dead process is named with how it died."""
    workers = vector.unwrapped
    if not isinstance(workers, AsyncVectorEnv):
        return None, error
    if isinstance(error, EOFError | OSError):  # the other end of a pipe is gone
        ended = wait([process.sentinel for process in workers.processes], SECONDS_TO_END)
        for column, process in enumerate(workers.processes):
            if process.sentinel in ended:
                process.join()
                return column, ChildProcessError(f"its process {how_it_ended(process.exitcode or 0)}")
    for column, pipe in enumerate(workers.parent_pipes):
        if pipe is None:  # Gymnasium's mark for one that raised; it wraps what was raised into another of its kind
            raised = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
            return column, raised
    return None, error


class Answers:
    """Waits for the processes one after the other, so that it is known at any time for whom: Gymnasium reads the pipes
    in the same order, and an empty pipe may be one that was read already. 1 us a process.
    """

    def __init__(self, workers: AsyncVectorEnv[Any, Any]) -> None:
        self.column: int | None = None  # whose answer is awaited; None: none
        self._pipes = workers.parent_pipes
        self._polls = []
        for pipe in self._pipes:
            poll = select.poll()
            poll.register(pipe.fileno(), select.POLLIN)
            self._polls.append(poll)

    def wait(self) -> None:
        """Return when every process has answered, or is gone."""
        for column, poll in enumerate(self._polls):
            self.column = column
            poll.poll()
        self.column = None

    def missing(self) -> list[int]:
        """Columns that have not answered yet. May be called from another thread."""
        awaited = self.column
        if awaited is None:
            return []
        later = []
        for column in range(awaited + 1, len(self._pipes)):
            pipe = self._pipes[column]
            with contextlib.suppress(OSError):  # closed a moment ago
                if pipe is not None and not pipe.poll():
                    later.append(column)
        return [awaited, *later]


def tell_stack(vector: VectorEnv[Any, Any, Any], column: int) -> None:
    """Have that process write its stack to its standard error, which is the actor's."""
    workers = vector.unwrapped
    if isinstance(workers, AsyncVectorEnv):
        process = workers.processes[column]
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, TELL_STACK)


def end_vector(vector: VectorEnv[Any, Any, Any]) -> None:
    """Close it, whatever state it is in; processes that do not end by themselves are killed."""
    workers = vector.unwrapped
    if not isinstance(workers, AsyncVectorEnv):
        with contextlib.suppress(Exception):  # it may be broken: that it cannot even be closed is no news
            vector.close()
        return
    if workers.closed:
        return
    workers.closed = True
    for pipe in workers.parent_pipes:
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.send(("close", None))
    deadline = SECONDS_TO_END
    for process in workers.processes:
        process.join(deadline)
        if process.is_alive():
            deadline = 0.0  # the others have had that time as well
            process.kill()
            process.join()
    for pipe in workers.parent_pipes:
        if pipe is not None:
            pipe.close()
