"""The command line: what a user reads and what the shell gets, for good commands and bad ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Entries, failed, forget_variables, record_entries, run

import dppo.cli
from dppo.cli import main
from dppo.learner.config import LearnerConfig
from dppo.learner.transport.listener import Listening
from dppo.protocol.errors import DppoError, RefusedError
from dppo.settings.bench_arguments import BenchSolve, BenchThroughput
from dppo.settings.commands import LearnerProcessConfig, TrainConfig


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # without runs of whoever tests
    forget_variables(monkeypatch)


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Entries:
    return record_entries(monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("trian",), "unknown command trian (did you mean train?)"),
        (("bench", "slove"), "unknown command bench slove (did you mean bench solve?)"),
        (("train", "--ppo.gama", "0.9"), "unknown flag --ppo.gama (did you mean --ppo.gamma?)"),
        (("train", "--run.totl-steps", "9"), "unknown flag --run.totl-steps (did you mean --run.total-steps?)"),
        (("train", "--print-cofig"), "unknown flag --print-cofig (did you mean --print-config?)"),
        (("train", "--ppo.gamma", "x"), "--ppo.gamma: 'x' is not a number"),
        (("train", "--ppo.gamma", "2"), "ppo.gamma=2.0 is outside 0..1"),
        (("train", "--ppo.gamma"), "--ppo.gamma needs a value"),
        (("train", "--ppo.gamma", "--seed", "1"), "--ppo.gamma needs a value"),
        (("train", "--ppo.epochs", "1.5"), "--ppo.epochs: '1.5' is not a whole number"),
        (("train", "--actors", "-1"), "actors=-1 must be at least 0"),
        (("train", "--env.kwargs", "{"), "--env.kwargs: '{' is not a mapping"),
        (("train", "--collect.on-stop", "kepe"), "'kepe' is not one of keep, drop (did you mean keep?)"),
        (("actor", "CartPole-v1"), "unexpected argument CartPole-v1"),
        (("train", "--preset", "nope"), "unknown preset nope: choose one of"),
        (("train", "--config", "/nowhere.yaml"), "cannot read /nowhere.yaml"),
        (("train", "--collect.batch-steps", "64"), "ppo.minibatch_steps=256 exceeds collect.batch_steps=64"),
        (("learner", "--bind", "5555"), "bind='5555' is no endpoint"),
        (("actor",), "an actor needs the line that the learner printed: give --join LINE"),
        (("actor", "--learner", "tcp://h:1"), "an actor needs the line that the learner printed"),
        (("actor", "--learner", "tcp://h:1", "--insecure"), "insecure is for a learner on this machine"),
        (("actor", "--join", "dppo1.AAAA@h:1"), "the join line has a typing error"),
        (("actor", "--join", "x", "--join-file", "y"), "join and join_file are both given"),
        (
            ("learner", "--preset", "none", "--bind", "tcp://0.0.0.0:5555", "--insecure"),
            "would let every client join and listen",
        ),
        (("resume", "runs/x"), "unknown command resume (here it is the same dppo train command as before"),
        (("test", "runs/x"), "unknown command test (here it is dppo evaluate RUN)"),
        (("render",), "unknown command render (here it is dppo evaluate RUN --video FILE.mp4)"),
        (("client",), "unknown command client (here it is dppo actor)"),
        (("token", "lst"), "unknown command token lst (did you mean token list?)"),
        (("token", "list"), "run is missing: see dppo token list --help"),
        (("token", "add", "/nowhere"), "name is missing: see dppo token add --help"),
        (("token", "add", "run", "name", "more"), "unexpected argument more: name is already name"),
        (("actor", "--learner", "host:1"), "learner='host:1' is no endpoint"),
        (("actor", "--learner", "tcp://h:1", "--preset", "none"), "unknown flag --preset"),
        (("evaluate",), "run is missing: see dppo evaluate --help"),
        (("evaluate", "a", "b"), "unexpected argument b"),
        (("evaluate", "a", "--episodes", "0"), "episodes=0 must be at least 1"),
        (("evaluate", "a", "--video", "x.avi"), "video=x.avi has no known format"),
        (("evaluate", "a", "--video", "x.gif", "--render", "human"), "choose --video or --render human"),
        (("evaluate", "a", "--video", "x.gif", "--video-episodes", "30"), "video_episodes=30 exceeds episodes=20"),
        (("evaluate", "a", "--render", "humn"), "'humn' is not one of none, human (did you mean human?)"),
        (("plot",), "runs is missing"),
        (("bench", "solve"), "env is missing"),
        (("bench", "solve", "X-v0", "--", "--ppo.gama", "1"), "unknown flag --ppo.gama"),
    ],
)
def test_a_wrong_command_is_answered_with_one_line(
    capsys: pytest.CaptureFixture[str], entries: Entries, arguments: tuple[str, ...], complaint: str
) -> None:
    assert complaint in failed(capsys, *arguments)
    assert entries[0] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("evaluate", "/nowhere"), "there is no run /nowhere"),
        (("plot", "/nowhere"), "cannot read /nowhere/metrics.jsonl"),
    ],
)
def test_a_run_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    assert complaint in failed(capsys, *arguments)


def test_train_gets_the_resolved_settings_and_says_which_preset_it_took(
    capsys: pytest.CaptureFixture[str], entries: Entries
) -> None:
    calls, _ = entries
    assert run("train", "--env", "Pendulum-v1", "--ppo.learning-rate", "3e-4", "--actors", "0") == 0
    ((module, function, (resolved,), _),) = calls
    assert (module, function) == ("dppo.local.train_command", "train")
    config = resolved.config
    assert isinstance(config, TrainConfig)
    assert (config.learner.env.id, config.learner.ppo.learning_rate, config.actors) == ("Pendulum-v1", 3e-4, 0)
    assert config.learner.run.target_return == -200
    assert resolved.first_line.startswith("preset Pendulum-v1, found by")


def test_learner_gets_its_address_and_its_settings(entries: Entries) -> None:
    calls, _ = entries
    assert run("learner", "--bind", "ipc:///tmp/somewhere", "--preset", "none") == 0
    ((module, function, (resolved, listening), _),) = calls
    assert (module, function) == ("dppo.local.learner_command", "run")
    assert resolved.config == LearnerProcessConfig(LearnerConfig(), "ipc:///tmp/somewhere")
    assert listening == Listening("ipc:///tmp/somewhere")


def test_a_learner_of_a_local_run_takes_its_file_and_no_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: Entries
) -> None:
    calls, _ = entries
    (tmp_path / "c.yaml").write_text("env: {id: Pendulum-v1}\nbind: ipc://x\nactors: 3\n")
    monkeypatch.setenv("DPPO_CONFIG", str(tmp_path / "c.yaml"))
    monkeypatch.setenv("DPPO_PPO__GAMMA", "0.5")
    assert run("learner") == 0
    config = calls[0][2][0].config
    assert (config.learner.env.id, config.learner.ppo.gamma, config.bind) == ("Pendulum-v1", 0.99, "ipc://x")


def test_bench_gets_its_arguments_and_passes_on_what_follows(entries: Entries) -> None:
    calls, results = entries
    results["dppo.bench.runs"] = 1
    assert run("bench", "solve", "CartPole-v1", "--seeds", "2", "--", "--ppo.epochs", "4") == 1
    assert run("bench", "throughput", "--env", "CartPole-v1", "--seconds", "3") == 1
    assert [(function, args[0]) for _, function, args, _ in calls] == [
        ("solve", BenchSolve("CartPole-v1", seeds=2, overrides=("--ppo.epochs", "4"))),
        ("throughput", BenchThroughput("CartPole-v1", seconds=3.0)),
    ]


@pytest.mark.parametrize(
    ("error", "code"), [(DppoError("it\nbroke"), 1), (RefusedError("no"), 3), (KeyboardInterrupt(), 130)]
)
def test_exit_codes_of_failures(
    capsys: pytest.CaptureFixture[str], entries: Entries, error: BaseException, code: int
) -> None:
    entries[1]["dppo.local.train_command"] = error
    assert run("train", "--preset", "none") == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert err.count("\n") == (0 if code == 130 else 1)


def test_a_missing_extra_says_what_to_install(capsys: pytest.CaptureFixture[str], entries: Entries) -> None:
    entries[1]["dppo.local.train_command"] = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert "pip install 'dppo[learner]'" in failed(capsys, "train", "--preset", "none")


def test_a_bug_keeps_its_traceback(entries: Entries) -> None:
    entries[1]["dppo.local.train_command"] = ModuleNotFoundError("No module named 'scripts.x'", name="scripts.x")
    with pytest.raises(ModuleNotFoundError):
        main(["train", "--preset", "none"])


def test_print_config_says_who_set_each_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: Entries
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("ppo: {epochs: 3}\n")
    monkeypatch.setenv("DPPO_PPO__GAMMA", "0.5")
    arguments = ("train", "--config", str(file), "--env", "CartPole-v1", "--run.seed", "9", "--print-config")
    assert run(*arguments) == 0
    lines = {line.split("  #")[0].strip(): line.rpartition("# ")[2] for line in capsys.readouterr().out.splitlines()}
    assert lines["seed: 9"] == "flag"
    assert lines["gamma: 0.5"] == "environment"
    assert lines["epochs: 3"] == f"file {file}"
    assert lines["target_return: 475.0"] == "preset CartPole-v1"
    assert lines["device: cpu"] == "default"
    assert entries[0] == []


def test_what_print_config_prints_is_a_file_that_gives_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("train", "--env", "Pendulum-v1", "--print-config") == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(printed)
    assert run("train", "--config", str(tmp_path / "printed.yaml"), "--preset", "none", "--print-config") == 0
    again = capsys.readouterr().out

    def without_comments(text: str) -> list[str]:
        return [line.split("  #")[0].rstrip() for line in text.splitlines()]

    assert without_comments(again) == without_comments(printed)


@pytest.mark.parametrize("package", ["learner", "actor"])
def test_the_packages_are_commands_too(package: str) -> None:
    root = Path(dppo.cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", package, "--nonsense"], capture_output=True, text=True, cwd=root, check=False
    )
    assert (done.returncode, done.stderr) == (2, "dppo: error: unknown flag --nonsense\n")


def test_evaluate_prints_one_object(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from dppo.watch.evaluate import EvaluationResult

    result = EvaluationResult("E-v0", 3, 1, True, 1.0, 0.0, 1.0, 1.0, (1.0,), (5,))
    monkeypatch.setattr("dppo.watch.evaluate.evaluate", lambda run, **_: result)
    assert run("evaluate", "somewhere", "--json") == 0
    assert json.loads(capsys.readouterr().out)["lengths"] == [5]
    assert run("evaluate", "somewhere") == 0
    assert "return 1.0 +- 0.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("train", "CartPole-v1"), True),
        (("tune", "CartPole-v1"), True),
        (("plot", "runs/x"), False),
        (("learner", "--help"), False),
        (("train", "CartPole-v1", "--print-config"), False),
    ],
)
def test_a_run_whose_output_nobody_reads_ends_with_a_word(
    command: tuple[str, ...], says: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `dppo train | head`; of a plot that would be noise."""

    def gone(arguments: list[str]) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(dppo.cli, "_dispatch", gone)
    monkeypatch.setattr(os, "dup2", lambda *_: 0)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 1
    assert capsys.readouterr().err == (f"dppo: error: {dppo.cli.OUTPUT_GONE}\n" if says else "")
