"""V-trace: values and advantages under the newest policy, of steps that older ones made. Knows numpy only."""

import math

import numpy as np

from dppo.learner.ppo.gae import gae

MOST_RHO = 1.0  # rho-bar and c-bar of the paper, which are one here: gae's traces


def vtrace(
    rewards: np.ndarray,
    values: np.ndarray,
    final_values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    ratios: np.ndarray,
    gamma: float,
    trace_lambda: float,
    error_limit: float = math.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and value targets, [T, E] float32 each (Espeholt et al. 2018, arXiv 1802.01561, eq. 1 and remark 2).

        rho_t   = min(1, pi(a|s) / mu(a|s)),  c_t = lambda * min(1, pi(a|s) / mu(a|s))
        delta_t = r_t + gamma * V(s_{t+1}) - V(s_t)
        v_t     = V(s_t) + rho_t delta_t + gamma c_t (v_{t+1} - V(s_{t+1}))
        A_t     = rho_t (delta_t + gamma lambda (v_{t+1} - V(s_{t+1})))

    The last line has the paper's q_t = r_t + gamma v_{t+1} with lambda in it, as rlax has it: where all ratios are 1, v
    is the lambda-return and A is GAE. Ends of episodes, rows that are not valid and error_limit are as in gae.

    ratios: [T, E] of the newest policy (pi) to the one that acted (mu); the others as in gae.
    """
    if ratios.shape != rewards.shape:
        raise ValueError(f"ratios of shape {ratios.shape} for rewards of {rewards.shape}")
    traces = np.minimum(ratios, MOST_RHO).astype(np.float32)
    advantages, targets = gae(
        rewards, values, final_values, terminated, truncated, valid, gamma, trace_lambda, error_limit, traces
    )
    return traces * advantages, targets
