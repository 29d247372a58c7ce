"""The end of a run whose directory could not be written to."""

from pathlib import Path

import pytest

from dppo.local.run_summary import close_run, closing_text
from dppo.local.run_summary_text import idle_text
from dppo.protocol.errors import DppoError


def test_a_run_without_a_summary_ends_in_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DppoError, match="Is the disk full") as missing:
        close_run(tmp_path, episodes=0)
    (tmp_path / "summary.json").write_bytes(b"")  # what a full disk leaves of a file
    with pytest.raises(DppoError, match="Is the disk full") as empty:
        close_run(tmp_path, episodes=0)
    for raised in (missing, empty):
        assert raised.value.exit_code == 1
        assert "\n" not in str(raised.value)


def test_crashed_environments_are_named_where_there_were_some() -> None:
    total = {"sealed": 8, "trained": 8, "pending": 0, "in_flight": 0, "dropped": {}}
    summary = {"env": "X-v0", "reason": "over", "updates": 1, "steps": 8, "episodes": 2, "elapsed_seconds": 1.0}
    assert "crashed" not in closing_text({**summary, "ledger": total, "env_restarts": 0})
    assert "; 17 environments crashed and were made again\n" in closing_text(
        {**summary, "ledger": total, "env_restarts": 17}
    )


def test_absurd_numbers_are_named_where_there_were_some() -> None:
    total = {"sealed": 8, "trained": 8, "pending": 0, "in_flight": 0, "dropped": {}}
    summary = {"env": "X-v0", "reason": "over", "updates": 1, "steps": 8, "episodes": 2, "elapsed_seconds": 1.0}
    assert "absurd" not in closing_text({**summary, "ledger": total, "outliers": 0, "steps_left_out": 0})
    text = closing_text({**summary, "ledger": total, "outliers": 1, "steps_left_out": 128})
    assert "1.0 s since launch; 1 absurd number bounded, 128 steps left out of training\n" in text


def test_an_idle_learner_is_worth_a_line_where_reuse_is_possible_and_not_on() -> None:
    idle = {"idle_share": 0.934, "batch_steps": 2048, "may_reuse": True, "updates": 30}
    line = "the learner was idle 93% of the time: with --ppo.reuse 4 --collect.batch-steps 512 "
    assert idle_text(idle).startswith(line)
    assert "--collect.batch-steps 512 --ppo.minibatch-steps 512 " in idle_text({**idle, "minibatch_steps": 1024})
    for other in ({"idle_share": 0.5}, {"may_reuse": False}, {"updates": 3}, {"idle_share": None}, {"batch_steps": 2}):
        assert idle_text({**idle, **other}) == "", other
    total = {"sealed": 8, "trained": 8, "pending": 0, "in_flight": 0, "dropped": {}}
    summary = {"env": "X-v0", "reason": "over", "steps": 8, "episodes": 2, "elapsed_seconds": 1.0, "ledger": total}
    assert f"\n{line}" in closing_text({**summary, **idle})
