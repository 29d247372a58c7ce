"""The evaluation at the end of a run, watched from outside: bounded in time, interruptible, never at the run's cost."""

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dppo.local.evaluation_process import read
from dppo.local.processes import Child, end
from dppo.protocol.errors import DppoError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.lifeline import Lifeline
from dppo.watch.episode_results import EvaluationResult, Tally

POLL_SECONDS = 0.1
OVERTIME_SECONDS = 3.0  # for a process that ends by itself when the time is over, which one that hangs does not
END_SECONDS = 1.0
READ_BYTES = 65536


@dataclass(frozen=True)
class Evaluated:
    """Outcome of the evaluation at the end."""

    result: EvaluationResult | None
    reason: str  # why there is no result; "" where there is one
    interrupted: bool


def evaluate_at_the_end(
    directory: Path, *, episodes: int, envs: int, max_seconds: float, deterministic: bool = True
) -> Evaluated:
    """Play that many episodes of the run's policy in a process of its own, for at most `max_seconds`.

    Ctrl-C and SIGTERM end it, with what is over by then. Must be called in the main thread.
    """
    asked = {
        "run": str(directory),
        "episodes": episodes,
        "seed": 1,
        "envs": envs,
        "max_seconds": max_seconds,
        "deterministic": deterministic,
    }
    tally = Tally(asked=episodes)
    with collected_signals() as signals, contextlib.ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        lifeline = stack.enter_context(Lifeline())
        logs = directory / "logs"
        log = logs / "evaluation.log"
        try:
            logs.mkdir(exist_ok=True)
            child = Child(
                "evaluation",
                ("-m", "dppo.local.evaluation_process", json.dumps(asked), str(writing)),
                log,
                lifeline,
                {"OMP_NUM_THREADS": "1"},
                (writing,),
            )
            child.start()
        except OSError as error:
            return Evaluated(None, f"its process cannot be started: {error.strerror or error}", interrupted=False)
        finally:
            os.close(writing)
        try:
            stopped, error_text = _watch(child, reading, tally, signals, max_seconds)
        finally:
            end([child], END_SECONDS)
        if error_text and not tally.played:
            return Evaluated(None, error_text, bool(signals))
        stopped = error_text or stopped
        if not stopped and len(tally.played) < episodes:
            stopped = f"stopped after {max_seconds:g} s"
        try:
            result = tally.result(deterministic=deterministic, stopped=stopped)
        except DppoError as error:
            return Evaluated(None, f"{error} (log: {log})", bool(signals))
        return Evaluated(result, "", bool(signals))


def _watch(child: Child, reading: int, tally: Tally, signals: list[int], max_seconds: float) -> tuple[str, str]:
    """Read until it is over. Returns why it was stopped before its end, and its error, or "" for each."""
    deadline = time.monotonic() + max_seconds + OVERTIME_SECONDS
    rest = b""
    while True:
        interrupted = bool(signals)  # then one more look, for what belongs to an episode that is over
        code = child.died()  # looked at first, so that its last words are not missed
        if select.select([reading], [], [], 0 if code is not None else POLL_SECONDS)[0]:
            data = os.read(reading, READ_BYTES)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                is_over, error = read(line.decode(), tally)
                if is_over or error:
                    return "", error
            if data and not interrupted:
                continue
            if not data:
                time.sleep(POLL_SECONDS)  # closed: it is about to be gone
        if interrupted:
            return "interrupted", ""
        if code is not None:
            return f"its process {how_it_ended(code)}{_words(child)}", ""
        now = time.monotonic()
        if now > deadline:
            return f"stopped after {max_seconds:g} s, hanging", ""
        if tally.asked and len(tally.played) == tally.asked:
            deadline = min(deadline, now + OVERTIME_SECONDS)  # it only closes the environments


def _words(child: Child) -> str:
    last = child.last_error()
    return f" ({last})" if last else ""


@contextlib.contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of being ended by them."""
    got: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda came, _: got.append(came)) for number in numbers}
    try:
        yield got
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
