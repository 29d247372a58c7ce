"""`dppo train --seeds`: what the text means, where the runs lie, the table, and what is done when one fails."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import SMALL, Place
from snapshots import snapshot

from dppo.local import seeds as seeds_module
from dppo.local.launching import with_run
from dppo.local.seeds import Row, folder_of, parse_seeds, table, train_seeds
from dppo.protocol.errors import DppoError, UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", [1, 2, 3, 4, 5]),
        ("1", [1]),
        ("1..5", [1, 2, 3, 4, 5]),
        ("3..3", [3]),
        ("1,3,7", [1, 3, 7]),
        ("7,3", [7, 3]),
        ("0,1", [0, 1]),
        ("1..3,7, 9 .. 10", [1, 2, 3, 7, 9, 10]),
    ],
)
def test_seeds_are_written_in_three_ways(text: str, expected: list[int]) -> None:
    assert parse_seeds(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0", "no run at all"),
        ("5..1", "runs backwards: write 1..5"),
        ("1,2,1", "seed 1 is there twice"),
        ("1..3,2", "seed 2 is there twice"),
        ("", "not understood"),
        ("-3", "not understood"),
        ("1.5", "not understood"),
        ("1e3", "not understood"),
        ("1,,2", "not understood"),
        ("all", "not understood"),
        ("1...3", "not understood"),
        ("1001", "at most 1000"),
        ("0..1000", "at most 1000"),
        ("1..1000,1001..2000", "at most 1000"),
    ],
)
def test_bad_seeds_are_one_line(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        parse_seeds(text)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="0123456789., -x", max_size=12))
def test_any_text_is_seeds_or_a_usage_error(text: str) -> None:
    try:
        seeds = parse_seeds(text)
    except UsageError:
        return
    assert 1 <= len(seeds) == len(set(seeds)) <= 1000
    assert all(seed >= 0 for seed in seeds)


def test_the_folder_collides_with_no_single_run() -> None:
    assert folder_of(TrainConfig()) == Path("runs/CartPole-v1-seeds")
    assert folder_of(with_run(TrainConfig(), directory="x/y")) == Path("x/y")


def test_the_median_of_solving_is_only_of_seeds_that_all_solved() -> None:
    rows = [
        Row("1", 100, 1.0, 90, 5.0, 6.0),
        Row("2", 300, 3.0, 290, 7.0, 8.0),
        Row("3", 200, None, None, 6.0, None, note="failed: it was killed"),
    ]
    assert table(rows[:2]).splitlines()[-1].split() == ["median", "200", "2.0", "s", "190", "6.0", "7.0"]
    *_, third, median = table(rows).splitlines()
    assert median.split() == ["median", "200", "-", "-", "6.0", "7.0"]
    assert third.endswith("failed: it was killed")


class Commands:
    """What trains a seed, in these tests."""

    def __init__(self, codes: dict[int, int], interrupted_at: int = -1) -> None:
        self.codes, self.interrupted_at = codes, interrupted_at
        self.interrupted = False
        self.trained: list[int] = []

    def __enter__(self) -> "Commands":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def train(self, config: TrainConfig) -> int:
        seed = config.learner.run.seed
        self.trained.append(seed)
        code = self.codes.get(seed, 0)
        if not code:
            finish(config)
        self.interrupted = seed == self.interrupted_at
        return 130 if self.interrupted else code


def finish(config: TrainConfig) -> None:
    directory = config.learner.run_directory
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(dump_yaml(config))
    (directory / "summary.json").write_text(json.dumps({"steps": 7, "mean_return": 1.0}))
    row = {"update": 1, "steps": 7, "elapsed_seconds": 1.0, "mean_return": 1.0}
    (directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    commands = Commands({})
    monkeypatch.setattr(seeds_module, "_Children", lambda switches: commands)
    monkeypatch.chdir(tmp_path)
    return commands


def test_every_seed_has_a_directory_of_its_own(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_seeds(TrainConfig(), [1, 3], new=False) == 0
    assert sorted(path.name for path in Path("runs/CartPole-v1-seeds").iterdir()) == ["curve.png", "seed-1", "seed-3"]
    assert "median" in capsys.readouterr().out
    assert train_seeds(TrainConfig(), [1], new=True) == 0
    assert Path("runs/CartPole-v1-seeds-2/seed-1").is_dir()


def test_one_that_fails_does_not_keep_the_others_and_is_named(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.codes = {2: 1, 3: -9}
    with pytest.raises(DppoError, match="seed 2, 3 failed") as caught:
        train_seeds(TrainConfig(), [1, 2, 3, 4], new=False)
    assert caught.value.exit_code == 1
    assert commands.trained == [1, 2, 3, 4]
    said = capsys.readouterr().out
    assert "failed: it ended with code 1" in said
    assert "failed: it was killed by SIGKILL" in said


def test_what_no_seed_can_do_is_tried_once(commands: Commands) -> None:
    commands.codes = {1: 2}
    assert train_seeds(TrainConfig(), [1, 2], new=False) == 2
    assert commands.trained == [1]


def test_ctrl_c_ends_all(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    commands.interrupted_at = 2
    assert train_seeds(TrainConfig(), [1, 2, 3], new=False) == 130
    assert commands.trained == [1, 2]
    said = capsys.readouterr().out
    assert "interrupted" in said
    assert "not trained" in said


def test_seeds_of_other_settings_are_refused_before_one_is_trained(commands: Commands) -> None:
    finish(with_run(TrainConfig(), seed=3, directory="runs/CartPole-v1-seeds/seed-3"))
    finish(with_run(TrainConfig(), seed=2, directory="runs/CartPole-v1-seeds/seed-2"))
    Path("runs/CartPole-v1-seeds/seed-3/config.yaml").write_text("ppo: {gamma: 0.5}\nrun: {seed: 3}\n")
    with pytest.raises(UsageError, match=r"seed-3 holds a run with other settings \(ppo.gamma: 0.5 -> 0.99\)"):
        train_seeds(TrainConfig(), [1, 2, 3], new=False)
    assert commands.trained == []


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


ARGUMENTS = ("--run.total-steps", "600", "--actors", "1", "--evaluation-episodes", "2", "--run.directory", "many")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_seeds_are_trained_shown_and_not_trained_again(place: Place) -> None:
    command = place.start("train", "CartPole-v1", *SMALL, *ARGUMENTS, "--seeds", "2")
    place.ends(command, code=0)
    place.leaves_nothing()
    lines = command.said().splitlines()
    rows = [line.split() for line in lines if line.split() and line.split()[0] in ("1", "2", "median")]
    assert [row[0] for row in rows[-3:]] == ["1", "2", "median"]
    runs = [json.loads((place.path / f"many/seed-{seed}/summary.json").read_bytes()) for seed in (1, 2)]
    assert [run["seed"] for run in runs] == [1, 2]
    assert all(run["elapsed_seconds"] < 60 for run in runs)
    assert (place.path / "many/curve.png").is_file()

    before = snapshot(place.path / "many/seed-1")
    again = place.start("train", "CartPole-v1", *SMALL, *ARGUMENTS, "--seeds", "1..2")
    place.ends(again, code=0)
    assert "seed 1 (1 of 2): finished already" in again.said()
    assert snapshot(place.path / "many/seed-1") == before


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_command_ends_its_run(place: Place, number: int) -> None:
    command = place.start("train", *SMALL, *place.gated, "--actors", "1", "--seeds", "2", "--run.directory", "many")
    run = place.path / "many/seed-1/metrics.jsonl"
    place.until(run.exists, "the first update", during=command)
    command.signal(number)
    place.ends(command, code=130 if number != signal.SIGKILL else -9)
    place.leaves_nothing()
    assert not (place.path / "many/seed-2").exists()
