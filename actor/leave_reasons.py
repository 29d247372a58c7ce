"""Reason, in one line for the learner's screen, why an actor ends by itself. Pure: an error in, text out."""

from dppo.actor.watchdog.traceback_location import with_place
from dppo.protocol.errors import DppoError
from dppo.protocol.texts import MAX_TEXT, error_text

STOPPED = "stopped"  # by a signal, before it has joined
STOPPED_WHILE_JOINED = ("stopped, everything delivered", "the time to deliver ended")  # session/session.py, likewise
MUST_CHANGE = "the environment must be changed: "  # how an error begins that another process would only repeat


def reason_for_learner(error: BaseException) -> str:
    """Return what went wrong, as it reads on another machine: `here` is there."""
    text = error_text(error) if isinstance(error, DppoError) else with_place(error)
    for words in ("installed here", "registered here"):
        text = text.replace(words, words.replace("here", "there"))
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
