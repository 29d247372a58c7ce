"""Text that fits a terminal: broken between words, where the terminal would break it within them."""

import shutil
import sys
import textwrap

LEAST_WIDTH = 20
INDENT = "  "  # of what goes on in the next line


def fitted(text: str) -> str:
    """Return a text for standard output; unchanged where that is a file or another program."""
    width = terminal_width()
    return text if width is None else wrapped(text, width)


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is; None where it is none."""
    return max(shutil.get_terminal_size().columns, LEAST_WIDTH) if sys.stdout.isatty() else None


def wrapped(text: str, width: int) -> str:
    """Return it with no line longer than that, but for words that are."""
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if len(line) <= width:
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
