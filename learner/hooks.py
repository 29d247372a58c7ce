"""Code of the user's that a run calls between its updates, in the thread that trains and under no lock.

Knows the records that are handed to it. Measures how long it takes; decides nothing by it.
"""

import inspect
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Literal, Protocol

from dppo.learner.own_code import check_method, find_by_name, in_a_line, shown
from dppo.learner.ppo.batch import Received
from dppo.learner.run_status import RunStatus
from dppo.learner.telemetry.episode_stats import Episode
from dppo.protocol.errors import DppoError, UsageError

log = logging.getLogger("dppo.learner")

METHODS = {"on_episode": "episode", "on_update": "status", "on_end": "summary"}  # and what each is called with
SLOW_SECONDS = 1.0  # after one update
LONG_SECONDS = 10.0  # after which one that has not come back is named: else the update would seem to hang


class Hooks(Protocol):
    """Methods that a run calls where a class has them; no base class is needed."""

    def on_episode(self, episode: Episode) -> None:
        """Take an episode of the batch that was trained on, in the order in which they ended; before on_update."""

    def on_update(self, status: RunStatus) -> Literal["stop"] | None:
        """Take the state of the run after an update; "stop" ends the run in order."""

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """Take what is in summary.json, once all is saved; not after a method has raised."""


class HookError(DppoError):
    """A hook has raised, or returned what means nothing: the run is saved and fails."""

    def __init__(self, text: str, stack: str) -> None:
        super().__init__(text)
        self.stack = stack  # traceback of the hook's error, "" where nothing was raised


class HookCalls:
    """Calls the methods of one object; holds what they took and decided."""

    def __init__(
        self,
        hooks: object,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """hooks: with at least one of METHODS. name: for messages, "" for that of its class.

        interrupted: whether Ctrl-C has come, which may raise KeyboardInterrupt in a hook; else it is the hook's own.
        Raises UsageError.
        """
        self._name = name or name_of(hooks)
        check_hooks(hooks, self._name)
        self._methods = {method: getattr(hooks, method) for method in METHODS if callable(getattr(hooks, method, None))}
        self._clock = clock
        self._interrupted = interrupted
        self._is_slow = False  # and was named
        self._has_failed = False
        self._running = ""  # method
        self.seconds = 0.0  # in hooks, since this start
        self.stop_reason = ""  # once on_update has returned "stop"

    def after_update(self, batch: Sequence[Received], status: RunStatus) -> None:
        """Hand over the batch's episodes and the run's state. Raises HookError."""
        since = self._clock()
        # copies: what a hook writes into them changes nothing of the run
        status = replace(status, metrics=dict(status.metrics), part_seconds=dict(status.part_seconds))
        with self._named_if_long():
            if "on_episode" in self._methods:
                for episode in _episodes(batch):
                    self._call("on_episode", episode)
            answer = self._call("on_update", status)
        if isinstance(answer, str) and answer == "stop":
            self.stop_reason = f"stopped by the hook {self._name} after update {status.updates}"
        elif answer is not None:
            self._fail(f"on_update of {self._name} returned {shown(answer)}: return 'stop' or None")
        seconds = self._clock() - since
        self.seconds += seconds
        if seconds > SLOW_SECONDS and not self._is_slow:
            self._is_slow = True
            log.warning(
                "the hook %s took %.1f s after update %d, in which nothing is trained; it is not named again",
                self._name,
                seconds,
                status.updates,
            )

    def end(self, summary: Mapping[str, Any]) -> None:
        """Hand over how the run went, unless a method has raised before. Raises HookError."""
        if not self._has_failed:
            with self._named_if_long():
                self._call("on_end", summary)

    @contextmanager
    def _named_if_long(self) -> Iterator[None]:
        """Log which method has not come back, once: everything waits for it, for as long as it takes."""
        timer = threading.Timer(LONG_SECONDS, self._name_long)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _name_long(self) -> None:
        log.warning(
            "%s of the hook %s has not come back for %g s: the run waits for it",
            self._running,
            self._name,
            LONG_SECONDS,
        )

    def _call(self, method: str, argument: object) -> Any:
        if method not in self._methods:
            return None
        self._running = method
        try:
            answer = self._methods[method](argument)
        except BaseException as error:  # whatever a user's code raises: asyncio and pytest have their own
            if isinstance(error, KeyboardInterrupt) and self._interrupted():
                raise
            stack = "".join(traceback.format_exception(error)).rstrip()
            self._fail(f"{method} of {self._name} raised {in_a_line(error)}", error, stack)
        if inspect.iscoroutine(answer):  # of a decorator's making: else it is refused at the start
            answer.close()
            self._fail(f"{method} of {self._name} is async, and nothing awaits it: write a plain def")
        return answer

    def _fail(self, text: str, error: BaseException | None = None, stack: str = "") -> None:
        self._has_failed = True
        if stack:
            log.error("%s", stack)
        raise HookError(f"the hook {text}", stack) from error


def _episodes(batch: Sequence[Received]) -> Iterator[Episode]:
    for received in batch:
        segment = received.segment
        ended = zip(segment.episode_returns, segment.episode_lengths, segment.episode_successes, strict=True)
        for episode_return, length, success in ended:
            yield Episode(float(episode_return), int(length), None if math.isnan(success) else float(success))


def hook_calls(
    name: str, given: object | None = None, interrupted: Callable[[], bool] = lambda: False
) -> HookCalls | None:
    """Return the calls of a run's hooks: those of that name, or the object that is given; None where there are none."""
    if given is not None:
        if name:
            raise UsageError(f"hooks are given twice, as an object and as run.hooks={name}: leave one of them out")
        return HookCalls(given, interrupted=interrupted)
    return HookCalls(load(name), name, interrupted=interrupted) if name else None


def load(name: str) -> object:
    """Make the hooks "module:Class". Raises UsageError, in one line, where they cannot be found or made."""
    return made(find(name), f"run.hooks={name}")


def made(kind: Callable[[], object], what: str) -> object:
    """Make the hooks of a class. Raises UsageError, in one line, where that fails. what: for messages."""
    try:
        return kind()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what}: making it, without arguments, failed: {in_a_line(error)}") from error


def name_of(hooks: object) -> str:
    """Return the name of an object's class, or of the class that is given, for messages."""
    kind = hooks if isinstance(hooks, type) else type(hooks)
    return f"{kind.__module__}:{kind.__qualname__}"


def check_hooks(hooks: object, name: str = "") -> None:
    """Raise UsageError, in one line, unless an object, or the class of one, has methods that can be called as hooks.

    name: for messages, "" for that of its class.
    """
    what = f"the hooks {name or name_of(hooks)}"
    _check_methods(hooks, what)
    if any(callable(getattr(hooks, method, None)) for method in METHODS):
        return
    if inspect.isroutine(hooks) or isinstance(hooks, list | tuple | set | dict):
        raise UsageError(
            f"hooks is a {type(hooks).__name__}: give one class, or with --actors 0 one object, that has at least one "
            f"of {', '.join(METHODS)}"
        )
    raise UsageError(f"{what} have none of {', '.join(METHODS)}: give them one")


def find(name: str) -> Callable[[], object]:
    """Import the module of "module:Class" and return the class. Raises UsageError where it has no method of METHODS."""
    found = find_by_name("run.hooks", name, lambda value: any(hasattr(value, method) for method in METHODS))
    if not callable(found):
        raise UsageError(f"run.hooks={name} is a {type(found).__name__}: name a class that is made without arguments")
    if isinstance(found, type) and not any(hasattr(found, method) for method in METHODS):
        raise UsageError(f"run.hooks={name} has none of {', '.join(METHODS)}: give it one")
    _check_methods(found, f"run.hooks={name}")
    result: Callable[[], object] = found
    return result


def _check_methods(hooks: object, what: str) -> None:
    """Raise UsageError for a method that cannot be called as a hook, or never would be: its name is almost one."""
    try:
        _look_at_methods(hooks, what)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # of a property, or of __getattr__
        raise UsageError(f"{what}: looking at its methods failed: {in_a_line(error)}") from error


def _look_at_methods(hooks: object, what: str) -> None:
    for name, argument in METHODS.items():
        if callable(getattr(hooks, name, None)):
            check_method(hooks, name, (argument,), what)
    missing = [method for method in METHODS if not hasattr(hooks, method)]
    for name in dir(hooks):
        near = get_close_matches(name.lower(), missing, n=1, cutoff=0.8)
        if near and callable(getattr(hooks, name, None)):
            raise UsageError(f"{what} has {name}, which is never called: did you mean {near[0]}?")
