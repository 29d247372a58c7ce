import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pygame
import pytest
from gymnasium.utils.env_checker import check_env

import dppo.actor.envs.registration  # noqa: F401  registers RobotArm-v0
from dppo.actor.envs.make import make_environments
from dppo.actor.envs.robot_arm.dynamics import EASY_GOAL, HOLD_STEPS
from dppo.actor.envs.robot_arm.env import RobotArmEnv
from dppo.actor.envs.robot_arm.rendering import AIMED, FINE, HELD, PAPER, SIDE, TOUCHED, Scene, frame
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvSettings

REPOSITORY = Path(__file__).parent.parent
STILL = np.zeros(2, np.float32)
NO_DISPLAY = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")


def scene(held_steps: int = 0, *, inside: bool = False, goal: tuple[float, float] = EASY_GOAL) -> Scene:
    return Scene(
        elbow=np.array([200.0, 100.0]),
        finger=np.array([300.0, 100.0]),
        goal=np.array(goal),
        inside=inside,
        held_steps=held_steps,
        step=7,
        trace=[np.array([310.0, 90.0])],
    )


def pixel(picture: np.ndarray, position: tuple[float, float]) -> tuple[int, ...]:
    """The colour at a position whose y axis points up."""
    return tuple(int(part) for part in picture[SIDE - 1 - int(position[1]), int(position[0])])


def shows(picture: np.ndarray, position: tuple[float, float], colour: tuple[int, int, int]) -> bool:
    """Scaling down costs a colour up to 2 of 255."""
    return np.allclose(pixel(picture, position), colour, atol=3)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[RobotArmEnv]:
    """An arm in a window that nobody sees."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = RobotArmEnv(render_mode="human")
    env.reset(seed=1)
    yield env
    env.close()


def test_a_picture_shows_goal_and_links_where_they_are() -> None:
    picture = frame(scene())
    assert picture.shape == (400, 400, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert shows(picture, EASY_GOAL, AIMED)
    assert shows(picture, (399, 399), PAPER)
    red, green, blue = pixel(picture, (200, 150))  # the middle of the first link
    assert red > green + 50 > blue
    assert shows(frame(scene(goal=(120, 330))), (120, 330), AIMED)


def test_a_picture_shows_whether_the_goal_is_touched_or_held() -> None:
    assert shows(frame(scene(5, inside=True)), EASY_GOAL, TOUCHED)
    assert shows(frame(scene(HOLD_STEPS, inside=True)), EASY_GOAL, HELD)
    below = (EASY_GOAL[0], EASY_GOAL[1] - 26)  # the arc closes from the top round to the top
    assert not shows(frame(scene(HOLD_STEPS // 3, inside=True)), below, HELD)
    assert shows(frame(scene(HOLD_STEPS * 2 // 3, inside=True)), below, HELD)


def test_edges_are_smooth() -> None:
    colours = np.unique(frame(scene())[80:320, 180:320].reshape(-1, 3), axis=0)
    assert FINE > 1
    assert len(colours) > 30


def test_a_picture_needs_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NO_DISPLAY:
        monkeypatch.delenv(name, raising=False)
    program = (
        "import gymnasium, sys;"
        "env = gymnasium.make('dppo.actor.envs.registration:RobotArm-v0', render_mode='rgb_array');"
        "env.reset(seed=1); print(env.render().shape); import pygame; print(pygame.display.get_init())"
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert printed.stderr == ""
    assert printed.stdout.split("\n")[:2] == ["(400, 400, 3)", "False"]


def test_pictures_follow_the_arm_and_change_no_episode() -> None:
    drawn, plain = RobotArmEnv(render_mode="rgb_array", mode="hard"), RobotArmEnv(mode="hard")
    for env in (drawn, plain):
        env.reset(seed=3)
    before = drawn.render()
    for _ in range(5):
        np.testing.assert_array_equal(drawn.step(np.ones(2))[0], plain.step(np.ones(2))[0])
        after = drawn.render()
    assert before is not None
    assert after is not None
    assert (before != after).any()


def test_gymnasiums_checker_likes_the_render_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    check_env(gym.make("RobotArm-v0", render_mode="rgb_array").unwrapped)


def test_the_goal_follows_the_mouse_until_it_leaves_the_window(played: RobotArmEnv) -> None:
    pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, pos=(120, 70), rel=(0, 0), buttons=(0, 0, 0)))
    observation = played.step(STILL)[0]
    np.testing.assert_allclose(observation[5:7], [(120 - 200) / 200, (330 - 200) / 200], rtol=1e-6)
    np.testing.assert_array_equal(played.reset()[0][5:7], observation[5:7])
    pygame.event.post(pygame.event.Event(pygame.WINDOWLEAVE))
    np.testing.assert_allclose(played.reset()[0][5:7], (np.array(EASY_GOAL) - 200) / 200, rtol=1e-6)


@pytest.mark.parametrize(
    ("key", "joint", "turn"),
    [(pygame.K_UP, 0, 0.1), (pygame.K_DOWN, 0, -0.1), (pygame.K_LEFT, 1, 0.1), (pygame.K_RIGHT, 1, -0.1)],
)
def test_an_arrow_key_turns_a_joint(played: RobotArmEnv, key: int, joint: int, turn: float) -> None:
    twin = RobotArmEnv()
    twin.reset(seed=1)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, mod=0, unicode=""))
    wanted = np.zeros(2)
    wanted[joint] = turn / 0.1
    np.testing.assert_allclose(played.step(STILL)[0], twin.step(wanted)[0], atol=1e-6)
    np.testing.assert_allclose(played.step(STILL)[0], twin.step(STILL)[0], atol=1e-6)  # and only once


def test_a_key_adds_to_the_action_up_to_the_bound(played: RobotArmEnv) -> None:
    twin = RobotArmEnv()
    twin.reset(seed=1)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_UP, mod=0, unicode=""))
    played.step(np.array([0.8, 0.3], np.float32))
    twin.step(np.array([1.0, 0.3], np.float32))
    np.testing.assert_allclose(played.step(STILL)[0], twin.step(STILL)[0], atol=1e-6)


def test_the_window_shows_what_a_picture_shows(played: RobotArmEnv) -> None:
    played.step(STILL)
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert shows(shown, EASY_GOAL, AIMED)
    assert played.render() is None


@pytest.mark.parametrize("then", [lambda env: env.step(STILL), lambda env: env.reset()])
def test_closing_the_window_ends_the_program_with_success(played: RobotArmEnv, then: Any) -> None:
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    with pytest.raises(SystemExit) as ended:
        then(played)
    assert ended.value.code == 0
    assert not pygame.display.get_init()
    played.close()  # as a `finally` would; no error


def test_without_a_display_a_window_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NO_DISPLAY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UsageError, match=r"neither DISPLAY nor WAYLAND_DISPLAY is set.*rgb_array"):
        make_environments(EnvSettings("RobotArm-v0", '{"render_mode": "human"}', "sync"), 1)
    monkeypatch.setenv("SDL_VIDEODRIVER", "no-such-driver")
    with pytest.raises(UsageError, match=r"cannot open a window: .*no-such-driver.*rgb_array"):
        RobotArmEnv(render_mode="human")


@pytest.mark.parametrize("mode", ["human", "rgb_array"])
def test_without_pygame_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(UsageError, match=r"pip install 'dppo\[render\]'"):
        RobotArmEnv(render_mode=mode)


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(UsageError, match="no render_mode 'ansi'"):
        RobotArmEnv(render_mode="ansi")
    with pytest.raises(UsageError, match="use vectorization 'sync'"):
        make_environments(EnvSettings("RobotArm-v0", '{"render_mode": "rgb_array"}'), 2)
    with pytest.raises(UsageError, match="made without a render_mode"):
        RobotArmEnv().render()
