"""The process that plays the evaluation at the end of a run: -m dppo.local.evaluation_process JSON FD.

A process of its own, because what an environment does to it (hang, crash, leave, change the working directory) must not
cost a run that is over its results. It writes each episode to FD as it ends.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from dppo.protocol.errors import DppoError
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import watch_parent
from dppo.watch.episode_results import Played, Tally


@dataclass
class Told(Tally):
    """A tally that is written down for another process as it grows."""

    file: TextIO | None = None

    def begin(self, env: str, version: int, asked: int) -> None:
        """Begin as Tally.begin does, and report it."""
        super().begin(env, version, asked)
        self._tell(env=env, version=version, asked=asked)

    def wrapped_in(self, wrappers: tuple[str, ...]) -> None:
        """Note them as Tally.wrapped_in does, and report it."""
        super().wrapped_in(wrappers)
        self._tell(wrappers=wrappers)

    def measures(self, what: str) -> None:
        """Note it as Tally.measures does, and report it."""
        super().measures(what)
        self._tell(measure=what)

    def add(self, number: int, played: Played) -> None:
        """Add as Tally.add does, and report it."""
        super().add(number, played)
        self._tell(number=number, played=played)

    def round_over(self, whole: int) -> None:
        """End a round as Tally.round_over does, and report it."""
        super().round_over(whole)
        self._tell(whole=whole)

    def error(self, error: DppoError) -> None:
        """Report why there is no more."""
        self._tell(error=str(error))

    def end(self) -> None:
        """Report that all episodes have been played."""
        self._tell(over=True)

    def _tell(self, **words: Any) -> None:
        assert self.file is not None, "made with the file to write to"
        self.file.write(json.dumps(words) + "\n")
        self.file.flush()


def main(arguments: Sequence[str]) -> int:
    """Play as the JSON object says; returns the exit code."""
    append_working_directory()
    watch_parent()
    asked = json.loads(arguments[0])
    os.set_inheritable(int(arguments[1]), False)  # what an environment starts would keep it open
    tally = Told(file=os.fdopen(int(arguments[1]), "w"))
    try:
        from dppo.watch.evaluate import evaluate

        evaluate(**asked, tally=tally)
    except DppoError as error:
        tally.error(error)
        return error.exit_code
    tally.end()
    return 0


def read(line: str, tally: Tally) -> tuple[bool, str]:
    """Take one line of such a process into a tally; returns whether it is over, and its error."""
    words = json.loads(line)
    if "asked" in words:
        tally.begin(words["env"], words["version"], words["asked"])
    elif "number" in words:
        tally.add(words["number"], Played(*words["played"]))
    elif "wrappers" in words:
        tally.wrapped_in(tuple(words["wrappers"]))
    elif "measure" in words:
        tally.measures(words["measure"])
    tally.whole = words.get("whole", tally.whole)
    return "over" in words, words.get("error", "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
