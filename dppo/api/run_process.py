"""A run in a process of its own, seen from the program that called `dppo.train`: its output, Ctrl-C, how it ended.

Works in a script, in a notebook, under pytest and in any thread: the caller's signals, children and event loop are left
alone. The run ends with the caller, however that dies.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from types import FrameType
from typing import TextIO

import msgspec

from dppo.local.child_process import ChildProcess
from dppo.local.exit_diagnosis import last_error
from dppo.local.launch_texts import LaunchTexts
from dppo.protocol.errors import CheckpointError, DppoError, ProtocolError, RefusedError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.interpreter import MODULE_PATH_VARIABLE, module_path
from dppo.protocol.process.launch_time import LAUNCHED_VARIABLE
from dppo.protocol.process.lifeline import Lifeline
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import values_of

INTERRUPTED = 130  # exit code
POLL_SECONDS = 0.1
END_SECONDS = 90.0  # from Ctrl-C until the run is killed; it takes 20 s at most, and then draws its curve
READ_BYTES = 65536
LINES_KEPT = 400  # of standard error, for the last words of a process that died
KINDS = {kind.__name__: kind for kind in (CheckpointError, DppoError, ProtocolError, RefusedError, UsageError)}


class Ended(msgspec.Struct, frozen=True):
    """End of a run."""

    code: int
    kind: str = ""  # of the error; "" where there is none
    error: str = ""


def run_process(config: TrainConfig, *, verbose: bool, texts: LaunchTexts = LaunchTexts()) -> int:
    """Train in another process until it has ended; returns the exit code of `dppo train`. texts: of the call.

    Ctrl-C (in the main thread) is passed on, and the run ends in order. Raises the error of the run.
    """
    launched = time.monotonic()
    with contextlib.ExitStack() as stack:
        lifeline = stack.enter_context(Lifeline())
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        streams = [_Relay(stream, original, verbose=verbose) for stream, original in _outputs()]
        interrupts = stack.enter_context(_interrupts())
        try:
            process = ChildProcess(
                ["-m", "dppo.api.training_process", str(writing)],
                lifeline,
                variables={LAUNCHED_VARIABLE: str(launched), MODULE_PATH_VARIABLE: module_path()},
                stdin=subprocess.PIPE,
                stdout=streams[0].descriptor,
                stderr=streams[1].descriptor,
                pass_fds=(writing,),
                is_command=True,
            )
        finally:
            os.close(writing)
            for stream in streams:
                stream.close_writing()
        stack.callback(process.end, END_SECONDS, signal.SIGINT)  # where our own output failed
        for stream in streams:
            stack.callback(stream.close)
        given = {"settings": values_of(config), "texts": asdict(texts)}
        process.give_input(json.dumps(given).encode())  # a pipe takes as much without waiting
        _watch(process, streams, interrupts)
        try:
            code = _code(process.wait(), _read(reading), streams[1].text())
        except DppoError as error:
            if interrupts:
                raise KeyboardInterrupt from error
            raise
        return INTERRUPTED if interrupts else code


def _watch(process: ChildProcess, streams: list["_Relay"], interrupts: list[int]) -> None:
    """Pass output and interrupts on until the process has ended."""
    passed, deadline = 0, float("inf")
    while True:
        is_over = process.poll() is not None  # looked at first, so that its last lines are not missed
        open_ = {stream.reading: stream for stream in streams if stream.reading >= 0}
        for descriptor in select.select(list(open_), [], [], 0 if is_over else POLL_SECONDS)[0]:
            open_[descriptor].pass_on()
        if is_over and not any(select.select([s.reading], [], [], 0)[0] for s in streams if s.reading >= 0):
            return
        if len(interrupts) > passed and not is_over:
            passed += 1
            deadline = min(deadline, time.monotonic() + END_SECONDS)
            process.send_signal(signal.SIGINT)
        if time.monotonic() > deadline:
            process.kill()


def _code(code: int, line: bytes, words: str) -> int:
    try:
        ended = msgspec.json.decode(line, type=Ended)
    except msgspec.DecodeError:
        if code == -signal.SIGKILL:
            raise DppoError("the process of the run was killed; the same call goes on with the run") from None
        last = last_error(words)
        raise DppoError(f"the process of the run {how_it_ended(code)}{f': {last}' if last else ''}") from None
    if ended.kind:
        raise KINDS.get(ended.kind, DppoError)(ended.error)
    return ended.code


def _read(descriptor: int) -> bytes:
    """Return what was written before the end; nothing waits, whatever process holds the other end."""
    found = b""
    while select.select([descriptor], [], [], 0)[0]:
        data = os.read(descriptor, READ_BYTES)
        if not data:
            break
        found += data
    return found


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C instead of raising KeyboardInterrupt, where that is this thread's to handle."""
    got: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        got.append(number)

    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield got
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield got
    finally:
        signal.signal(signal.SIGINT, previous)


def _outputs() -> list[tuple[TextIO, TextIO | None]]:
    return [(sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__)]


class _Relay:
    """One output of the process: inherited where ours is a file, else passed on line by line, or kept to ourselves."""

    def __init__(self, stream: TextIO, original: TextIO | None, *, verbose: bool) -> None:
        self._stream = stream if verbose else None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._rest = b""
        self.reading, self._writing = -1, -1
        self.descriptor: int | None = None
        if not (verbose and stream is original and _is_file(stream)):
            self.reading, self._writing = os.pipe()
            self.descriptor = self._writing

    def close_writing(self) -> None:
        """Leave the writing end to the process."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def pass_on(self) -> None:
        """Pass on what has come; closes at its end."""
        data = os.read(self.reading, READ_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            lines, self._rest = ([self._rest] if self._rest else []), b""
            self.close()
        for line in lines:
            text = line.decode(errors="replace")
            self._lines.append(text)
            if self._stream is not None:
                print(text, file=self._stream, flush=True)

    def text(self) -> str:
        """The last lines that were passed on."""
        return "\n".join(self._lines)

    def close(self) -> None:
        """Close the reading end."""
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1


def _is_file(stream: TextIO) -> bool:
    """Whether a process can inherit it; what waits in it is written first."""
    try:
        stream.flush()
        return stream.fileno() in (1, 2)
    except (OSError, ValueError, AttributeError):
        return False
