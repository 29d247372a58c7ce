"""What is easily got wrong with the robot arm and with watching: one line that says what, why and what to do, and 2."""

from pathlib import Path

import numpy as np
import pytest
from graphs import gaussian_graph

from dppo.cli import main

TRAIN = ("train", "--preset", "none", "--actors", "0", "--env", "RobotArm-v0", "--run.directory", "run")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two run directories, one of them without a policy yet; no display."""
    monkeypatch.chdir(tmp_path)
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("trained", "begun"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("env: {id: RobotArm-v0}")
    (tmp_path / "trained" / "policy.onnx").write_bytes(gaussian_graph(np.zeros((8, 2)), np.zeros(2), bound=1.0))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((*TRAIN, "--env.kwargs", "{mode: foo}"), "RobotArm-v0 has no mode 'foo': choose easy or hard"),
        ((*TRAIN, "--env.kwargs", "{reward: foo}"), "RobotArm-v0 has no reward 'foo': choose hold or tutorial"),
        (
            ("evaluate", "trained", "--video", "missing/a.mp4"),
            "cannot write video missing/a.mp4: No such file or directory. "
            "Choose a name in a folder that exists and can be written to.",
        ),
        (("evaluate", "begun"), "begun has no policy.onnx: train first (dppo train), or wait for its first policy"),
        (
            ("evaluate", "trained", "--render", "human"),
            "--render human opens a window, and there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set): "
            "film it with --video FILE.mp4 and watch that elsewhere",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (2, "")
    shown = said.err.replace(f"{Path.cwd()}/", "")  # a command may have made a path absolute
    assert shown == f"dppo: error: {complaint}\n"
