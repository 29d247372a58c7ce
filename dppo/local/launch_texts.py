"""Lines of a command that others than its run know: what it says first, and how to go on after an interrupt."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dppo.fitted_text import fitted
from dppo.local.host_view import host_view
from dppo.protocol.process.lifeline import has_parent

NEW_FLAG = "--run.new"


@dataclass(frozen=True)
class LaunchTexts:
    """Texts of one command."""

    first_line: str = ""  # on its preset; "": none
    again: str = ""  # how to go on with the run once it was interrupted; "": another command says it
    shows_commands: bool = True  # at the end, that people want now


class FirstLine:
    """A line that is printed once, when it is known that the run can start: an error stands alone."""

    def __init__(self, text: str) -> None:
        self._text = text

    def show(self) -> None:
        """Print it, unless it has been."""
        if self._text:
            print(fitted(self._text, sys.stderr), file=sys.stderr, flush=True)
            self._text = ""

    def note(self, text: str) -> None:
        """Print another line, below it."""
        self.show()
        print(fitted(text), flush=True)


def again_text(command: str, arguments: Sequence[str], directory: Path) -> str:
    """Return the line with the command that goes on with a run; "" where another command of ours waits for this one.

    directory: of the run, which a command with --run.new has chosen itself.
    """
    if has_parent():
        return ""
    if start := host_view().start:
        return f"the same command goes on with it: {start}"
    words = [word for word in arguments if word != NEW_FLAG]
    is_new = len(words) < len(arguments)
    words = ["dppo", command, *words, *(("--run.directory", str(directory)) if is_new else ())]
    return f"{'go on with it' if is_new else 'the same command goes on with it'}: {shlex.join(words)}"
