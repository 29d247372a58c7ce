"""Reason, in one line for the learner's screen, why an actor ends by itself. Pure: an error in, text out."""

from dppo.actor.watchdog.traceback_location import place_of_error
from dppo.protocol.errors import DppoError
from dppo.protocol.texts import MAX_TEXT

STOPPED = "stopped"  # by a signal, before it has joined
STOPPED_WHILE_JOINED = ("stopped, everything delivered", "the time to deliver ended")  # session/session.py, likewise
MUST_CHANGE = "the environment must be changed: "  # how an error begins that another process would only repeat


def reason_for_learner(error: BaseException) -> str:
    """Return what went wrong, as it reads on another machine: `here` is there."""
    text = " ".join(str(error).split())
    if not isinstance(error, DppoError):
        place = place_of_error(error)
        text = f"{type(error).__name__}{f': {text}' if text else ''}{f' ({place})' if place else ''}"
    for words in ("installed here", "registered here"):
        text = text.replace(words, words.replace("here", "there"))
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
