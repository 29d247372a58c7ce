"""Numbers of an environment's own: placeholders, variables, slots of evaluation and film."""

import errno
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import pytest
from counting import CountingEnv

from dppo.actor.envs.env_numbers import Place, is_in_use, made_once_free, variables
from dppo.actor.envs.make import make_environments
from dppo.learner.config import EnvConfig
from dppo.learner.storage.checkpoint_format import STATE_FILE, document_of
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.placeholders import Numbers, filled, has_placeholder
from dppo.watch.evaluation_slots import film_place, first_evaluation_slot, unwatched_place, watched_place

SEVENTH = Numbers(7, "actor-1", 3)


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("{slot}", 7),
        ("{column}", 3),
        ("{actor}", "actor-1"),
        ("{5105+slot}", 5112),
        ("{5000 + 2*slot + column}", 5017),
        ("/tmp/sim-{slot:03d}-{actor}", "/tmp/sim-007-actor-1"),
        ("tcp://localhost:{6000+slot}", "tcp://localhost:6007"),
        ("{{slot}}", "{slot}"),
        ("{{{slot}}}", "{7}"),
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (None, None),
        ({"a": ["{slot}", {"b": "x{column}"}], "c": 1.5}, {"a": [7, {"b": "x3"}], "c": 1.5}),
    ],
)
def test_placeholders_are_filled_in(value: Any, becomes: Any) -> None:
    assert filled(value, SEVENTH) == becomes


@pytest.mark.parametrize(
    "text",
    ["{slots}", "{}", "{0}", "{slot-1}", "{slot", "slot}", "{slot!r}", "{slot:q}", "{actor+1}", "{slot.x}", "{1e3}"],
)
def test_what_is_no_placeholder_is_one_line_that_names_the_argument(text: str) -> None:
    with pytest.raises(UsageError, match=r"^env\.kwargs\.port: ") as caught:
        EnvConfig("CartPole-v1", {"port": text})
    assert "\n" not in str(caught.value)


def test_what_is_filled_in_is_a_copy() -> None:
    kwargs = {"list": [1, {"deep": []}]}
    one, other = filled(kwargs, SEVENTH), filled(kwargs, SEVENTH)
    one["list"][1]["deep"].append(1)
    assert other == kwargs == {"list": [1, {"deep": []}]}
    assert not has_placeholder(kwargs)
    assert has_placeholder({"x": ["{slot}"]})


class Numbered(CountingEnv):
    """Keeps what it was made with."""

    made: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, port: int = 0, weights: Any = None) -> None:
        super().__init__()
        names = ("DPPO_SLOT", "DPPO_ACTOR", "DPPO_COLUMN")
        Numbered.made.append((port, *(os.environ.get(name) for name in names), os.getcwd()))
        if weights is not None:
            weights.append(port)
            assert len(weights) == 1, "shared with another environment"


gym.register("Numbered-v0", entry_point=Numbered)


def test_every_environment_has_its_numbers_and_keeps_them_when_it_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Numbered, "made", [])
    monkeypatch.chdir(tmp_path)
    settings = EnvSettings("Numbered-v0", json.dumps({"port": "{5100+slot}", "weights": []}))
    environments = make_environments(settings, 3, place=Place("actor-1", 8))
    environments.reset([1, 2, 3])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # as an environment may
    environments.restart([1], [4])
    here = str(tmp_path)
    assert Numbered.made == [
        *((5108 + column, str(8 + column), "actor-1", str(column), here) for column in range(3)),
        (5109, "9", "actor-1", "1", here),
    ]
    assert "DPPO_SLOT" not in os.environ


def test_variables_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPPO_SLOT", "outer")
    monkeypatch.delenv("DPPO_ACTOR", raising=False)
    with variables(SEVENTH):
        assert (os.environ["DPPO_SLOT"], os.environ["DPPO_ACTOR"], os.environ["DPPO_COLUMN"]) == ("7", "actor-1", "3")
    assert os.environ["DPPO_SLOT"] == "outer"
    assert "DPPO_ACTOR" not in os.environ


def test_what_is_in_use_is_waited_for_and_anything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    tries: list[int] = []

    def make(error: Exception, successes_from: int) -> str:
        tries.append(1)
        if len(tries) < successes_from:
            raise error
        return "made"

    busy = OSError(errno.EADDRINUSE, "Address already in use")
    assert made_once_free(lambda: make(busy, 4), 10) == "made"
    tries.clear()
    with pytest.raises(ValueError, match="wrong"):
        made_once_free(lambda: make(ValueError("wrong"), 4), 10)
    assert len(tries) == 1
    tries.clear()
    with pytest.raises(OSError, match="in use"):
        made_once_free(lambda: make(busy, 1000), 2)
    assert 5 < len(tries) < 20


def test_a_port_in_use_is_seen_behind_other_errors() -> None:
    error = RuntimeError("the simulator does not start")
    error.__cause__ = OSError(errno.EADDRINUSE, "")
    assert is_in_use(error)
    assert is_in_use(RuntimeError("Port 5105 is already in use!"))
    assert not is_in_use(RuntimeError("no licence"))


@pytest.mark.parametrize(
    ("training", "first"), [(0, 1000), (1, 1000), (16, 1000), (499, 1000), (500, 2000), (1499, 2000), (80_000, 81_000)]
)
def test_slots_of_evaluation_and_film_are_never_those_of_training(tmp_path: Path, training: int, first: int) -> None:
    checkpoint = tmp_path / "checkpoints" / "00000003"
    checkpoint.mkdir(parents=True)
    (checkpoint / STATE_FILE).write_bytes(document_of(3, b"", {"slots": {"lives": [0] * training}}))
    assert first_evaluation_slot(tmp_path, {"actors": 2, "collect.envs_per_actor": 8}) == first
    assert first - training >= 500
    places = [film_place(first), watched_place(first), unwatched_place(first)]
    assert [place.first_slot for place in places] == [first, first + 1, first + 2]


def test_a_run_without_a_checkpoint_has_the_slots_that_its_settings_say(tmp_path: Path) -> None:
    assert first_evaluation_slot(tmp_path, {"actors": 100, "collect.envs_per_actor": 8}) == 2000
    assert first_evaluation_slot(tmp_path, {}) == 1000
