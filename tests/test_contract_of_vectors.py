"""Results of native vectors against their own spaces: named where they are wrong."""

import re
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from saying_env import BYTES, Says

from dppo.actor.envs.returned_values import BrokenContract
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import VectorEnvironments
from dppo.protocol.errors import DppoError, UsageError


class OddVector(SyncVectorEnv):
    """A native vector that returns what a test says."""

    answer: Any = None

    def step(self, actions: Any) -> Any:
        result = super().step(actions)
        return self.answer(*result)


BAD_VECTORS: dict[str, tuple[Any, str]] = {
    "old API": (lambda o, r, e, c, i: (o, r, e, i), "4 values"),
    "one reward": (lambda o, r, e, c, i: (o, 1.0, e, c, i), r"rewards float64 of shape \(\): .* shape \(2,\)"),
    "columns of rewards": (lambda o, r, e, c, i: (o, r[:, None], e, c, i), r"rewards .*\(2, 1\)"),
    "reward None": (lambda o, r, e, c, i: (o, [None, 1], e, c, i), "rewards object"),
    "flags of floats": (lambda o, r, e, c, i: (o, r, e.astype(float), c, i), "terminated float64"),
    "one flag": (lambda o, r, e, c, i: (o, r, e, False, i), "truncated bool"),
    "infos None": (lambda o, r, e, c, i: (o, r, e, c, None), "info was None"),
    "one observation": (lambda o, r, e, c, i: (o[0], r, e, c, i), r"shape \(2,\): expected float32 \(2,\)"),
    "observations turned": (lambda o, r, e, c, i: (o.T[:, :1], r, e, c, i), r"shape \(2, 1\)"),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_what_a_native_vector_must_not_return_is_named(case: str) -> None:
    answer, words = BAD_VECTORS[case]
    vector = OddVector([Says] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    vector.answer = answer
    environments = VectorEnvironments(vector, "test", "per_column")
    environments.reset([1, 2])
    (crash,) = environments.step(np.zeros(2, np.int64)).crashes
    assert isinstance(crash.error, BrokenContract)
    assert re.search(words, str(crash)), str(crash)


def test_environments_of_different_spaces_are_refused_together() -> None:
    with pytest.raises(UsageError, match="environment 1 differ"):
        SyncLoop([Says(), Says(BYTES)])
    loop = SyncLoop([Says()], lambda column: Says(BYTES))
    with pytest.raises(DppoError, match="environment 0 differ"):
        loop.restart([0], [1])
