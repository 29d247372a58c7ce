"""What is said about environments that cannot be found or made: one line with the reason and what to do."""

import json
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.actor.envs.env_errors import why_not_made
from dppo.actor.envs.make import make_environments, registered
from dppo.learner.config import EnvConfig
from dppo.protocol.env_names import check_env_name
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules are imported from; what they register is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gym.envs.registration, "registry", gym.registry)
    before, modules = dict(gym.registry), set(sys.modules)
    yield tmp_path
    for name in set(gym.registry) - set(before):
        del gym.registry[name]
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def complaint(env_id: str, kwargs: object = None, kind: type[DppoError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        make_environments(EnvSettings(env_id, json.dumps(kwargs or {})), 1).close()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is empty: give a Gymnasium id such as CartPole-v1"),
        ("   ", "is empty"),
        ("my_env.py", "is a file: register an environment in it and name both, as in --env my_env:Reach-v0"),
        ("./my_env.py", "--env my_env:Reach-v0"),
        ("./my_env:Reach-v0", "name the module as `import` does, --env my_env:Reach-v0"),
        ("envs/my_env.py:Reach-v0", "--env envs.my_env:Reach-v0"),
        ("/home/me/my_env.py:Reach-v0", "--env my_env:Reach-v0"),
        ("~/my_env:Reach-v0", "--env my_env:Reach-v0"),
        ("../my_env:Reach-v0", "--env my_env:Reach-v0"),
        (".my_env:Reach-v0", "--env my_env:Reach-v0"),
        ("my_env.py:Reach-v0", "--env my_env:Reach-v0"),
        ("my_env..x:Reach-v0", "no usable module"),
        ("my_env:", "lacks the module before the colon or the id after it"),
        (":Reach-v0", "lacks the module before the colon or the id after it"),
        ("a:b:c", "has two colons"),
        ("Cart Pole-v1", "has spaces"),
        ("CartPole-v1\n", "has spaces or control characters"),
        ("x" * 300, "has 300 characters"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_when_it_is_read(name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        EnvConfig(id=name)
    assert words in str(caught.value)
    assert str(caught.value).startswith("env.id=")


@given(st.text())
def test_a_name_is_taken_or_refused_in_one_line_whatever_it_is(name: str) -> None:
    text = "env.id="
    try:
        check_env_name(name)
    except UsageError as error:
        text = str(error)
    assert text.startswith("env.id=")
    assert text.isprintable()


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}(/[A-Za-z0-9]{1,8})?-v[0-9]", fullmatch=True))
def test_ids_are_taken(name: str) -> None:
    check_env_name(name)
    check_env_name(f"my_pkg.envs:{name}")


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("CartPole", "did you mean CartPole-v"),
        ("cartpole-v1", "did you mean CartPole-v1"),
        ("Pendulm-v1", "did you mean Pendulum-v1"),
        ("PongNoFrameskip-v4", "Atari's ids look like ALE/Pong-v5 (pip install 'dppo[atari]')"),
        ("ALE/Pong-v5", "needs the package ale_py, which is not installed here: pip install 'dppo[atari]'"),
        ("dm_control/cartpole-balance-v0", "needs the package shimmy, which is not installed here"),
        ("json", "'json' is a module, and not an id"),
        ("no_such_module:Reach-v0", "No module named 'no_such_module'. Is it installed here, or its folder named in"),
        ("HalfCheetah-v5", "needs the module mujoco, which is not installed here: pip install 'dppo[mujoco]'"),
        ("LunarLander-v3", "needs the module Box2D, which is not installed here: pip install 'dppo[box2d]'"),
        ("phys2d/CartPole-v1", "needs the module jax, which is not installed here"),
    ],
)
def test_an_environment_that_is_not_there_says_what_to_do(
    env_id: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("mujoco", "Box2D", "ale_py", "shimmy", "jax"):
        monkeypatch.setitem(sys.modules, module, None)  # import raises, wherever this runs
    assert words in complaint(env_id)


def test_a_name_in_a_module_that_makes_nothing(folder: Path) -> None:
    (folder / "classy.py").write_text("NUMBER = 3\ndef make_reach(): ...\n")
    assert "NUMBER is of type int in classy, and neither an id nor a function or class" in complaint("classy:NUMBER")
    assert complaint("classy:make_reech").endswith("did you mean classy:make_reach?")


def test_a_run_instead_of_an_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("runs/CartPole-v1").mkdir(parents=True)
    Path("runs/CartPole-v1/config.yaml").write_text("")
    words = "dppo train --config runs/CartPole-v1/config.yaml --run.directory runs/CartPole-v1"
    assert complaint("runs/CartPole-v1").endswith(words)


def test_another_id_than_the_module_registers(folder: Path) -> None:
    source = "import gymnasium as gym\nclass R(gym.Env): ...\ngym.register('Reacher-v7', entry_point=R)\n"
    (folder / "reachers.py").write_text(source)
    for _ in range(2):  # the second time it has been imported already
        assert complaint("reachers:Reach-v0").endswith("did you mean reachers:Reacher-v7?")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import not_there_at_all\n", "it needs the module not_there_at_all, which is not installed here"),
        ("import mujoco\n", "it needs the module mujoco, which is not installed here: pip install 'dppo[mujoco]'"),
        ("def f(:\n", "invalid syntax ("),
        ("1 / 0\n", "ZeroDivisionError: division by zero (broken.py:1 in <module>)"),
        ("raise SystemExit('no licence')\n", "it called sys.exit('no licence')"),
        ("from json import nothing\n", "cannot import name 'nothing'"),
    ],
)
def test_a_module_that_breaks_when_it_is_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    (folder / "broken.py").write_text(source)
    text = complaint("broken:Reach-v0")
    assert text.startswith("cannot import 'broken', the module of the environment 'broken:Reach-v0': ")
    assert words in text


class Stubborn(gym.Env[float, int]):
    """Does not start."""

    def __init__(self, error: str = "", *, goal: int) -> None:
        raise {"exit": SystemExit("cannot open display :0"), "os": OSError(2, "No such file: robot.xml")}.get(
            error, RuntimeError(f"no licence for {goal}")
        )


@pytest.fixture
def stubborn() -> str:
    gym.register("Stubborn-v0", entry_point=Stubborn)
    yield "Stubborn-v0"
    del gym.registry["Stubborn-v0"]


@pytest.mark.parametrize(
    ("kwargs", "kind", "words"),
    [
        ({"goal": 1, "error": "exit"}, DppoError, "it called sys.exit('cannot open display :0')"),
        ({"goal": 1, "error": "os"}, UsageError, "No such file: robot.xml (test_messages_environments.py:"),
        ({"goal": 7}, DppoError, "RuntimeError: no licence for 7 (test_messages_environments.py:"),
        ({}, UsageError, "give it with --env.kwargs '{goal: VALUE}'"),
        ({"gaol": 1}, UsageError, "unexpected keyword argument 'gaol'"),
    ],
)
def test_an_environment_that_cannot_be_made_gives_the_reason(
    stubborn: str, kwargs: dict[str, object], kind: type[DppoError], words: str
) -> None:
    text = complaint(stubborn, kwargs, kind)
    assert text.startswith("cannot make Stubborn-v0 with {")
    assert words in text
    assert "environment creator" not in text


def test_any_error_becomes_one_line() -> None:
    for error in (
        ValueError("a\nb"),
        KeyError("x"),
        SystemExit(3),
        gym.error.Error("x"),
        MemoryError(),
        OSError(2, "no"),
    ):
        text = why_not_made("X-v0", {}, error)
        assert "\n" not in text
        assert text.startswith("cannot make X-v0")


def test_known_ids_are_found() -> None:
    assert registered("CartPole-v1").id == "CartPole-v1"
