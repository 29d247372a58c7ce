"""Every setting with values that it cannot take, in every layer: one line that names it, exit code 2, no file."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from command_line import let_nothing_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dppo.actor.config import ActorConfig
from dppo.cli import main
from dppo.protocol.errors import UsageError
from dppo.settings.bench_arguments import BenchChaos, BenchPreset, BenchSlow, BenchSolve, BenchThroughput
from dppo.settings.commands import EvaluateArguments, LearnerProcessConfig, PlotArguments, TrainConfig
from dppo.settings.fields import Setting, _optional, settings_of
from dppo.settings.layers import resolve, variable_of

LAYERED = {"train": TrainConfig, "learner": LearnerProcessConfig, "actor": ActorConfig}
PLAIN: dict[tuple[str, ...], type[Any]] = {
    ("evaluate", "a"): EvaluateArguments,
    ("plot", "a"): PlotArguments,
    ("bench", "solve", "CartPole-v1"): BenchSolve,
    ("bench", "preset", "CartPole-v1"): BenchPreset,
    ("bench", "throughput", "CartPole-v1"): BenchThroughput,
    ("bench", "slow", "CartPole-v1"): BenchSlow,
    ("bench", "chaos"): BenchChaos,
}
MAY_BE_NEGATIVE = {
    "ppo.reward_offset",
    "ppo.terminal_reward",
    "network.initial_log_std",
    "run.target_return",
    *("from_seconds", "to_seconds"),  # from the end on
}
MAY_BE_EMPTY = {  # text whose default is empty
    *("run.directory", "run.init_from", "run.hooks", "advertise", "write_join_file", "join", "join_file", "learner"),
    *("name", "trace", "key_file", "run.metrics_address"),
    *("video", "output", "only", "network.head", "network.policy"),
}
NUMBERS = ("x", "", "nan", "inf", "-inf", "1e400", "0x10", "1,5", "one")


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No command gets beyond its settings; no variable of whoever tests counts."""
    let_nothing_run(monkeypatch)
    monkeypatch.chdir(tmp_path)


def bad_values(setting: Setting) -> list[str]:
    """Texts that this setting must refuse."""
    kind = _optional(setting.type) or setting.type
    negative = [] if setting.path in MAY_BE_NEGATIVE else ["-1", "-1e9"]
    if kind is int:
        return [*NUMBERS, "1.5", "1e30", str(10**30), "1e-3", *negative]
    if kind is float:
        return [*NUMBERS, *negative]
    if kind is bool:
        return ["maybe", "2", ""]
    if kind is str:
        return ["a\tb", *([] if setting.path in MAY_BE_EMPTY else [""])]
    if get_origin(kind) is Literal:
        return ["nope", ""]
    if get_origin(kind) is tuple and get_args(kind)[0] is int:
        return ["x", "64,x", "-1", "0", "1.5", "nan", "1e30", "64,64,-2"]
    if get_origin(kind) is dict:
        return ["{", "[1]", "x", "1"]
    return []


def cases() -> list[tuple[tuple[str, ...], str, str]]:
    found = []
    everything = {**{(name,): config for name, config in LAYERED.items()}, **PLAIN}
    for command, config in everything.items():
        required = set(command[-1:]) if command in PLAIN else set()
        for path, setting in settings_of(config).items():
            if (setting.required and required) or (command == ("learner",) and path in settings_of(TrainConfig)):
                continue
            found += [(command, path, value) for value in bad_values(setting)]
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    err = capsys.readouterr().err
    assert caught.value.code == 2, f"{arguments} was taken"
    *presets, line = err.splitlines()
    assert not [text for text in presets if not text.startswith("preset ")], err
    assert line.startswith("dppo: error: ")
    return line


def test_every_setting_refuses_what_it_cannot_take(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    every = cases()
    taken = []
    for command, path, value in every:
        flag = f"--{path.replace('_', '-')}"
        try:
            line = refused(capsys, *command, f"{flag}={value}")
        except AssertionError as error:
            taken.append(str(error).splitlines()[0])
            continue
        if flag not in line and path not in line:
            taken.append(f"{flag}={value}: {line}")
    assert not taken, "\n".join(taken)
    assert len(every) > 700
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fast(2)
@pytest.mark.parametrize("path", sorted(settings_of(TrainConfig)))
def test_files_and_variables_refuse_it_too_and_say_where_it_stood(path: str, tmp_path: Path) -> None:
    setting = settings_of(TrainConfig)[path]
    section, _, name = path.rpartition(".")
    for value in bad_values(setting):
        variable = variable_of(path)
        if value:  # an empty variable counts as not set
            with pytest.raises(UsageError) as caught:
                resolve(TrainConfig, flags={}, environ={variable: value})
            assert variable in str(caught.value) or path in str(caught.value)
        if _optional(setting.type) is None and setting.type in (int, float):
            file = tmp_path / "c.yaml"
            file.write_text(f"{section}:\n  {name}: '{value}'\n" if section else f"{name}: '{value}'\n")
            with pytest.raises(UsageError) as caught:
                resolve(TrainConfig, flags={}, file=str(file), environ={})
            assert path in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(path=st.sampled_from(sorted(settings_of(TrainConfig))), text=st.text(max_size=40))
def test_any_text_is_taken_or_refused_in_one_line_that_names_the_setting(path: str, text: str) -> None:
    line = path
    try:
        resolve(TrainConfig, flags={}, environ={variable_of(path): text}, preset="none")
    except UsageError as error:
        line = str(error)
    assert path in line or variable_of(path) in line
    assert "\n" not in " ".join(line.split())


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(sorted(settings_of(TrainConfig))),
)
def test_any_value_in_a_file_is_taken_or_refused_by_name(value: object, path: str) -> None:
    from dppo.settings.fields import convert

    line = path
    try:
        convert(settings_of(TrainConfig)[path], value, where=path, text=False)
    except UsageError as error:
        line = str(error)
    assert line.startswith(path)
