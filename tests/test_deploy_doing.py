"""Words of `dppo ps` on what a run does, from the status that its learner writes."""

import time
from pathlib import Path

import pytest

from dppo.deploy.doing import NEWS_SECONDS, with_doing
from dppo.deploy.engine import Deployment, Process, Report
from dppo.watch.status_file import StatusFile, note_afterwards, read_status
from tests.test_watch import status_of

PROCESSES = (
    Process("actor-0", "running"),
    Process("learner-0", "running", note="job 7"),
    Process("learner-1", "running"),
)


def notes(run: Path, submitted: float = 0.0, processes: tuple[Process, ...] = PROCESSES) -> list[str]:
    deployment = Deployment("local", "x", str(run), 1, 1, submitted)
    return [process.note for process in with_doing(deployment, Report(processes)).processes]


@pytest.mark.parametrize(
    ("phase", "waiting_for", "said"),
    [
        ("COLLECTING", "", "job 7; collects, 4,096 of 50,000 steps"),
        ("UPDATING", "", "job 7; trains on a batch, 4,096 of 50,000 steps"),
        ("STOPPING", "a to stop", "job 7; stops the actors for an update, 4,096 of 50,000 steps, waits for a to stop"),
        ("WAITING", "the first actor to join", "job 7; waits for the first actor to join, 4,096 of 50,000 steps"),
        ("STOPPED", "", "job 7; training has ended at 4,096 of 50,000 steps; it is about to end, or to go on"),
    ],
)
def test_the_first_learner_has_what_the_run_does(tmp_path: Path, phase: str, waiting_for: str, said: str) -> None:
    status = status_of(tmp_path, phase=phase, waiting_for=waiting_for, steps=4096, total_steps=50_000)
    StatusFile().look(status)
    assert notes(tmp_path) == ["", said, ""]


def test_what_goes_on_after_training_is_told_until_it_is_over(tmp_path: Path) -> None:
    note_afterwards(tmp_path, "it evaluates")  # of a run without a status: is no error
    assert read_status(tmp_path) is None
    StatusFile().look(status_of(tmp_path, phase="STOPPED", steps=4096, total_steps=50_000))
    note_afterwards(tmp_path, "it evaluates 20 episodes")
    assert notes(tmp_path)[1] == "job 7; training has ended at 4,096 of 50,000 steps; it evaluates 20 episodes"
    note_afterwards(tmp_path, "")
    assert "about to end" in notes(tmp_path)[1]


def test_old_news_is_named_as_such_and_that_of_an_earlier_start_is_left_out(tmp_path: Path) -> None:
    then = time.time() - NEWS_SECONDS - 10
    StatusFile(time_of_day=lambda: then).look(status_of(tmp_path, steps=4096, total_steps=50_000))
    assert notes(tmp_path)[1].startswith("job 7; no news for 25 s; 4,096 of 50,000 steps then")
    assert notes(tmp_path, submitted=then + 1)[1] == "job 7"
    ended = (Process("learner-0", "ended"),)
    assert notes(tmp_path, processes=ended) == [""]
