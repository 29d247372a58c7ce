"""`dppo evaluate`: plays in this process, within a time limit, and prints what was over by then."""

import json
import os
import sys
import threading
import time
from dataclasses import asdict

from dppo.fitted_text import fitted
from dppo.local.surroundings import kept_surroundings
from dppo.protocol.errors import DppoError
from dppo.protocol.process.descendants import descendants, kill
from dppo.protocol.process.household import leaves_nothing, logged_if_killed
from dppo.protocol.texts import MAX_ERROR, printable
from dppo.settings.commands import EvaluateArguments
from dppo.watch.episode_results import EvaluationResult, Tally

ANNOUNCE_SECONDS = 5.0  # what takes longer is worth a line
OVERTIME_SECONDS = 5.0  # for a step under way when the time is over, and for closing the environments
LOOK_SECONDS = 0.2
GRACE_SECONDS = 0.5  # for what a killed evaluation has started
INTERRUPTED = 130


def play(chosen: EvaluateArguments, tally: Tally | None = None) -> EvaluationResult:
    """Evaluate as the arguments say, in this process, and put back what environments change in it."""
    from dppo.watch.evaluate import ViewOptions, evaluate

    with kept_surroundings():
        return evaluate(
            chosen.run,
            episodes=chosen.episodes,
            seed=chosen.seed,
            deterministic=chosen.deterministic,
            envs=chosen.envs,
            which="best" if chosen.best else "newest",
            watching=ViewOptions(chosen.video, chosen.video_episodes, window=chosen.render == "human"),
            max_seconds=chosen.max_seconds,
            tally=tally,
        )


def run(chosen: EvaluateArguments) -> int:
    """Evaluate and print; returns the exit code."""
    from dppo.watch.rendering import WindowClosed

    tally = Tally(asked=chosen.episodes)
    with leaves_nothing(GRACE_SECONDS, sweeper=True), _Overtime(chosen, tally):
        try:
            with logged_if_killed("the evaluation", "there is no result"):
                result = play(chosen, tally)
        except WindowClosed:
            print("the window was closed before an episode was over: there is no result", file=sys.stderr)
            return 0
        except KeyboardInterrupt:
            if tally.played:
                _show(chosen, tally, _result(chosen, tally, "interrupted"))
            return INTERRUPTED
        except DppoError:
            if tally.played:
                _show(chosen, tally, _result(chosen, tally, "broken off"))
            raise
    if result.episodes < chosen.episodes and not result.stopped:
        print(f"the window was closed after {result.episodes} of {chosen.episodes} episodes", file=sys.stderr)
    _show(chosen, tally, result)
    return 0


def _result(chosen: EvaluateArguments, tally: Tally, stopped: str) -> EvaluationResult:
    return tally.result(deterministic=chosen.deterministic, seed=chosen.seed, video=chosen.video, stopped=stopped)


def _show(chosen: EvaluateArguments, tally: Tally, result: EvaluationResult) -> None:
    print(json.dumps(asdict(result)) if chosen.json else fitted(result.summary()), flush=True)
    if tally.film == "written" and not chosen.json and not result.stopped:
        print(f"wrote {chosen.video}", flush=True)


class _Overtime:
    """A thread that announces a long evaluation, and ends the process where an environment does not come back."""

    def __init__(self, chosen: EvaluateArguments, tally: Tally) -> None:
        self._chosen = chosen
        self._tally = tally
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="overtime", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        chosen, tally = self._chosen, self._tally
        began = time.monotonic()
        announced = False
        played_at = None  # when the last episode was over
        while not self._over.wait(LOOK_SECONDS):
            now = time.monotonic()
            if now - began > ANNOUNCE_SECONDS and not announced and chosen.render != "human":
                announced = True
                limit = f"at most {chosen.max_seconds:g} s (--max-seconds)" if chosen.max_seconds else "without a limit"
                episodes = f"{chosen.episodes} episode{'s' if chosen.episodes != 1 else ''}"
                print(f"playing {episodes}, {limit} ...", file=sys.stderr, flush=True)
            if tally.film == "being written":  # by our own code, which takes its time
                played_at = None
                continue
            if played_at is None and len(tally.played) >= chosen.episodes:
                played_at = now
            if played_at is not None and now - played_at > OVERTIME_SECONDS:
                self._end("closing the environments hangs")
            if chosen.max_seconds and now - began > chosen.max_seconds + OVERTIME_SECONDS:
                self._end(f"stopped after {chosen.max_seconds:g} s, hanging")

    def _end(self, why: str) -> None:
        """Print what there is, and leave whatever hangs."""
        code = 0
        try:
            result = _result(self._chosen, self._tally, why)
            if not result.stopped:
                print(why, file=sys.stderr)
            _show(self._chosen, self._tally, result)
        except DppoError as error:
            code = error.exit_code
            print(f"dppo: error: {printable(str(error), MAX_ERROR)}", file=sys.stderr, flush=True)
        kill(descendants(os.getpid()))  # the sweeper among them, which is not needed any more
        os._exit(code)
