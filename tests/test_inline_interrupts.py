"""Ctrl-C and KeyboardInterrupt in a run in one process, whatever its environment does with them."""

from pathlib import Path

import pytest

from dppo.cli import main
from dppo.local import inline

pytestmark = pytest.mark.slow


def ended(directory: Path, how: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(
            [
                *("train", "--preset", "none", "--env", "interrupting_env:Interrupting-v0", "--actors", "0"),
                *("--env.kwargs", f"{{how: {how}}}", "--run.directory", str(directory), "--run.total-steps", "1e7"),
                *("--collect.batch-steps", "64", "--collect.envs-per-actor", "1", "--ppo.minibatch-steps", "64"),
                *("--evaluation-episodes", "0", "--run.tensorboard", "false"),
            ]
        )
    return end.value.code


def test_an_interrupt_that_an_environment_raises_is_its_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert ended(tmp_path / "run", "raises") == 1
    said = capfd.readouterr().err
    assert "dppo: error: KeyboardInterrupt was raised and no Ctrl-C came, so by code of yours: KeyboardInt" in said
    assert "interrupting_env.py:" in said
    assert not (tmp_path / "run").exists()


def test_ctrl_c_ends_a_run_whose_environment_ignores_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(inline, "STATUS_SECONDS", 0.0)
    assert ended(tmp_path / "run", "ignores") == 130
    assert "ending after this step or update" in "".join(capfd.readouterr())
