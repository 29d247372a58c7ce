"""Reports on ended episodes in the infos of a vector: arrays with Gymnasium's masks. Knows arrays; steps nothing.

And what of an environment's info leaves its process at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dppo.actor.envs.interface import SUCCESS, as_success, successes_of
from dppo.actor.envs.metrics import as_real, metrics_of
from dppo.actor.envs.own_returns import EPISODE, RETURN, own_return


def successes_in(infos: Mapping[str, Any], ended: np.ndarray, none: np.ndarray) -> np.ndarray:
    """[E] float32 of the columns that ended [E] bool, as the infos report; where they do not, `none`, all NaN."""
    if SUCCESS not in infos:
        return none
    reported = ended & infos.get(f"_{SUCCESS}", True)  # Gymnasium's mask; an array without one is of all columns
    return successes_of({int(column): infos[SUCCESS][column] for column in np.flatnonzero(reported)}, none)


def metrics_in(infos: Mapping[str, Any], ended: np.ndarray, names: Sequence[str]) -> Mapping[int, np.ndarray]:
    """[K] float32 by column that ended [E] bool."""
    reported = {name: infos[name] for name in names if name in infos}
    everywhere = np.ones(len(ended), bool)
    return {
        int(column): metrics_of(
            {name: of[column] for name, of in reported.items() if infos.get(f"_{name}", everywhere)[column]}, names
        )
        for column in np.flatnonzero(ended)
    }


def told_at_the_end(info: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return what is read of the info of an episode's last step, each as a float: success, return, metrics by names.

    All else stays in its process: it may be huge, or nothing that a message can carry, and Gymnasium casts the values
    of all environments to the type and shape of the first one's, or raises where they do not fit.
    """
    told: dict[str, Any] = {name: as_real(info[name]) for name in names if name in info}
    if SUCCESS in info:
        told[SUCCESS] = as_success(info[SUCCESS])
    if EPISODE in info and (counted := own_return(info)) == counted:  # NaN is not
        told[EPISODE] = {RETURN: counted}
    return told
