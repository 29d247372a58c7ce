"""docs/screen.md names every column of metrics.jsonl and of the live table, and none that is not there."""

import dataclasses
import inspect
import re

import pytest
from processes import REPOSITORY
from rich.console import Console

from dppo.learner.ppo.epochs import UpdateReport
from dppo.learner.session.phases import Phase
from dppo.learner.telemetry.episode_stats import EpisodeWindow
from dppo.learner.telemetry.metrics import key_of
from dppo.learner.telemetry.status import ActorStatus, LedgerStatus, Status
from dppo.learner.telemetry.tags import tag_of
from dppo.learner.telemetry.timings import PARTS
from dppo.learner.telemetry.update_metrics import metrics_of_update
from dppo.local import verdict
from dppo.local.live_table import STATE_STYLES, table
from dppo.local.return_curve import PARTS as SHARES
from dppo.local.return_curve import ReturnCurve

PAGE = (REPOSITORY / "docs" / "screen.md").read_text()
BY_THE_WRITER = {"update": "", "steps": "", "elapsed_seconds": ""}  # of every line, before the figures
BY_THE_RUN = ("rollout/env_restarts",)  # learner/run.py adds it


def cells(title: str) -> list[list[str]]:
    """Cells of the tables below a heading, without their heads."""
    text = PAGE.partition(f"\n{title}\n")[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:3] == "| `"]
    assert rows, title
    return rows


def columns() -> dict[str, str]:
    """Columns of metrics.jsonl as the code makes them, with their names in TensorBoard."""
    values = dict.fromkeys((field.name for field in dataclasses.fields(UpdateReport)), 1.0)
    episodes = EpisodeWindow(10)
    episodes.add([1.0], [1], [1.0])
    timing = dict.fromkeys(PARTS, 1.0)
    made = metrics_of_update(UpdateReport(**values), episodes, timing, 1.0, ["NAME"])  # type: ignore[arg-type]
    return BY_THE_WRITER | {key_of(name): tag_of(name) for name in (*made, *BY_THE_RUN)}


def test_every_column_of_the_metrics_is_on_the_page() -> None:
    rows = cells("## The metrics")
    written = {row[0].strip("`"): row[1].strip("`") for row in rows}
    assert len(written) == len(rows)
    tags = {key: "" if key == "steps" else tag for key, tag in columns().items()}
    assert written | {"steps": ""} == tags


@pytest.mark.parametrize("width", [60, 120])
def test_every_column_of_the_live_table_is_on_the_page(width: int) -> None:
    actor = ActorStatus("host/1", "running", 8, 100, 0.5, 0.2, 0.1, 0.2, 0.0)
    ledger = LedgerStatus(sealed=0, trained=0, pending=0, in_flight=0, dropped={}, duplicates=0)
    status = Status("COLLECTING", "", "X-v0", 1, 1, 1, 9, 1.0, 1, 1.0, None, 1.0, "", (actor,), ledger, {}, None)
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(table(status, ReturnCurve(), {}, width, 40))
    head = next(line for line in captured.get().splitlines() if line.startswith("actor"))
    named = [row[0].strip("`") for row in cells("### Actors")]
    assert [name for name in named if name in head.split()] == head.split()
    assert set(named) - set(head.split()) == (set() if width == 120 else {"envs", "policy", "send"})


def test_states_and_phases_are_on_the_page() -> None:
    about_states = next(row[1] for row in cells("### Actors") if row[0] == "`state`")
    assert [state for state in STATE_STYLES if f"`{state}`" not in about_states] == []
    phases = PAGE.partition("The phases are")[2].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", phases) == [phase.value for phase in Phase]


def test_verdicts_and_parts_of_the_time_are_on_the_page() -> None:
    source = inspect.getsource(verdict)
    written = re.findall(r'return \(?\s*f?"([a-z -]+?):', source)
    assert sorted(written) == sorted(row[0].strip("`") for row in cells("### The verdict"))
    bar = next(line for line in PAGE.splitlines() if line.startswith("| the bar |"))
    assert re.findall(r"`(\w+)`", bar) == list(SHARES)
