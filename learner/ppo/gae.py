"""Generalised advantage estimation over segments with episode ends in them. Knows numpy only."""

import math

import numpy as np


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    final_values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    gamma: float,
    gae_lambda: float,
    error_limit: float = math.inf,
    traces: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and returns, [T, E] float32 each (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

        delta_t = r_t + gamma * V(s_{t+1}) - V(s_t)
        A_t     = delta_t + gamma * lambda * A_{t+1}
        return  = A_t + V(s_t)

    Two masks, on purpose. Terminated: V(s_{t+1}) is 0 and the trace is cut. Truncated: V(s_{t+1}) is the value of the
    true final observation, and the trace is cut all the same, because row t + 1 is another episode. A row that is not
    valid (a NEXT_STEP reset) is no transition: its advantage is 0 and nothing flows across it.

    error_limit: delta_t is cut to +-error_limit, so that one absurd reward does not make a whole trace absurd.

    traces: [T, E] float32, c_t of steps that another policy made (Espeholt et al. 2018, arXiv 1802.01561); None: 1.

        A_t    = delta_t + gamma * lambda * c_{t+1} * A_{t+1}
        return = c_t * A_t + V(s_t)

    rewards [T, E]; values [T + 1, E], row t is V(observations[t]), the last row is the bootstrap;
    final_values [finals], one for each truncated (t, e) in row-major order; terminated, truncated, valid [T, E] bool.
    """
    check_shapes(rewards, values, final_values, terminated, truncated, valid)
    values = values.astype(np.float32, copy=False)
    next_values = np.where(terminated, np.float32(0), values[1:])
    next_values[truncated] = final_values
    deltas = rewards + np.float32(gamma) * next_values - values[:-1]
    if error_limit < math.inf:
        deltas = deltas.clip(-error_limit, error_limit)
    deltas = np.where(valid, deltas, np.float32(0)).astype(np.float32, copy=False)
    flows = valid & ~terminated & ~truncated
    decay = np.where(flows, np.float32(gamma * gae_lambda), np.float32(0))
    if traces is not None:
        decay[:-1] *= traces[1:]
    advantages = deltas  # in place: row t still holds delta_t when its turn comes
    for t in range(len(advantages) - 2, -1, -1):
        advantages[t] += decay[t] * advantages[t + 1]
    return advantages, (advantages if traces is None else traces * advantages) + values[:-1]


def check_shapes(
    rewards: np.ndarray,
    values: np.ndarray,
    final_values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
) -> None:
    """Raise ValueError where the arrays do not belong together."""
    T, E = rewards.shape
    if values.shape != (T + 1, E):
        raise ValueError(f"values of shape {values.shape} for rewards of {T, E}: one more row is needed, to bootstrap")
    for name, mask in (("terminated", terminated), ("truncated", truncated), ("valid", valid)):
        if mask.shape != (T, E) or mask.dtype != np.bool_:
            raise ValueError(f"{name} is {mask.dtype} {mask.shape}, not bool {T, E}")
    if final_values.shape != (int(truncated.sum()),):
        raise ValueError(f"{final_values.shape} final values for {int(truncated.sum())} truncated steps")
    if (terminated & truncated).any():
        raise ValueError(
            "a step is both terminated and truncated: terminated wins, so clear the other where it is made"
        )
