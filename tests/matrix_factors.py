"""Values of each factor of the matrix, and the rules that refuse combinations of them."""

from collections.abc import Callable
from typing import Any

from combined_env import ACTIONS, MASKS, MODES, OBSERVATIONS

NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer norm": {"layer_norm": True, "activation": "relu"},
    "embedding": {"embedding": 3},
    "trunk": {"encoder_hidden": (8,)},
    "two trunks": {"encoder_hidden": (8,), "critic_encoder": "own"},
    "not normalised": {"normalise_observations": False},
    "nature": {"encoder": "nature_cnn"},
    "impala": {"encoder": "impala_cnn"},
    "own": {"encoder": "test_matrix:make_encoder"},
}
STACKED: dict[str, dict[str, Any]] = {"stacked": {"encoder": "impala_cnn", "frame_stack": 3}}
MEMORIES: dict[str, dict[str, Any]] = {
    "forgets": {},
    "gru": {"memory": "gru", "memory_width": 6, "bptt_steps": 5},
    "lstm": {"memory": "lstm", "memory_width": 4, "memory_layers": 2, "bptt_steps": 0},
    "own memory": {"memory": "memory_nets:make_memory", "memory_width": 5},
}
STALENESS: dict[str, tuple[int, str]] = {  # versions that steps are behind, and ppo.correction
    "fresh": (0, "none"),
    "stale": (1, "none"),
    "decoupled": (2, "decoupled"),
    "v-trace": (2, "vtrace"),
}
EXPLORATIONS: dict[str, dict[str, Any]] = {
    "clip": {},
    "rescale": {"action_bounds": "rescale"},
    "squash": {"action_bounds": "squash"},
    "beta": {"distribution": "beta"},
    "state": {"exploration": "state", "exploration_steps": 4},
    "coloured": {"noise_colour": 0.5},
}
FACTORS: dict[str, list[str]] = {
    "observation": list(OBSERVATIONS),
    "action": list(ACTIONS),
    "mask": list(MASKS),
    "network": list(NETWORKS),
    "memory": list(MEMORIES),
    "exploration": list(EXPLORATIONS),
    "staleness": list(STALENESS),
    "vectorisation": ["sync", "async", *MODES],
}
RARE = {"async": 6, "own": 4, "own memory": 4}  # combinations at most: these start processes that import much
Combination = dict[str, str]
PICTURES = {"picture", "channels first", "gray", "picture and more"}
DISCRETE = {"discrete", "dict", "tuple"}
BOUNDED = {"box", "wide box", "dict"}  # with numbers that have both bounds

REFUSED: dict[str, tuple[Callable[[Combination], bool], str]] = {
    "masks of numbers alone": (
        lambda of: of["mask"] != "none" and "box" in of["action"],
        "the actions are numbers",
    ),
    "a convolution without an image": (
        lambda of: of["network"] in {"nature", "impala"} and of["observation"] not in PICTURES,
        "image",
    ),
    "an embedding of nothing": (
        lambda of: of["network"] == "embedding" and of["observation"] not in DISCRETE,
        "Discrete",
    ),
    "a tanh without bounds": (
        lambda of: of["exploration"] == "squash" and of["action"] not in BOUNDED,
        "network.action_bounds=squash",
    ),
    "a Beta without bounds": (
        lambda of: of["exploration"] == "beta" and of["action"] not in BOUNDED,
        "network.distribution=beta",
    ),
    "noise of states for choices": (
        lambda of: of["exploration"] == "state" and of["action"] not in {*BOUNDED, "endless box"},
        "network.exploration=state",
    ),
    "coloured noise for choices": (
        lambda of: of["exploration"] == "coloured" and of["action"] not in {*BOUNDED, "endless box"},
        "network.noise_colour=0.5",
    ),
    "a memory behind one of two trunks": (
        lambda of: of["network"] == "two trunks" and of["memory"] != "forgets",
        "the critic reads the memory",
    ),
}


def refusal(of: Combination) -> str:
    """Words of the rule that refuses this combination; "" where it must work."""
    return next((words for applies, words in REFUSED.values() if applies(of)), "")
