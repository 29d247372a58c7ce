"""Tasks in which an illegal action ends the episode: solved with masks, and not without in as many steps."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from masked_env import LEAF, Masked
from runs_that_go_on import gone_on
from test_docs_examples import blocks

import dppo

SOLVED = 6.5  # of 8: half of the legal fields are right, and some halves are full at the end
STEPS = 16_000


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_game_that_an_illegal_action_ends_is_solved_with_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_board.py").write_text(blocks("docs/masks.md")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_board", raising=False)
    returns, lengths = {}, {}
    for source in ("auto", "none"):
        run = dppo.train(
            env={"id": "my_board:Board", "action_mask": source},
            actors=0,
            total_steps=STEPS,
            directory=f"runs/{source}",
            seed=1,
            verbose=False,
        )
        evaluation = dppo.evaluate(run.directory, episodes=60)
        returns[source] = evaluation.mean
        lengths[source] = min(evaluation.lengths)
    assert returns["auto"] > SOLVED, returns
    assert lengths["auto"] == 8, "no illegal action in any episode"
    assert returns["none"] < SOLVED - 2, returns


class Leafy(Masked):
    """An environment whose mask is a leaf of its observations, with pictures to film; an illegal action is an error."""

    metadata = {"render_modes": ["rgb_array", "human"]}  # noqa: RUF012 -- as Gymnasium has it

    def __init__(self, render_mode: str | None = None, source: Any = "leaf") -> None:
        super().__init__(spaces.MultiDiscrete([2, 3]), source)
        self.render_mode = render_mode

    def step(self, action: Any) -> Any:
        result = super().step(action)
        assert not self.wrong, self.wrong[0]
        return result

    def render(self) -> np.ndarray:
        return np.zeros((16, 16, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "vectorization"), [("leaf", "sync"), ("method", "async"), ("info", "sync")])
def test_a_run_with_masks_goes_on_is_evaluated_and_filmed(
    source: str, vectorization: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mask = LEAF if source == "leaf" else "auto"
    env = {"id": "test_learning_masks:Leafy", "kwargs": {"source": source}, "action_mask": mask}
    lines, _ = gone_on({**env, "vectorization": vectorization})
    assert sum(line["env_restarts"] for line in lines) == 0, "no illegal action"
