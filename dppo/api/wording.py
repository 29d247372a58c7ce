"""Errors of commands as Python's callers get them: in one line, with settings by their names, not by flags.

Knows which flags are settings, and what the command line makes of errors that are none of ours.
"""

import contextlib
import functools
import re
from collections.abc import Iterator

from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.machine_trouble import trouble
from dppo.protocol.texts import MAX_ERROR, printable
from dppo.required_packages import missing_text
from dppo.settings.commands import EvaluateArguments, PlotArguments, TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import SHORT_FORMS, flag_of

ARGUMENTS = {"run.total_steps": "total_steps", "run.directory": "directory"}
OTHER_FLAGS = {
    "--run.new": "new=True",
    "--best": "best=True",
    "--preset": "preset",
    "--config": "config",
}  # no settings
_SEEDS = re.compile(r", or all seeds with --run\.new --seeds [\d,]+")  # one call is one seed
_VALUE = r"[A-Z]{2,}\b|-?\d[\d.,_e]*\d|\d|'[^']*'"
_PATH = r"(?!(?:for|or|and|is|in)\b)[^\s,;()]*[^\s,;().:]"
_FLAG = re.compile(
    rf"(?<![\w-])--(?:(config|run\.directory|(?:run\.)?init-from) ({_PATH})|([a-z]+(?:[-.][a-z]+)*)(?:[ =]({_VALUE}))?)"
)


@contextlib.contextmanager
def python_words() -> Iterator[None]:
    """Have errors of what runs inside be one line that names settings as keywords are named.

    A missing package raises UsageError, a full disk or the like DppoError: what is one line at the command line is one
    of our errors here.
    """
    try:
        yield
    except DppoError as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (printable(in_python_words(error.args[0]), MAX_ERROR), *error.args[1:])
        raise
    except ModuleNotFoundError as error:
        if text := missing_text(error.name or ""):
            raise UsageError(text) from error
        raise
    except Exception as error:
        if text := trouble(error):
            raise DppoError(printable(in_python_words(text), MAX_ERROR)) from error
        raise


def in_python_words(text: str) -> str:
    """Return the text with `ppo.learning_rate` for --ppo.learning-rate; flags that are no settings stay."""
    return _FLAG.sub(_replaced, _SEEDS.sub("", text))


def _replaced(match: re.Match[str]) -> str:
    name = _names().get(f"--{match[1] or match[3]}")
    value = f"'{match[2]}'" if match[2] else (match[4] or "").strip("'")
    if name is None:
        return match[0]
    return f"{name}={value}" if value and "=" not in name else name


@functools.cache
def _names() -> dict[str, str]:
    """Return the argument of the API for each flag."""
    paths = [path for config in (TrainConfig, EvaluateArguments, PlotArguments) for path in settings_of(config)]
    names = {flag_of(path): ARGUMENTS.get(path, path) for path in paths}
    return names | {flag_of(short): short for short in SHORT_FORMS} | OTHER_FLAGS
