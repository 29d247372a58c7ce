"""Under the rule `quota` each version is the same to the last bit, however slots are divided and whoever dies."""

from collections.abc import Callable, Mapping

import pytest
from divided_run import SLOTS, DividedRun
from hypothesis import given, settings
from hypothesis import strategies as st

VERSIONS = 4
WHOLE = {"a": SLOTS}
DIVISIONS = [{"a": 4, "b": 4}, {"a": 2, "b": 2, "c": 2, "d": 2}, {"a": 1, "b": 5, "c": 2}]


def digests(
    divisions: Mapping[str, int],
    *,
    seed: int = 0,
    env: str = "CartPole-v1",
    memory: str = "none",
    noise_colour: float = 0.0,
) -> list[str]:
    return DividedRun(divisions, seed=seed, env=env, memory=memory, noise_colour=noise_colour).digests(VERSIONS)


@pytest.fixture(scope="module")
def whole() -> list[str]:
    found = digests(WHOLE)
    assert len(set(found)) == VERSIONS
    return found


def test_another_division_gives_the_same_versions(whole: list[str]) -> None:
    assert digests({"a": 1, "b": 5, "c": 2}) == whole


@pytest.mark.slow
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"])
def test_every_division_gives_the_same_versions(env: str) -> None:
    assert all(digests(divisions, env=env) == digests(WHOLE, env=env) for divisions in DIVISIONS)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_every_division_gives_the_same_versions_of_a_policy_with_memory(memory: str) -> None:
    assert all(digests(divisions, memory=memory) == digests(WHOLE, memory=memory) for divisions in DIVISIONS)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), parts=st.lists(st.integers(1, SLOTS), min_size=1, max_size=4))
def test_no_order_of_steps_and_messages_gives_others(whole: list[str], seed: int, parts: list[int]) -> None:
    sizes = [size for size in parts if size][: SLOTS - 1]
    while sum(sizes) > SLOTS:
        sizes.pop()
    sizes += [SLOTS - sum(sizes)] * (sum(sizes) < SLOTS)
    # slots are handed out in the order in which actors come, so that these fill all of them
    assert digests({f"actor-{number}": size for number, size in enumerate(sizes)}, seed=seed) == whole


def killing(name: str, *, at_step: int, starts: Mapping[str, int]) -> Callable[[DividedRun], None]:
    """Kill the actor after so many steps of its first process, once, and start these in its place."""
    done: list[bool] = []

    def look(run: DividedRun) -> None:
        if not done and run.actors[name].steps >= at_step:
            done.append(True)
            run.kill(name)
            for other, envs in starts.items():
                run.start(other, envs)

    return look


def with_a_death(divisions: Mapping[str, int], name: str, at_step: int, *, seed: int) -> tuple[list[str], list[object]]:
    run = DividedRun(divisions, seed=seed)
    found = run.digests(VERSIONS, killing(name, at_step=at_step, starts={name: divisions[name]}))
    return found, run.lives


def test_a_killed_and_replaced_actor_gives_the_same_versions_each_time(whole: list[str]) -> None:
    """Under version 2 the fifth to eighth slots begin another life, at whichever of its rows the one before ended."""
    rows = 96 // SLOTS
    runs = [with_a_death({"a": 4, "b": 4}, "b", rows + at, seed=at) for at in (1, 7)]
    assert len({tuple(found) for found, _ in runs}) == 1
    (found, lives), *_ = runs
    assert found[:2] == whole[:2]
    assert found[2] != whole[2]
    assert lives[:2] == [[(0, 8, 0)], [(0, 4, 0), (4, 8, 1)]]


@pytest.mark.slow
def test_where_the_same_slots_begin_a_new_life_other_divisions_give_the_same_versions_too() -> None:
    rows = 96 // SLOTS
    found = {tuple(with_a_death(d, "z", rows + 3, seed=1)[0]) for d in ({"a": 4, "z": 4}, {"a": 2, "b": 2, "z": 4})}
    assert len(found) == 1
