"""A task that needs two leaves of its observation, which the page on spaces has as its example, is learned."""

import sys
from pathlib import Path

import pytest
from test_docs_examples import blocks

import dppo

ONE_LEAF = 8.5  # a policy that sees only one of the leaves has less; the best there is has about 13


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_task_that_needs_a_number_and_a_choice_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_shelf.py").write_text(blocks("docs/spaces.md")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_shelf", raising=False)
    returns = {}
    for which, wrappers in {
        "both": [],
        "position": [{"gymnasium.wrappers.FilterObservation": {"filter_keys": ["position"]}}],
        "wanted": [{"gymnasium.wrappers.FilterObservation": {"filter_keys": ["wanted"]}}],
    }.items():
        result = dppo.train(
            env={"id": "my_shelf:Shelf", "wrappers": wrappers},
            actors=0,
            total_steps=40_000,
            directory=f"runs/{which}",
            seed=1,
            verbose=False,
        )
        returns[which] = dppo.evaluate(result.directory, episodes=60).mean
    assert returns["both"] > 10.5, returns
    assert max(returns["position"], returns["wanted"]) < ONE_LEAF, returns
