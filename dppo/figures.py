"""Figures of Matplotlib, without its remarks on its own cache: a home that cannot be written to costs no picture."""

import logging
from typing import Any


def new_figure(**arguments: Any) -> Any:
    """Return a matplotlib.figure.Figure with these arguments. Raises ModuleNotFoundError where it is not installed.

    Slow to import, so only when there is something to draw; without pyplot, whose state belongs to the caller.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # of where it keeps fonts and settings
    try:
        from matplotlib.figure import Figure
    finally:
        logger.setLevel(level)
    return Figure(**arguments)
