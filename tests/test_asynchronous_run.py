"""A run of real processes whose actors go on while the learner trains."""

import pytest
from processes import Place, RunFiles, assert_closes, drops

TOTAL_STEPS = 40_000


@pytest.mark.slow
def test_actors_that_go_on_learn_and_every_step_is_accounted_for() -> None:
    with Place() as place:
        run = place.start(
            *("train", "CartPole-v1", "--actors", "2", "--collect.max-staleness", "1"),
            *("--run.directory", "run", "--run.total-steps", str(TOTAL_STEPS), "--run.no-stop-at-target"),
            *("--evaluation-episodes", "0", "--run.no-tensorboard"),
        )
        place.ends(run, code=0)
        files = RunFiles(place.path / "run")
        lines = files.metrics()
        assert {line["staleness_max"] for line in lines} <= {0, 1}
        assert sum(line["staleness_mean"] > 0 for line in lines) > len(lines) / 2
        assert lines[-1]["mean_return"] > 3 * lines[0]["mean_return"]
        assert_closes(files.ledger())
        dropped = drops(files.ledger())
        assert set(dropped) <= {"shutdown", "stale"}
        late = dropped.get("stale", 0)  # none, where the machine lets an actor load a policy within half a second
        assert late < 0.05 * files.ledger()["total"]["sealed"]
