"""Returns of episodes that an environment has added up itself: info["episode"]["r"]. Knows infos; steps nothing.

Gymnasium's RecordEpisodeStatistics, for single environments and for vectors, and Stable-Baselines3's Monitor write it.
Inside other wrappers they count the rewards as they are there, before those wrappers clip, scale or shape them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dppo.actor.envs.interface import NO_RETURNS
from dppo.actor.envs.metrics import as_real

EPISODE, RETURN = "episode", "r"
TEXT = (
    'returns of episodes are those of info["episode"] (RecordEpisodeStatistics, Monitor), '
    "whatever the rewards that are trained on add up to"
)


def own_return(info: Mapping[str, Any]) -> float:
    """Return the return in the info of an episode's last step, NaN where there is none."""
    told = info.get(EPISODE)
    return as_real(told.get(RETURN)) if isinstance(told, Mapping) else math.nan


def own_returns_in(
    last: Mapping[str, Any], infos: Mapping[str, Any], ended: np.ndarray, note_once: Callable[[str], None]
) -> Mapping[int, float]:
    """Return the returns by column that ended [E] bool, where the infos of a vector have some.

    last: infos of the ended episodes, where those of new ones are apart. A wrapper around the whole vector writes into
    `infos` all the same.
    """
    found = _returns_in(last, ended) or _returns_in(infos, ended)
    if not found:
        return NO_RETURNS
    note_once(TEXT)
    return found


def _returns_in(infos: Any, ended: np.ndarray) -> dict[int, float]:
    told = infos.get(EPISODE) if isinstance(infos, Mapping) else None
    if not isinstance(told, Mapping) or np.shape(told.get(RETURN, 0.0)) != ended.shape:
        return {}  # another thing of that name
    masks = [np.asarray(mask, bool) for mask in (infos.get(f"_{EPISODE}", True), told.get(f"_{RETURN}", True))]
    reported = np.logical_and.reduce([ended, *(np.broadcast_to(mask, ended.shape) for mask in masks)])
    found = {int(column): as_real(told[RETURN][column]) for column in np.flatnonzero(reported)}
    return {column: number for column, number in found.items() if number == number}  # NaN is not
