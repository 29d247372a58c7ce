"""A trained policy as an object: observations in, the environment's own actions out. Knows numpy and onnxruntime only.

The graph is the one that actors and `dppo evaluate` run; its metadata say how to feed it.
"""

import os
import threading
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from dppo.actor.sampling.noise import drawn
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.api.actions import PredictedActions
from dppo.api.masks import MaskRows
from dppo.api.memory import carried_on, remembered
from dppo.api.observations import ObservationRows
from dppo.api.paths import path_text
from dppo.api.predict_arguments import refuse_others
from dppo.learner.own_code import shown
from dppo.protocol.action_masks import observed
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.specs import spec_from_json
from dppo.watch.policy_files import locate_policy


class Policy:
    """A policy to act with; several threads may share it."""

    def __init__(self, graph: bytes, *, seed: int | None = None) -> None:
        """graph: contents of a policy.onnx. seed: of sampled actions. Raises UsageError where it is no such graph."""
        self.seed(seed)
        try:
            self._runner = PolicyRunner(graph)
            self.spec = spec_from_json(self._runner.metadata.get("dppo.spec", ""))
            self._rows = ObservationRows(observed(self.spec.observation, self.spec.mask))
        except ProtocolError as error:
            raise UsageError(f"this is no policy of dppo: {error}") from None
        self.version = self._runner.version
        self._actions = PredictedActions(self.spec.action)
        self._masks = MaskRows(self.spec.action, self.spec.mask)
        self._lock = threading.Lock()

    def seed(self, seed: int | None) -> None:
        """Begin the noise of sampled actions anew; None: with a seed of the system's. Raises UsageError for no seed."""
        if seed is not None and not (isinstance(seed, Integral) and seed >= 0):
            raise UsageError(f"seed={shown(seed)}: give a whole number of at least 0, or None")
        self._generator = np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        deterministic: bool = True,
        action_masks: Any = None,
        **others: Any,
    ) -> tuple[Any, Any]:
        """Return the action for one observation, or those [N, ...] for a batch [N, ...], and the state to pass next.

        Dict and Tuple observations are passed as the environment gives them, a batch as a vector environment does: with
        arrays [N, ...] in that structure.
        Actions are what the environment takes: a Discrete's numbers, its start included, as int64; arrays of any other
        space in its own dtype, within its bounds; dicts and tuples of these where the space is nested, and of arrays
        [N, ...] for a batch. deterministic: the most likely action instead of a sample. action_masks: where the policy
        was trained with masks, which actions are legal, in any form that its environment may give (docs/masks.md); a
        mask that is a leaf of the observation is taken from there. state: what the call
        before returned, None where an episode begins. A memory's is float32 [size] or [N, size], of which zeros begin
        an episode too; that of a policy that sees stacked frames are the last k - 1 of them, uint8 [k - 1, *shape] or
        [N, k - 1, *shape], and an episode's first frame repeated begins it; of both, or of several images, it is a dict
        of these. Without either it is None.
        Raises UsageError for an observation of another structure or shape, for what is no mask, for what is no state,
        and for others: arguments of other libraries.
        """
        refuse_others(deterministic, others)
        rows, is_batch = self._rows.of(observation)
        self._masks.put_into(rows, action_masks, is_batch=is_batch)
        count = len(next(iter(rows.values())))
        rows |= remembered(state, count, self._runner.carried, is_batch=is_batch)
        with self._lock:
            noise = self._noise(count, deterministic=deterministic)
            _, env_action, _ = self._runner.act(rows, noise)
            return self._actions.of(env_action, is_batch=is_batch), carried_on(self._runner.after, is_batch=is_batch)

    def _noise(self, rows: int, *, deterministic: bool) -> np.ndarray:
        if deterministic:
            return np.zeros((rows, self._runner.noise_size), np.float32)
        return drawn(self._generator, self._runner.noise_parts, rows)


def load_policy(path: str | os.PathLike[str], *, best: bool = False, seed: int | None = None) -> Policy:
    """Load the policy of a run directory, or a policy.onnx file, which needs nothing beside it.

    best: that of the update with the best mean return (policy-best.onnx) instead of the newest one. seed: of sampled
    actions. Raises UsageError where there is no policy.
    """
    try:
        _, file = locate_policy(path_text(path, "path"), "best" if best else "newest")
    except (UsageError, OSError):
        from dppo.api.wording import python_words  # it knows all settings, which acting has no need of

        with python_words():
            raise
    return _read(file, seed)


def _read(file: Path, seed: int | None) -> Policy:
    try:
        return Policy(file.read_bytes(), seed=seed)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from None
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
