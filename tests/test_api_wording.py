"""Errors of the Python API name settings as its callers write them."""

from pathlib import Path

import pytest

import dppo
from dppo.api.wording import in_python_words
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.flags import flag_of


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("raise --ppo.learning-rate", "raise ppo.learning_rate"),
        ("raise --run.total-steps 4100, or", "raise total_steps=4100, or"),
        ("choose --run.directory NEW or --run.new.", "choose directory='NEW' or new=True."),
        ("limit them: --env.kwargs '{max_episode_steps: 1000}'", "limit them: env.kwargs={max_episode_steps: 1000}"),
        ("its own: --config x/config.yaml --run.directory x", "its own: config='x/config.yaml' directory='x'"),
        ("use --run.directory for a folder", "use directory for a folder"),
        ("or another --run.directory, or", "or another directory, or"),
        ("with --init-from x --run.new", "with init_from='x' new=True"),
        ("--seed 0 for that one", "seed=0 for that one"),
        ("--run.directory NEW, or all seeds with --run.new --seeds 1,2; or go on", "directory='NEW'; or go on"),
        ("dppo train --help lists them", "dppo train --help lists them"),  # is no setting
        ("a--seed", "a--seed"),
    ],
)
def test_settings_are_named_as_keywords(said: str, meant: str) -> None:
    assert in_python_words(said) == meant


@pytest.mark.parametrize("path", list(settings_of(TrainConfig)))
def test_no_flag_of_a_setting_stays(path: str) -> None:
    text = in_python_words(f"lower {flag_of(path)}, or leave it out")
    assert "--" not in text
    assert path.rpartition(".")[2] in text


def test_what_a_call_raises_names_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("of somebody")
    with pytest.raises(dppo.UsageError, match=r"choose another run\.directory\.") as raised:
        dppo.train(env="CartPole-v1", actors=0, directory="mine", total_steps=512)
    assert "--" not in str(raised.value)
    with pytest.raises(dppo.UsageError, match=r"video=episode\.txt"):
        dppo.evaluate("mine", video="episode.txt")
