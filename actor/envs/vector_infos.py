"""Reports on ended episodes in the infos of a vector: arrays with Gymnasium's masks. Knows arrays; steps nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dppo.actor.envs.interface import SUCCESS, successes_of
from dppo.actor.envs.metrics import metrics_of


def successes_in(infos: Mapping[str, Any], ended: np.ndarray, none: np.ndarray) -> np.ndarray:
    """[E] float32 of the columns that ended [E] bool, as the infos report; where they do not, `none`, all NaN."""
    if SUCCESS not in infos:
        return none
    said = ended & infos.get(f"_{SUCCESS}", True)  # Gymnasium's mask; an array without one is of all columns
    return successes_of({int(column): infos[SUCCESS][column] for column in np.flatnonzero(said)}, none)


def metrics_in(infos: Mapping[str, Any], ended: np.ndarray, names: Sequence[str]) -> Mapping[int, np.ndarray]:
    """[K] float32 by column that ended [E] bool."""
    said = {name: infos[name] for name in names if name in infos}
    everywhere = np.ones(len(ended), bool)
    return {
        int(column): metrics_of(
            {name: of[column] for name, of in said.items() if infos.get(f"_{name}", everywhere)[column]}, names
        )
        for column in np.flatnonzero(ended)
    }
