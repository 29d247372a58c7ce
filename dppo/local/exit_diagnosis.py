"""Diagnose a process's end from its log, in one line: its own error, or Python's report of a fatal signal, or of
an interpreter that was held too long. Pure: text in, text out.
"""

import re
from pathlib import Path

from dppo.actor.leave_reasons import STOPPED, STOPPED_WHILE_JOINED
from dppo.actor.watchdog.traceback_location import is_library
from dppo.protocol.process.exit_codes import how_it_ended

ERROR = "dppo: error: "
HUNG = "environment hung"  # how such an error begins, actor/watchdog/thread.py
HELD = "the interpreter was held"  # the process is killed from outside then, protocol/process/sweeper.py
LEARNER_ENDED_AMID = (
    "the learner was ended in the middle of the run, by code of yours in its process (a hook, a tracker or a network "
    "that calls os._exit, or exit in C code): start the same command again to go on from the newest checkpoint"
)
_STACK_ABOVE = "; its stack is above"
_STACK_LINE = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$')
_THREAD = re.compile(r"^(Current t|T)hread 0x[0-9a-f]+")
_HELD = re.compile(r"^Timeout \((?P<time>[\d:.]+)\)!$")  # faulthandler.dump_traceback_later
_FATAL = re.compile(r"^Fatal Python error: (?P<what>.+)$")
TAIL_LINES = 400  # of a log: the stacks of all threads


def last_error(log: str) -> str:
    """The newest error in it; "" where the process ended without a word."""
    lines = log.rstrip().splitlines()[-TAIL_LINES:]
    for at in range(len(lines) - 1, -1, -1):  # its children may have written after it
        if lines[at].startswith(ERROR):
            error = lines[at].removeprefix(ERROR)
            if not error.endswith(_STACK_ABOVE):
                return error
            current = max((i for i in range(at) if lines[i].startswith("Current thread ")), default=at)
            return error.removesuffix(_STACK_ABOVE) + _place(lines[current:at])
    for start in range(len(lines) - 1, -1, -1):
        held, fatal = _HELD.match(lines[start]), _FATAL.match(lines[start])
        if held:
            return f"{HUNG}: {HELD} for {_seconds(held['time']):.0f} s{_place(lines[start:])}"
        if fatal:
            return f"{fatal['what']}{_place(lines[start:])}"
    return lines[-1] if any(line.startswith("Traceback ") for line in lines) else ""


def how_an_actor_ended(code: int, words: str, log: str) -> str:
    """Return a phrase with its last words; code: as subprocess has it. A kill by the sweeper is named as an end."""
    ended = "was ended" if code < 0 and HELD in words else how_it_ended(code)
    if words:
        return f"{ended} ({words})"
    where = _in_environments(log)
    # every end of an actor's own leaves a line: an environment called os._exit, or exit of C
    return f"{ended}: its environment ended the process {where}" if code >= 0 and where else ended


def _in_environments(log: str) -> str:
    """Return what an actor's environments did last (actor/driver.py), "" where there were none yet."""
    for line in reversed(log.splitlines()):
        if line.startswith("stepping "):
            return "in step or reset"
        if line.startswith("joined the learner: making "):
            return "while it was made"
    return ""


def ended_in_order(log: str) -> bool:
    """Whether the process logged why it ends (actor/service.py): no environment took it along with a code of 0."""
    # what it started (multiprocessing's tracker of resources) may have written after it
    return _farewell(log) is not None


def was_stopped(log: str) -> bool:
    """Whether a signal to the actor's process ended it in order, and not its learner."""
    farewell = _farewell(log)
    return farewell is not None and (farewell == STOPPED or farewell.startswith(STOPPED_WHILE_JOINED))


def _farewell(log: str) -> str | None:
    """Return the reason that the process logged at its end, None without one."""
    for line in reversed(log.rstrip().splitlines()[-TAIL_LINES:]):
        if " ends: " in line:
            return line.partition(" ends: ")[2]
    return None


def _seconds(clock: str) -> float:
    """Return the seconds in h:mm:ss.ssssss."""
    hours, minutes, seconds = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _place(lines: list[str]) -> str:
    """The innermost function outside Python's library of the thread to blame: the current one, else the main one.

    The main one is the last that is listed, for it is the oldest.
    """
    frames: list[re.Match[str]] = []
    is_current = False
    for line in lines:
        if _THREAD.match(line):
            if is_current:
                break
            is_current, frames = line.startswith("Current"), []
        elif frame := _STACK_LINE.match(line):
            frames.append(frame)
    own = [frame for frame in frames if not is_library(frame["file"])]
    for frame in (own or frames)[:1]:
        return f" in {frame['function']} ({Path(frame['file']).name}:{frame['line']})"
    return ""
