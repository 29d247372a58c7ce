"""Settings that do nothing without another one: where they are given, they are a mistake. Knows paths and sources."""

from collections.abc import Mapping
from typing import Any

from dppo.protocol.errors import UsageError

BY_HAND = ("flag", "environment")  # files hold all settings, those without effect too
OF_A_MEMORY = ("network.memory_width", "network.memory_layers", "network.bptt_steps")


def refuse_idle(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raise UsageError for a choice of the checkpoint to begin from where no run is named to begin from, and for sizes
    of a memory where there is none.
    """
    is_spelled_out = sources.get("network.memory") in BY_HAND  # as by a script that names all settings
    for name in OF_A_MEMORY:
        is_idle = values.get("network.memory", "none") == "none" and not is_spelled_out
        if sources.get(name) in BY_HAND and is_idle:
            raise UsageError(
                f"{name}={values[name]} is of a memory, and there is none: set network.memory to gru or lstm, or leave "
                "it out"
            )
    chosen = values.get("run.init_checkpoint")
    is_by_hand = sources.get("run.init_checkpoint") in BY_HAND and sources.get("run.init_from") not in BY_HAND
    if (is_by_hand or chosen == "best") and not values.get("run.init_from"):
        raise UsageError(
            f"run.init_checkpoint={chosen} chooses the checkpoint of run.init_from, which is not set: "
            "name the run to begin from, --init-from RUN"
        )
