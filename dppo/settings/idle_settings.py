"""Settings that do nothing without another one: where they are given, they are a mistake. Knows paths and sources."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dppo.protocol.errors import UsageError

BY_HAND = ("flag", "environment")  # files hold all settings, those without effect too


class Idle(NamedTuple):
    """Settings that only count with others."""

    names: tuple[str, ...]
    others: tuple[str, ...]
    is_idle: Callable[[Mapping[str, Any]], bool]  # given all values that are set
    why: str


IDLE = (
    Idle(
        ("network.memory_width", "network.memory_layers", "network.bptt_steps"),
        ("network.memory",),
        lambda values: values.get("network.memory", "none") == "none",
        "is of a memory, and there is none: set network.memory to gru or lstm, or leave it out",
    ),
    Idle(
        ("ppo.divergence", "ppo.divergence_limit"),
        ("ppo.surrogate",),
        lambda values: values.get("ppo.surrogate") != "divergence_mask",
        "is of ppo.surrogate=divergence_mask: set that too, or leave it out",
    ),
    Idle(
        ("ppo.target_kl",),
        ("ppo.surrogate", "ppo.learning_rate_schedule"),
        lambda values: values.get("ppo.surrogate") != "kl_penalty" and values.get("ppo.learning_rate_schedule") != "kl",
        "is aimed at by ppo.surrogate=kl_penalty and ppo.learning_rate_schedule=kl, and neither is chosen; to stop "
        "epochs at a KL, set ppo.early_stop_kl",
    ),
    Idle(
        ("ppo.reuse_kl",),
        ("ppo.reuse",),
        lambda values: values.get("ppo.reuse", 1) == 1,
        "bounds which earlier batches are trained on again, and none are: set ppo.reuse too, for example to 4",
    ),
    Idle(
        ("ppo.correction",),
        ("collect.max_staleness",),
        lambda values: values["ppo.correction"] != "none" and not values.get("collect.max_staleness"),
        "corrects steps of older policies, and there are none: set collect.max_staleness too, or leave it out",
    ),
    Idle(
        ("ppo.entropy_schedule",),
        ("ppo.entropy_coefficient",),
        lambda values: values["ppo.entropy_schedule"] != "constant" and not values.get("ppo.entropy_coefficient"),
        "has nothing to let fall: set ppo.entropy_coefficient too, for example to 0.01",
    ),
)


def refuse_idle(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raise UsageError for settings given by hand that do nothing without others, which are not, and for a choice of
    the checkpoint to begin from where no run is named to begin from.
    """
    for names, others, is_idle, why in IDLE:
        is_spelled_out = all(sources.get(other) in BY_HAND for other in others)  # a script that names all settings
        by_hand = [name for name in names if sources.get(name) in BY_HAND]
        if by_hand and not is_spelled_out and is_idle(values):
            raise UsageError(f"{by_hand[0]}={values[by_hand[0]]} {why}")
    chosen = values.get("run.init_checkpoint")
    is_by_hand = sources.get("run.init_checkpoint") in BY_HAND and sources.get("run.init_from") not in BY_HAND
    if (is_by_hand or chosen == "best") and not values.get("run.init_from"):
        raise UsageError(
            f"run.init_checkpoint={chosen} chooses the checkpoint of run.init_from, which is not set: "
            "name the run to begin from, --init-from RUN"
        )
