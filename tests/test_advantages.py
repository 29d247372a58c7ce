"""GAE against the definition written out term by term."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.learner.ppo.gae import gae


def term_by_term(
    rewards: np.ndarray,
    values: np.ndarray,
    final_values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    gamma: float,
    lam: float,
) -> np.ndarray:
    """A_t = sum over k of (gamma lambda)^k delta_{t+k}, walking forwards until the episode or the segment ends."""
    T, E = rewards.shape
    finals = {}
    for t in range(T):
        for e in range(E):
            if truncated[t, e]:
                finals[t, e] = float(final_values[len(finals)])
    advantages = np.zeros((T, E))
    for t in range(T):
        for e in range(E):
            weight = 1.0
            for k in range(t, T):
                if not valid[k, e]:
                    break
                next_value = 0.0 if terminated[k, e] else finals.get((k, e), float(values[k + 1, e]))
                advantages[t, e] += weight * (float(rewards[k, e]) + gamma * next_value - float(values[k, e]))
                weight *= gamma * lam
                if terminated[k, e] or truncated[k, e]:
                    break
    return advantages


def random_segment(seed: int, T: int, E: int, next_step_resets: bool) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    end = rng.integers(0, 6, (T, E))
    terminated, truncated, valid = end == 0, end == 1, np.ones((T, E), bool)
    if next_step_resets:
        for t in range(1, T):
            after_end = (terminated[t - 1] | truncated[t - 1]) & valid[t - 1]
            valid[t], terminated[t], truncated[t] = ~after_end, terminated[t] & ~after_end, truncated[t] & ~after_end
    rewards = rng.normal(size=(T, E)).astype(np.float32)
    values = rng.normal(size=(T + 1, E)).astype(np.float32)
    final_values = rng.normal(size=int(truncated.sum())).astype(np.float32)
    return rewards, values, final_values, terminated, truncated, valid


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    T=st.integers(1, 12),
    E=st.integers(1, 4),
    resets=st.booleans(),
    gamma=st.sampled_from([0.0, 0.9, 0.99, 1.0]),
    lam=st.sampled_from([0.0, 0.95, 1.0]),
)
def test_gae_equals_the_sum_written_term_by_term(
    seed: int, T: int, E: int, resets: bool, gamma: float, lam: float
) -> None:
    segment = random_segment(seed, T, E, resets)
    advantages, returns = gae(*segment, gamma, lam)
    np.testing.assert_allclose(advantages, term_by_term(*segment, gamma, lam), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(returns, advantages + segment[1][:-1], rtol=1e-6)
    assert advantages.dtype == returns.dtype == np.float32
    assert not advantages[~segment[5]].any()


def one_column(T: int, rewards: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    no = np.zeros((T, 1), bool)
    return np.full((T, 1), rewards, np.float32), no.copy(), no.copy(), ~no


def test_a_truncated_episode_bootstraps_but_does_not_leak_into_the_next() -> None:
    rewards, terminated, truncated, valid = one_column(4)
    truncated[1] = True
    values = np.zeros((5, 1), np.float32)
    final = np.array([10.0], np.float32)
    advantages, _ = gae(rewards, values, final, terminated, truncated, valid, 0.9, 1.0)
    assert advantages[1, 0] == pytest.approx(1 + 0.9 * 10)
    values[2:] = 1000.0  # the next episode is worth a lot; the first must not notice
    again, _ = gae(rewards, values, final, terminated, truncated, valid, 0.9, 1.0)
    np.testing.assert_array_equal(advantages[:2], again[:2])


def test_a_terminated_episode_does_not_bootstrap() -> None:
    rewards, terminated, truncated, valid = one_column(4)
    terminated[1] = True
    values = np.full((5, 1), 1000.0, np.float32)
    advantages, returns = gae(rewards, values, np.zeros(0, np.float32), terminated, truncated, valid, 0.9, 1.0)
    assert advantages[1, 0] == pytest.approx(1 - 1000)
    assert returns[0, 0] == pytest.approx(1.9, rel=1e-4)


def test_a_constant_reward_of_one_is_worth_ten_under_truncation_and_less_under_termination() -> None:
    rewards, terminated, truncated, valid = one_column(20)
    values = np.zeros((21, 1), np.float32)
    terminated[-1] = True
    _, returns = gae(rewards, values, np.zeros(0, np.float32), terminated, truncated, valid, 0.9, 1.0)
    expected = [(1 - 0.9 ** (20 - t)) / 0.1 for t in range(20)]
    np.testing.assert_allclose(returns[:, 0], expected, rtol=1e-5)
    truncated, terminated = terminated, truncated
    _, returns = gae(rewards, values, np.array([10.0], np.float32), terminated, truncated, valid, 0.9, 1.0)
    np.testing.assert_allclose(returns, 10.0, rtol=1e-5)


def test_the_end_of_a_segment_bootstraps_from_the_last_row() -> None:
    rewards, terminated, truncated, valid = one_column(3, rewards=0.0)
    values = np.array([[0], [0], [0], [8]], np.float32)
    advantages, _ = gae(rewards, values, np.zeros(0, np.float32), terminated, truncated, valid, 0.5, 1.0)
    np.testing.assert_allclose(advantages[:, 0], [1, 2, 4])


def test_nothing_flows_across_a_reset_row() -> None:
    rewards, terminated, truncated, valid = one_column(4)
    terminated[1], valid[2] = True, False
    values = np.zeros((5, 1), np.float32)
    rewards[2:] = 1e6
    advantages, _ = gae(rewards, values, np.zeros(0, np.float32), terminated, truncated, valid, 1.0, 1.0)
    np.testing.assert_allclose(advantages[:3, 0], [2, 1, 0])


def test_wrong_shapes_are_refused_at_the_door() -> None:
    rewards, terminated, truncated, valid = one_column(3)
    none = np.zeros(0, np.float32)
    with pytest.raises(ValueError, match="bootstrap"):
        gae(rewards, np.zeros((3, 1), np.float32), none, terminated, truncated, valid, 0.9, 0.9)
    with pytest.raises(ValueError, match="final values"):
        gae(rewards, np.zeros((4, 1), np.float32), np.zeros(2, np.float32), terminated, truncated, valid, 0.9, 0.9)
    with pytest.raises(ValueError, match="both"):
        gae(rewards, np.zeros((4, 1), np.float32), np.zeros(3, np.float32), valid, valid, valid, 0.9, 0.9)
