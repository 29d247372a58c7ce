"""Text that fits a terminal: broken between words, where the terminal would break it within them."""

import sys
import textwrap
from typing import TextIO

LEAST_WIDTH = 20
COMMAND = "dppo "
INDENT = "  "  # of what goes on in the next line


def fitted(text: str, stream: TextIO | None = None) -> str:
    """Return a text for a stream, standard output by default; unchanged where that is a file or another program."""
    width = terminal_width(stream)
    return text if width is None else wrapped(text, width)


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Return the columns of the terminal that the stream is, standard output by default; None where it is none."""
    if not (stream or sys.stdout).isatty():
        return None
    import shutil  # it brings every format of archives along

    return max(shutil.get_terminal_size().columns, LEAST_WIDTH)


def wrapped(text: str, width: int) -> str:
    """Return it with no line longer than that, but for words that are, and commands, which people copy."""
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if len(line) <= width or line.lstrip().startswith(COMMAND):
        return line
    own = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.lstrip(),
        width,
        initial_indent=own,
        subsequent_indent=own + INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
