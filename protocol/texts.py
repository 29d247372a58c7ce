"""Texts that another process wrote, made fit for a terminal and a log. Knows no messages.

A character that is not printable (str.isprintable: control characters and escape sequences, line feeds, bidirectional
overrides, zero-width and private ones) could forge a log line, set a terminal's title or write its clipboard.
"""

MAX_TEXT = 512  # characters
MAX_ERROR = 4096  # characters of the line that a command ends with; an environment's own text is in it


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Return one line of at most `limit` characters that a terminal prints and does not obey."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: max(0, limit - 3)]}..."


def error_text(error: BaseException) -> str:
    """Return the text of an error of a user's code in one line, in traceback's words where it has none to give."""
    try:
        return " ".join(str(error).split())
    except Exception:  # noqa: BLE001 -- a user's class may raise whatever it likes
        return "<exception str() failed>"
