"""Texts of settings as people write them: dates, numbers and paths that YAML, or no shell, has looked at."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_settings import yaml_file

from dppo.api.paths import path_text
from dppo.local.expected_spaces import differ_within_a_run
from dppo.local.preflight import env_settings
from dppo.local.run_comparison import same
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml, load_config_file, resolve
from dppo.settings.yaml_text import lines_of, one_line


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "ppo:\n  gamma: 2026-02-30",
            ":2 is not valid YAML: 2026-02-30 cannot be read (day is out of range for month)",
        ),
        ("ppo: {gamma: 0x_}", "0x_ cannot be read"),
        ("ppo: {gamma: !!int one}", "one cannot be read"),
        ("ppo: {gamma: !!timestamp now}", "now cannot be read"),
        ("env: {kwargs: " + 1100 * "[" + 1100 * "]" + "}", "nested too deeply"),
    ],
)
def test_what_yaml_cannot_read_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config_file(yaml_file(tmp_path, text))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mapping_that_yaml_cannot_read_says_why() -> None:
    with pytest.raises(UsageError, match=r"DPPO_ENV__KWARGS: .* is not a mapping .* \(2026-02-30 cannot be read"):
        resolve(TrainConfig, flags={}, environ={"DPPO_ENV__KWARGS": "{a: 2026-02-30}"})


def test_the_home_is_meant_where_no_shell_has_put_it_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    yaml_file(tmp_path, "run: {directory: ~/runs/a}\nenv: {kwargs: {path: ~/b}}\nppo: {gamma: 0.5}")
    (file,) = tmp_path.iterdir()
    resolved = resolve(TrainConfig, flags={}, file=f"~/{file.name}", environ={"DPPO_RUN__INIT_FROM": "~/x"})
    run = resolved.config.learner.run
    assert (run.directory, run.init_from) == (f"{tmp_path}/runs/a", f"{tmp_path}/x")
    assert resolved.config.learner.env.kwargs == {"path": "~/b"}  # the environment's own
    assert path_text("~/runs/a", "run") == f"{tmp_path}/runs/a"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert load_config_file(yaml_file(tmp_path, "\ufeffppo: {gamma: 0.5}")) == {"ppo.gamma": 0.5}


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_an_argument_that_is_no_finite_number_is_one_that_a_run_goes_on_with(tmp_path: Path, number: str) -> None:
    file = yaml_file(tmp_path, f"env: {{id: CartPole-v1, kwargs: {{limit: {number}}}}}")
    config = resolve(TrainConfig, flags={}, file=file, environ={}).config
    again = resolve(TrainConfig, flags={}, file=yaml_file(tmp_path, dump_yaml(config)), environ={}).config
    assert same(config.learner.env.kwargs, again.learner.env.kwargs)
    assert not differ_within_a_run(env_settings(config.learner))


@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.sampled_from(["", "no", "1e-4", "null", "3.5", "-", "2026-02-30"])
        | st.text("ab1.-+_/e", max_size=6)
        | st.lists(st.text(max_size=3))
    )
)
def test_many_values_are_written_as_each_by_itself(values: list[object]) -> None:
    assert lines_of(values) == [one_line(value) for value in values]
