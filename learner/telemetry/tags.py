"""Names of curves as dashboards of the field know them (Stable-Baselines3's), by ours. Pure."""

TAGS = {
    "rollout/mean_return": "rollout/ep_rew_mean",
    "rollout/median_return": "rollout/ep_rew_median",
    "rollout/mean_length": "rollout/ep_len_mean",
    "time/steps_per_second": "time/fps",
    "update/policy_loss": "train/policy_gradient_loss",
    "update/policy_std": "train/std",
    "eval/return_mean": "eval/mean_reward",
    "eval/return_std": "eval/std_reward",
    "eval/return_min": "eval/min_reward",
    "eval/return_max": "eval/max_reward",
    "eval/length_mean": "eval/mean_ep_length",
}
TRAIN = ("update/", "train/")


def tag_of(name: str) -> str:
    """Return the tag of a grouped name: train/kl for update/kl; the user's own stay as they are."""
    if (tag := TAGS.get(name)) is not None:
        return tag
    return TRAIN[1] + name.removeprefix(TRAIN[0]) if name.startswith(TRAIN[0]) else name
