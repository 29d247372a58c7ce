"""The Python examples of README.md and docs/ run as they stand; in the fast tests with fewer steps and no processes."""

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from processes import REPOSITORY

import dppo

PAGES = [*sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md")), "README.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+)\.py\n")
SHORT = ((r"total_steps=[\d_]+", "total_steps=1"), (r"actors=\d+", "actors=0"), (r"episodes=\d+", "episodes=3"))
WITH_EXAMPLES = {
    "README.md",
    "docs/environments.md",
    "docs/from-other-libraries.md",
    "docs/hooks.md",
    "docs/images.md",
    "docs/index.md",
    "docs/masks.md",
    "docs/memory.md",
    "docs/networks.md",
    "docs/onnx.md",
    "docs/policy.md",
    "docs/python.md",
    "docs/sizing.md",
    "docs/spaces.md",
    "docs/trackers.md",
}
LONG = {
    "docs/environments.md",
    "docs/from-other-libraries.md",
    "docs/images.md",
    "docs/index.md",
    "docs/masks.md",
    "docs/memory.md",
    "docs/networks.md",
    "docs/policy.md",
    "docs/python.md",
    "docs/sizing.md",
    "docs/spaces.md",
    "docs/trackers.md",
}  # run by the slow tests only, as it stands
PSEUDO_CODE = {"docs/architecture.md"}
NEEDS_A_RUN = {"docs/onnx.md", "docs/policy.md", "docs/sizing.md"}


def blocks(page: str) -> list[str]:
    return BLOCK.findall((REPOSITORY / page).read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the examples; modules that they write are forgotten, and what these register."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registered, modules = set(gym.registry), set(sys.modules)
    yield tmp_path
    for name in set(gym.registry) - registered:
        del gym.registry[name]
    for name in set(sys.modules) - modules:
        if name in {path.stem for path in tmp_path.glob("*.py")}:
            del sys.modules[name]


def run_page(page: str, folder: Path, *, short: bool) -> dict[str, Any]:
    """Run the blocks of a page one after the other, as one script; those that name a file become that file."""
    script = []
    for block in blocks(page):
        text = block
        for pattern, replacement in SHORT if short else ():
            text = re.sub(pattern, replacement, text)
        file = FILE.match(text)
        if file:
            (folder / f"{file[1]}.py").write_text(text)
        else:
            script.append(text)
    return run(folder, "\n".join(script))


def run(folder: Path, text: str, **names: Any) -> dict[str, Any]:
    """Run a script without a guard; returns its names."""
    (folder / "cells.py").write_text(text)
    return runpy.run_path(str(folder / "cells.py"), names, run_name="cells")


def test_all_pages_with_examples_are_run() -> None:
    assert {page for page in PAGES if blocks(page)} == WITH_EXAMPLES | PSEUDO_CODE
    unmarked = [page for page in PAGES if re.search(r"^```(py|python3|pycon)$", (REPOSITORY / page).read_text(), re.M)]
    assert unmarked == []


@pytest.mark.parametrize("page", sorted(WITH_EXAMPLES - LONG))
def test_examples_run_in_short(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPPO_EVALUATION_EPISODES", "1")
    if page in NEEDS_A_RUN:
        dppo.train(env="CartPole-v1", actors=0, total_steps=1, verbose=False)
    names = run_page(page, folder, short=True)
    if "evaluation" in names:
        assert names["evaluation"].episodes == 3
        assert names["picture"].is_file()
    if page == "README.md":
        importlib.import_module("my_robot")
        assert gym.registry["Reach-v0"].max_episode_steps == 200
    if page == "docs/environments.md":
        assert importlib.import_module("rover").Rover.action_space.contains(names["action"])
    if page == "docs/onnx.md":
        ours, _ = dppo.load_policy("runs/CartPole-v1").predict(np.zeros((1, 4)))
        assert ours.shape == names["action"].shape
        assert names["noise"].any()


def test_the_page_on_onnx_acts_as_we_do(folder: Path) -> None:
    dppo.train(env="CartPole-v1", actors=0, total_steps=1, verbose=False)
    first, *_ = blocks("docs/onnx.md")
    policy = dppo.load_policy("runs/CartPole-v1")
    for observation in np.random.default_rng(1).normal(size=(5, 1, 4)):
        text = first.replace("np.zeros((1, 4), np.float32)", "given.astype(np.float32)")
        names = run(folder, text, given=observation)
        assert names["action"].tolist() == policy.predict(observation)[0].tolist()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", sorted(WITH_EXAMPLES))
def test_examples_run_as_they_stand(page: str, folder: Path) -> None:
    if page in NEEDS_A_RUN:
        dppo.train(env="CartPole-v1", actors=0, total_steps=1, verbose=False)
    run_page(page, folder, short=False)
    if page == "docs/hooks.md":
        result = dppo.train(env="CartPole-v1", actors=1, verbose=False, hooks="my_hooks:StopWhenGood")
        assert result.reason.startswith("stopped by the hook my_hooks:StopWhenGood")
        assert (result.directory / "returns.jsonl").read_text().count("\n") == result.updates
    assert {record.state for record in dppo.runs()} == {"stopped" if page == "docs/hooks.md" else "finished"}
