"""Slots of the environments that evaluation and film make: never those of training. Knows the run directory.

Training counts its slots from 0. Evaluations have slots from the next thousand that leaves 500 free for actors that
join: 1000 for most runs. There the first is the film's that a run makes of itself, the next `evaluate --video`'s and
`--render`'s, and from the third on those of episodes that are not watched; from the 500th on those of a run that
evaluates itself.
"""

from collections.abc import Mapping
from pathlib import Path

from dppo.actor.envs.env_numbers import Place
from dppo.learner.storage.checkpoint_format import read_document, readable_first
from dppo.protocol.errors import DppoError

BLOCK = 1000
SPARE = 500
BY_RUN = 500


def film_place(first: int) -> Place:
    """Return the place of the environment that a run films itself."""
    return Place("film", first)


def watched_place(first: int) -> Place:
    """Return the place of an evaluation's environment that is shown in a window, or filmed on request."""
    return Place("evaluation", first + 1)


def unwatched_place(first: int) -> Place:
    """Return the place of an evaluation's other environments; the watched one may still be dying when they are made."""
    return Place("evaluation", first + 2)


def by_run_place(first: int) -> Place:
    """Return the place of the environments in which a run evaluates itself while it trains."""
    return Place("evaluation", first + BY_RUN)


def first_evaluation_slot(directory: Path, settings: Mapping[str, object]) -> int:
    """The first slot that is not training's, as far as the run's newest checkpoint and its config say."""
    planned = 1
    for name in ("actors", "collect.envs_per_actor"):
        number = settings.get(name)
        planned *= number if isinstance(number, int) else 1
    return beyond(max(planned, _handed_out(directory)))


def beyond(training: int) -> int:
    """The first slot for evaluations beside so many environments of training."""
    return (training + SPARE) // BLOCK * BLOCK + BLOCK


def _handed_out(directory: Path) -> int:
    """Return the number of slots in the newest readable checkpoint; 0 without one."""
    try:
        for path in readable_first(directory / "checkpoints"):
            try:
                return len(read_document(path)[0]["state"]["slots"]["lives"])
            except (OSError, ValueError, KeyError, TypeError, DppoError):
                continue
    except OSError:
        pass  # no checkpoint yet
    return 0
