import numpy as np

from dppo.learner.ppo.reward_shaping import rewards_to_train_on

PAID = np.array([[1.0, -8.0], [1.0, -16.0], [1.0, 0.0]], np.float32)
TERMINATED = np.array([[False, False], [True, False], [False, True]])


def test_rewards_are_offset_then_scaled_as_in_the_tutorial() -> None:
    got = rewards_to_train_on(PAID, TERMINATED, offset=8.0, scale=0.125, terminal=None)
    expected = [[(r + 8) / 8 for r in row] for row in PAID.tolist()]
    np.testing.assert_array_equal(got, np.array(expected, np.float32))
    assert got.dtype == np.float32


def test_a_terminal_reward_replaces_what_was_paid_before_offset_and_scale() -> None:
    got = rewards_to_train_on(PAID, TERMINATED, offset=-1.0, scale=1.0, terminal=-10.0)  # the discrete program's
    np.testing.assert_array_equal(got, np.array([[0, -9], [-11, -17], [0, -11]], np.float32))


def test_without_settings_the_rewards_are_the_very_same_array() -> None:
    assert rewards_to_train_on(PAID, TERMINATED, offset=0.0, scale=1.0, terminal=None) is PAID


def test_what_was_paid_is_left_alone() -> None:
    kept = PAID.copy()
    rewards_to_train_on(PAID, TERMINATED, offset=3.0, scale=2.0, terminal=5.0)
    np.testing.assert_array_equal(PAID, kept)
