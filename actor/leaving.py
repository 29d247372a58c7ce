"""Why an actor ends although nobody told it to, in one line for its learner's screen. Pure: an error in, text out."""

from actor.whereabouts import place_of_error
from protocol.errors import DppoError
from protocol.texts import MAX_TEXT


def reason_for_learner(error: BaseException) -> str:
    """Return what went wrong, as it reads on another machine: `here` is there."""
    text = " ".join(str(error).split())
    if not isinstance(error, DppoError):
        place = place_of_error(error)
        text = f"{type(error).__name__}{f': {text}' if text else ''}{f' ({place})' if place else ''}"
    for words in ("installed here", "registered here"):
        text = text.replace(words, words.replace("here", "there"))
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
