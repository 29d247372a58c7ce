"""A thread that watches the main one while that is in the hands of an environment: says where it is stuck, and ends the
process when it is hung.

Where an environment holds the interpreter no thread of ours can run. Heartbeats to another process, the sweeper, stop
then, and that process has the stack written and kills this one. It knows when this process was stopped, which a timer
of C code in here (Python's faulthandler) does not; that timer is armed where no sweeper listens. All of it costs the
main thread nothing: it stores two fields a step.
"""

import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from dppo.actor.watchdog.activity import Activity
from dppo.actor.watchdog.stall_detector import EndWatch, StallDetector, Stuck, held_seconds
from dppo.actor.watchdog.traceback_location import place_of_frame
from dppo.protocol.process.descendants import descendants, kill

log = logging.getLogger("dppo.actor")

LOOK_SECONDS = 0.5
STACK_SECONDS = 0.3  # for the processes of an asynchronous vector to write theirs
STDERR = 2  # the descriptor: an environment may put something else into sys.stderr
ENDING_SECONDS = 60.0  # for the end by the watchdog's own hand


class Watchdog:
    """Watches the thread that makes it."""

    def __init__(
        self,
        activity: Activity,
        *,
        tell: Callable[[str], None],
        must_end: Callable[[], bool] | None,
        last_word: Callable[[str], None] = lambda why: None,
        beat: Callable[[float | None], bool] = lambda limit_seconds: False,
    ) -> None:
        """tell: called in the watchdog's thread, at every look, with where the main thread is stuck.

        must_end: whether the process got a signal to end, which a stuck main thread does not notice. None: never end
        this process, only report.
        last_word: called with the reason right before the watchdog ends the process.
        beat: reports to another process that threads can run here; after silence of this many seconds (0: of
        any length, None: whatever happens) it ends this one. Returns whether it does.
        """
        self._activity = activity
        self._tell = tell
        self._last_word = last_word
        self._beat = beat
        self._must_end = must_end
        self._main = threading.get_ident()
        self._watch = StallDetector()
        self._end_watch = EndWatch()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching. Returns when no more reports come."""
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._beat(None)

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            if self._must_end is not None:
                self._interpreter_is_free()
            now = time.monotonic()
            stuck = self._watch.look(self._activity, now)
            try:
                if self._must_end is not None and self._end_watch.is_late(self._must_end(), self._activity.loops, now):
                    place = place_of_frame(sys._current_frames().get(self._main))
                    self._end(f"told to end, and did not ({place or 'in the policy'})", (), "")
                if stuck is not None:
                    self._is_stuck(stuck)
            except Exception:  # without this thread the other watchdog would bite a process that does nothing wrong
                log.exception("the watchdog cannot say where the main thread is stuck")

    def _interpreter_is_free(self) -> None:
        limit = self._activity.limit_seconds
        if self._beat(limit):
            faulthandler.cancel_dump_traceback_later()
        elif limit:
            faulthandler.dump_traceback_later(held_seconds(limit), exit=True, file=STDERR)  # from now on again

    def _is_stuck(self, stuck: Stuck) -> None:
        environments = self._activity.environments
        waiting = environments.waiting_for() if environments is not None else ()
        where = stuck.words(place_of_frame(sys._current_frames().get(self._main)), waiting)
        self._tell(where)
        if self._must_end is None:
            return
        if stuck.hung:
            self._end(f"environment hung {where}", waiting, "; to allow more: --env.step-timeout-seconds")
        elif self._must_end():
            self._end(f"told to end while stuck {where}", waiting, "")

    def _end(self, what: str, waiting: Sequence[int], advice: str) -> NoReturn:
        with contextlib.suppress(Exception):  # whatever happens here, the process ends
            self._beat(None)
            faulthandler.dump_traceback_later(ENDING_SECONDS, exit=True, file=STDERR)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):  # an environment may have closed or replaced it
                    stream.flush()
            faulthandler.dump_traceback(file=STDERR, all_threads=True)
            environments = self._activity.environments
            for column in waiting:
                assert environments is not None, "they gave the columns that are awaited"
                _write(f"\nthe process of environment {column}:")
                environments.tell_stack(column)
                time.sleep(STACK_SECONDS)
            kill(descendants(os.getpid()))
            _write(f"dppo: error: {what}; the stack is in the log{advice}")
            self._last_word(f"{what}; the stack is in its log{advice}")
        os._exit(1)


def _write(line: str) -> None:
    os.write(STDERR, f"{line}\n".encode(errors="backslashreplace"))
