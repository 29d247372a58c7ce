"""Errors of commands in the words of Python: settings by their names, not by flags. Knows which flags are settings."""

import contextlib
import functools
import re
from collections.abc import Iterator

from dppo.protocol.errors import DppoError
from dppo.settings.commands import EvaluateArguments, PlotArguments, TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import SHORT_FORMS, flag_of

ARGUMENTS = {"run.total_steps": "total_steps", "run.directory": "directory"}
OTHER_FLAGS = {"--run.new": "new=True", "--preset": "preset", "--config": "config"}  # no settings
_VALUE = r"[A-Z]{2,}\b|-?\d[\d.,_e]*\d|\d|'[^']*'"
_PATH = r"(?!(?:for|or|and|is|in)\b)[^\s,;()]*[^\s,;().:]"
_FLAG = re.compile(
    rf"(?<![\w-])--(?:(config|run\.directory|(?:run\.)?init-from) ({_PATH})|([a-z]+(?:[-.][a-z]+)*)(?:[ =]({_VALUE}))?)"
)


@contextlib.contextmanager
def python_words() -> Iterator[None]:
    """Have errors of what runs inside name settings as keywords are named."""
    try:
        yield
    except DppoError as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (in_python_words(error.args[0]), *error.args[1:])
        raise


def in_python_words(text: str) -> str:
    """Return the text with `ppo.learning_rate` for --ppo.learning-rate; flags that are no settings stay."""
    return _FLAG.sub(_replaced, text)


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
