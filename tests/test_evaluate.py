"""Evaluation: fixed seeds, one episode each, the actors' own code, no torch."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pygame
import pytest
from graphs import categorical_graph, gaussian_graph
from pictures import BLIND, PIXEL, read_gif, read_mp4

from dppo.actor.sampling.noise import environment_seeds
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.cli import main
from dppo.protocol.errors import DppoError, UsageError
from dppo.watch.episode_results import Tally
from dppo.watch.evaluate import ViewOptions, evaluate, evaluation_seeds
from dppo.watch.rendering import Shown, WindowClosed

# pushes towards where the pole falls: pole angle and its velocity decide
BALANCING = np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]])


def run_directory(
    path: Path, graph: bytes, config: str = "env: {id: CartPole-v1, kwargs: {max_episode_steps: 60}}"
) -> str:
    path.mkdir(exist_ok=True)
    (path / "policy.onnx").write_bytes(graph)
    (path / "config.yaml").write_text(config)
    return str(path)


def test_every_seed_gets_exactly_one_episode_however_many_environments_there_are(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", categorical_graph(np.zeros((4, 2)), version=7))
    results = [evaluate(run, episodes=5, seed=3, envs=envs) for envs in (1, 2, 5, 8)]
    assert all(result == results[0] for result in results)
    assert (results[0].episodes, len(results[0].returns), results[0].policy_version) == (5, 5, 7)
    assert results[0].lengths == results[0].returns  # CartPole pays 1 a step


def test_a_native_vector_whose_columns_share_a_seed_is_evaluated_column_by_column(tmp_path: Path) -> None:
    run = run_directory(
        tmp_path / "run", categorical_graph(np.zeros((4, 2))), "env: {id: CartPole-v1, vectorization: native}"
    )
    results = [evaluate(run, episodes=4, seed=3, envs=envs) for envs in (1, 3, 4)]
    assert all(result.returns == results[0].returns for result in results)
    assert len(set(results[0].returns)) > 1


def test_environments_to_spare_in_the_last_round_are_not_waited_for(tmp_path: Path) -> None:
    run, tally = run_directory(tmp_path / "run", categorical_graph(np.zeros((4, 2)))), Tally()
    assert evaluate(run, episodes=5, envs=3, tally=tally).episodes == 5
    assert sorted(tally.played) == [0, 1, 2, 3, 4]  # of another one a command that waits for five would count the end


def test_a_sampled_evaluation_does_not_depend_on_the_number_of_environments_either(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", categorical_graph(np.zeros((4, 2))))
    one, three = (evaluate(run, episodes=4, deterministic=False, envs=envs) for envs in (1, 3))
    assert one.returns == three.returns
    assert one.returns != evaluate(run, episodes=4, deterministic=True).returns


def test_the_result_sums_up_the_episodes(tmp_path: Path) -> None:
    result = evaluate(run_directory(tmp_path / "run", categorical_graph(BALANCING)), episodes=4)
    assert result.returns == (60.0,) * 4
    assert (result.mean, result.std, result.min, result.max) == (60.0, 0.0, 60.0, 60.0)
    assert "return 60.0 +- 0.0 (60.0 to 60.0), mean length 60 steps" in result.summary()


def test_the_seeds_are_fixed_and_not_those_of_training() -> None:
    assert evaluation_seeds(1, 0, 6) == evaluation_seeds(1, 0, 2) + evaluation_seeds(1, 2, 4)
    training = {s for life in range(3) for s in environment_seeds(1, first_slot=0, envs=50, life=life)}
    assert not training & set(evaluation_seeds(1, 0, 50))
    assert evaluation_seeds(1, 0, 3) != evaluation_seeds(2, 0, 3)


def test_continuous_actions_and_the_policy_file_itself(tmp_path: Path) -> None:
    graph = gaussian_graph(np.zeros((3, 1)), np.zeros(1))
    run = run_directory(tmp_path / "run", graph, "env: {id: Pendulum-v1}\nactors: 2\nppo: {gamma: 0.9}")
    result = evaluate(f"{run}/policy.onnx", episodes=2)
    assert result.lengths == (200, 200)
    assert result.max < 0


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [("policy.onnx", "has no policy.onnx: train first"), ("config.yaml", "has no config.yaml")],
)
def test_an_unfinished_run_is_said(tmp_path: Path, missing: str, complaint: str) -> None:
    run = run_directory(tmp_path / "run", categorical_graph(BALANCING))
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(UsageError, match=complaint):
        evaluate(run)


def test_no_torch(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", categorical_graph(BALANCING))
    code = f"""
import sys
from dppo.cli import main
try: main(["evaluate", {run!r}, "--episodes", "1"])
except SystemExit as exit_: assert exit_.code == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


UNIFORM = categorical_graph(np.zeros((4, 2)))


def test_a_video_shows_the_first_episodes_from_their_first_to_their_last_frame(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", UNIFORM, f"env: {{id: '{PIXEL}'}}")
    result = evaluate(run, episodes=5, watching=ViewOptions(str(tmp_path / "a.gif"), 2))
    shades = [10 * round(picture.mean() / 10) for picture in read_gif(tmp_path / "a.gif")[0]]
    # made and tried out: episode 0; filmed: 1; reset at its end: 2; filmed: 3
    assert shades == [50 * step + 10 * episode for episode in (1, 3) for step in range(4)]
    assert (result.video, result.success_rate, result.successes) == (str(tmp_path / "a.gif"), 1.0, (True,) * 5)
    assert "success 100%" in result.summary()


@pytest.mark.slow
def test_the_result_is_the_same_with_a_video_and_without(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", UNIFORM)
    plain = evaluate(run, episodes=4, deterministic=False, envs=3)
    filmed = evaluate(run, episodes=4, deterministic=False, envs=3, watching=ViewOptions(str(tmp_path / "a.mp4"), 2))
    assert (filmed.returns, filmed.lengths) == (plain.returns, plain.lengths)
    frames, frames_per_second = read_mp4(tmp_path / "a.mp4")
    assert frames_per_second == 50.0  # the environment's own
    assert len(frames) == sum(plain.lengths[:2]) + 2  # and the first observation of each


def test_a_window_shows_every_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = run_directory(tmp_path / "run", UNIFORM, "env: {id: CartPole-v1, kwargs: {max_episode_steps: 5}}")
    shown = evaluate(run, episodes=2, watching=ViewOptions(window=True))
    assert shown.returns == evaluate(run, episodes=2).returns


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody sees."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def close_before_action(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The window gets what the button that closes it sends."""
    act, actions = PolicyRunner.act, itertools.count(1)

    def closing(runner: PolicyRunner, *arguments: Any) -> Any:
        if next(actions) == number:
            pygame.event.post(pygame.event.Event(pygame.QUIT))
        return act(runner, *arguments)

    monkeypatch.setattr(PolicyRunner, "act", closing)


FIVE_STEPS = {
    "CartPole-v1": UNIFORM,  # never looks whether its window was closed
    "RobotArm-v0": gaussian_graph(np.zeros((8, 2)), np.zeros(2), bound=1.0),  # looks, and ends the program
}


def test_an_environment_that_fails_is_one_line(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", UNIFORM, "env: {id: 'simulators:Breaking-v0', kwargs: {steps: 3}}")
    with pytest.raises(DppoError, match=r"RuntimeError: the simulator lost its licence .*; so its episode cannot be"):
        evaluate(run, episodes=2)


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("env", FIVE_STEPS)
def test_closing_the_window_ends_the_evaluation_with_the_episodes_that_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], env: str
) -> None:
    config = f"env: {{id: {env}, kwargs: {{max_episode_steps: 5}}}}"
    run = run_directory(tmp_path / "run", FIVE_STEPS[env], config)
    whole = evaluate(run, episodes=2)
    close_before_action(monkeypatch, 13)  # in the middle of the third episode
    with pytest.raises(SystemExit) as end:
        main(["evaluate", run, "--render", "human", "--episodes", "4"])
    said = capsys.readouterr()
    assert end.value.code == 0
    assert said.out == f"{whole.summary()}\n"
    assert said.err == "the window was closed after 2 of 4 episodes\n"


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize("env", FIVE_STEPS)
def test_closing_the_window_in_the_first_episode_is_one_line_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], env: str
) -> None:
    run = run_directory(tmp_path / "run", FIVE_STEPS[env], f"env: {{id: {env}}}")
    close_before_action(monkeypatch, 2)
    with pytest.raises(SystemExit) as end:
        main(["evaluate", run, "--render", "human", "--json"])
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (0, "")
    assert said.err == "the window was closed before an episode was over: there is no result\n"


class Leaving(gym.Env[np.ndarray, int]):
    """Ends the program when it is stepped."""

    def __init__(self, code: int | None) -> None:
        self._code = code

    def step(self, action: int) -> Any:
        sys.exit(self._code)


@pytest.mark.parametrize(("code", "raised"), [(0, WindowClosed), (None, WindowClosed), (3, SystemExit)])
def test_an_environment_that_ends_the_program_well_had_its_window_closed(
    code: int | None, raised: type[BaseException]
) -> None:
    with pytest.raises(raised):
        Shown(Leaving(code)).step(0)


@pytest.mark.usefixtures("window")
def test_an_episode_that_is_over_is_not_lost_to_a_window_closed_right_after_it() -> None:
    environment = Shown(gym.make("CartPole-v1", render_mode="human", max_episode_steps=1))
    first, _ = environment.reset(seed=1)
    *_, truncated, _ = environment.step(0)
    assert truncated
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    np.testing.assert_array_equal(environment.reset()[0], first)
    with pytest.raises(WindowClosed):
        environment.reset(seed=2)
    environment.close()


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        (f"id: '{BLIND}'", "Invisible-v0 cannot be watched: it has no render_mode rgb_array .it offers: none"),
        (f"id: '{PIXEL}', kwargs: {{picture: broken}}", "Pixel-v0 cannot be watched: no GL context"),
        (f"id: '{PIXEL}', kwargs: {{picture: none}}", "gave NoneType, not a picture"),
        (
            f"id: '{PIXEL}', kwargs: {{picture: grey}}",
            r"gave uint8 of shape \(8, 8\), not a picture of shape \(height,",
        ),
        (f"id: '{PIXEL}', kwargs: {{colour: 1}}", "unexpected keyword argument 'colour'"),
        ("id: Pixl-v0", "no environment 'Pixl-v0' is registered: did you mean Pixel-v0"),
    ],
)
def test_what_cannot_be_filmed_is_said_and_leaves_no_file(tmp_path: Path, env: str, complaint: str) -> None:
    run = run_directory(tmp_path / "run", UNIFORM, f"env: {{{env}}}")
    with pytest.raises(UsageError, match=complaint):
        evaluate(run, watching=ViewOptions(str(tmp_path / "a.gif")))
    assert not list(tmp_path.glob("*.gif"))


def test_a_video_that_cannot_be_written_is_said_before_anything_is_played(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", UNIFORM, "env: {id: Pendulum-v1}")  # whose actions this policy does not have
    with pytest.raises(UsageError, match=r"cannot write video .*missing/a.mp4: No such file"):
        evaluate(run, watching=ViewOptions(f"{tmp_path}/missing/a.mp4"))


def test_a_window_needs_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(variable, raising=False)
    run = run_directory(tmp_path / "run", UNIFORM)
    with pytest.raises(UsageError, match=r"there is no display here .* film it with --video"):
        evaluate(run, watching=ViewOptions(window=True))


def test_a_display_that_does_not_answer_is_no_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.setenv("DISPLAY", ":9876")
    run = run_directory(tmp_path / "run", UNIFORM)
    with pytest.raises(UsageError, match="the display :9876 does not answer"):
        evaluate(run, watching=ViewOptions(window=True))


def test_rendering_without_pygame_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    run = run_directory(tmp_path / "run", UNIFORM)
    with pytest.raises(UsageError, match=r"pygame is not installed: pip install 'dppo\[render\]'"):
        evaluate(run, watching=ViewOptions(str(tmp_path / "a.gif")))


def test_a_film_may_end_before_its_episode(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", UNIFORM, f"env: {{id: '{PIXEL}'}}")
    watching = ViewOptions(str(tmp_path / "a.gif"), most_frames=2)
    assert evaluate(run, episodes=1, watching=watching).lengths == (1,)
    assert len(read_gif(tmp_path / "a.gif")[0]) == 2
