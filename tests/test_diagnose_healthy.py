"""`dppo diagnose` names nothing in runs that learn: tasks, presets, spaces, seeds beyond tests/test_diagnose.py."""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from test_diagnose import named, trained
from test_docs_examples import blocks

from dppo.ops.diagnose.history import read_history

PAGES = {"my_board": "docs/masks.md", "my_catch": "docs/images.md"}  # of environments that a page shows
SHORT_BATCH = {"collect.batch_steps": 1024, "ppo.epochs": 4, "ppo.minibatch_steps": 128, "ppo.learning_rate": 1e-3}


@dataclass(frozen=True)
class Healthy:
    """A run that learns."""

    env: str
    steps: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""  # package of an extra
    actors: int = 0
    begins_with: str = ""  # another of these runs, whose weights it takes


HEALTHY = {
    "acrobot": Healthy("Acrobot-v1", 40_000, {"seed": 3}),
    "lake of choices": Healthy("FrozenLake-v1", 20_000, {"env.kwargs": {"is_slippery": False}, "seed": 4}),
    "cards, mostly luck": Healthy("Blackjack-v1", 20_000, {"seed": 5}),
    "masks, memory, nested": Healthy(
        "recall_env:Recall", 20_000, {"network.memory": "gru", "ppo.learning_rate": 0.002, "seed": 6}
    ),
    "board with masks": Healthy("my_board:Board", 14_000, {"seed": 7}),
    "pictures": Healthy("my_catch:Catch", 16_000, {**SHORT_BATCH, "seed": 8}),
    "pole with a memory": Healthy("CartPole-v1", 14_000, {"network.memory": "gru", "seed": 9}),
    "classic recipe, several numbers": Healthy(
        "Swimmer-v5", 24_000, {"preset": "mujoco-classic", "seed": 10}, "mujoco"
    ),
    "classic recipe, an episode that ends": Healthy(
        "Hopper-v5", 24_000, {"preset": "mujoco-classic", "seed": 11}, "mujoco"
    ),
    "classic recipe, a lander": Healthy("LunarLander-v3", 40_000, {"preset": "box2d-classic", "seed": 12}, "Box2D"),
    "recipe of the tutorial": Healthy("Pendulum-v1", 24_000, {"preset": "tutorial-tuned/simple-clip", "seed": 13}),
    "pole on a slider": Healthy("InvertedPendulum-v5", 24_000, {"seed": 14}, "mujoco"),
    "pole, of weights that balance it": Healthy("CartPole-v1", 14_000, {"seed": 15}, begins_with="pole, balanced"),
    "actors that go on during updates": Healthy(
        "CartPole-v1", 20_000, {"collect.max_staleness": 1, "seed": 16}, actors=3
    ),
    "runner without an end": Healthy("healthy_envs:Runner", 24_000, {"preset": "mujoco-classic", "seed": 17}),
    "reward that is rare": Healthy("healthy_envs:Corridor", 20_000, {**SHORT_BATCH, "seed": 18}),
}
SOLVED = {"run.target_return": 475, "run.stop_at_target": True}
SOURCES = {"pole, balanced": Healthy("CartPole-v1", 80_000, {**SOLVED, "seed": 19})}


@pytest.mark.thin(3)
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("run", HEALTHY)
def test_nothing_is_named_in_a_run_that_learns(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = HEALTHY[run]
    if healthy.needs and importlib.util.find_spec(healthy.needs) is None:
        pytest.skip(f"needs {healthy.needs}: pip install 'dppo[{healthy.needs.lower()}]'")
    module = healthy.env.partition(":")[0]
    if module in PAGES:
        (tmp_path / f"{module}.py").write_text(blocks(PAGES[module])[0], encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module, raising=False)
    settings = {"run.target_return": None, **healthy.settings}
    if healthy.begins_with:
        source = SOURCES[healthy.begins_with]
        trained(tmp_path / "source", source.env, source.steps, {"run.target_return": None, **source.settings})
        settings["init_from"] = str(tmp_path / "source")
    run = trained(tmp_path / "run", healthy.env, healthy.steps, settings, actors=healthy.actors)
    assert named(read_history(run)) == {}
