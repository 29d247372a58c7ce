"""A local run of real processes that stays unfinished until its gate is opened, and checks of a finished one."""

from processes import SMALL, Dppo, Place, RunFiles, assert_closes

TOTAL_STEPS = 6_000  # a quarter of a minute while the gate is shut, seconds once it is open
RUN = "run"


def start(place: Place, *arguments: str, total_steps: int = TOTAL_STEPS) -> Dppo:
    """A gated local run of two actors that writes a checkpoint after every update."""
    return place.start(
        "train",
        *SMALL,
        *place.gated,
        *("--run.directory", RUN, "--run.total-steps", str(total_steps), "--run.checkpoint-seconds", "0"),
        *("--evaluation-episodes", "0", *arguments),
    )


def assert_curve_has_every_update_once(files: RunFiles) -> None:
    updates = [line["update"] for line in files.metrics()]
    assert updates == list(range(1, len(updates) + 1))


def assert_finished(files: RunFiles) -> None:
    """The run came to its end, and every step of it is accounted for."""
    assert_curve_has_every_update_once(files)
    ledger, summary, last = files.ledger(), files.summary(), files.metrics()[-1]
    assert_closes(ledger)
    assert ledger["total"]["trained"] == summary["steps"] == last["steps"] >= TOTAL_STEPS
    assert summary["updates"] == last["update"]
