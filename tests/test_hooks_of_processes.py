"""Hooks of a run whose learner is a process of its own."""

import pytest
from processes import SMALL, Place, RunFiles, assert_closes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_learner_process_calls_hooks_and_fails_by_their_errors_with_exit_code_1() -> None:
    with Place() as place:
        settings = (
            *SMALL,
            "--env",
            "CartPole-v1",
            "--run.directory",
            "run",
            "--actors",
            "1",
            "--run.total-steps",
            "2048",
        )
        (place.path / "mine.py").write_text(
            "class Stop:\n    def on_update(self, status):\n        return 'stop' if status.updates == 2 else None\n"
            "class Ends:\n    def on_update(self, status):\n        __import__('os')._exit(0)\n"
            "class Bug:\n    def on_update(self, status):\n        1 / 0\n"
        )
        wrong = place.start("train", *settings, "--run.hooks", "mine:Stopp")
        place.ends(wrong, code=2)
        assert "run.hooks=mine:Stopp: 'mine' has no 'Stopp': did you mean Stop?" in wrong.complained()
        assert not (place.path / "run").exists()
        ended = place.start("train", *settings, "--run.hooks", "mine:Ends")
        place.ends(ended, code=1)
        assert "the learner was ended in the middle of the run, by code of yours" in ended.complained()
        files = RunFiles(place.path / "run")
        stopped = place.start("train", *settings, "--run.hooks", "mine:Stop")
        place.ends(stopped, code=0)
        assert files.summary()["reason"] == "stopped by the hook mine:Stop after update 2"
        failed = place.start("train", *settings, "--run.hooks", "mine:Bug")
        place.ends(failed, code=1)
        assert "ZeroDivisionError" in failed.said()
        assert "the hook on_update of mine:Bug raised ZeroDivisionError: division by zero" in failed.complained()
        assert "1 / 0" in (files.path / "logs" / "learner.log").read_text()
        assert files.summary()["updates"] == 3
        assert_closes(files.ledger())
        place.leaves_nothing()
