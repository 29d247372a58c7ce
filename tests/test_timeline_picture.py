"""Pictures and words of timelines: rows, windows, answers to wrong usage, the section of a report."""

import json
from pathlib import Path

import pytest
from simulation import Simulation
from traced_worlds import NOON, World

from dppo.cli import main
from dppo.ops.trace_reader import TraceEvent
from dppo.protocol.errors import UsageError
from dppo.watch.timeline.clock import RunClock
from dppo.watch.timeline.command import plot_timeline, read_timeline, section_of_report
from dppo.watch.timeline.drawing import HEIGHT, figure_of
from dppo.watch.timeline.lanes import Board, Doing
from dppo.watch.timeline.rows import MOST_ROWS, rows_of, slowest_of
from dppo.watch.timeline.summary import summary, verdict_of
from dppo.watch.timeline.traces import Extent, chosen_window


@pytest.fixture
def run(world: Simulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run of two hosts with a trace of 14 updates, the learner's next start among them."""
    traced = World(world, monkeypatch)
    for name in ("h1-0", "h1-1", "h2-0"):
        world.start(name)
    world.run_until_updates(7)
    world.crash_learner()
    world.now += 1.0
    world.start_learner()
    world.run_until_updates(7)
    traced.write(tmp_path / "CartPole-v1")
    return tmp_path / "CartPole-v1"


def texts_of(run: Path) -> list[str]:
    """Return all texts in the picture."""
    timeline = read_timeline(str(run), updates=0)
    figure = figure_of(timeline.board, title=timeline.title, lines=timeline.lines, origin=timeline.extent.origin)
    (axes,) = figure.axes
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    names = [label.get_text() for label in axes.get_yticklabels()]
    return [*names, *legend, axes.get_xlabel(), *(text.get_text() for text in axes.texts)]


def test_the_picture_has_a_lane_for_each_actor_by_host_and_one_for_the_learner(run: Path) -> None:
    texts = texts_of(run)
    assert texts[:4] == ["learner", "h1-0", "h1-1", "h2-0"]
    assert {"stepping, collecting", "waiting", "rollout arrives", "joined"} <= set(texts)
    assert "learner started again " in texts
    assert any(text.startswith("seconds since the first start (2026-") for text in texts)


@pytest.mark.fast(3)
@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_it_is_written_where_it_was_asked_for(
    run: Path, ending: str, magic: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["plot", str(run), "--timeline", "--output", str(run / f"t.{ending}")])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.endswith(f"wrote {run / f't.{ending}'}\n")
    assert (run / f"t.{ending}").read_bytes().startswith(magic)
    assert out.startswith("CartPole-v1: 10 updates, ")


def test_the_file_of_a_trace_may_be_named_instead_of_a_run(run: Path) -> None:
    assert plot_timeline(str(run / "logs" / "learner.trace.jsonl")) == run / "logs" / "timeline.png"
    assert plot_timeline(str(run)) == run / "timeline.png"


def test_the_summary_has_shares_by_host_the_slowest_actor_and_the_waits(run: Path) -> None:
    lines = summary(read_timeline(str(run), updates=0).board)
    (head,) = [line.split() for line in lines if "steps/s" in line and "slow" not in line]
    shares = ["stepping", "sending", "STOP", "policy", "waiting", "joining"]
    assert head == [*shares, "steps/s", "env", "policy", "send", "idle"]
    rows = [line.split("  ")[0].strip() or line.split()[0] for line in lines if line.count("%") >= 5]
    assert rows == ["h1 (2)", "h1-0", "h1-1", "h2-0"]
    assert any(line.startswith(("slowest: ", "no actor is slow: ")) for line in lines)
    assert any(line.startswith("STOP: 14, ") for line in lines)
    assert any(line.startswith("learner: collect ") for line in lines)


@pytest.mark.parametrize(
    ("begin", "end", "updates", "window"),
    [
        (None, None, 2, (2.0, 9.5)),
        (None, None, 0, (0.0, 9.5)),
        (None, None, 4, (0.5, 9.5)),
        (None, None, 99, (0.5, 9.5)),
        (1.5, None, 2, (1.5, 9.5)),
        (-2.0, None, 2, (7.5, 9.5)),
        (None, -9.0, 2, (0.0, 0.5)),
        (3.0, 99.0, 2, (3.0, 9.5)),
    ],
)
def test_the_window_is_the_last_updates_or_what_was_asked_for(
    begin: float | None, end: float | None, updates: int, window: tuple[float, float]
) -> None:
    assert (
        chosen_window(Extent(seconds=9.5, first_policy=0.5, updates=[1.0, 2.0, 3.0, 4.0]), begin, end, updates)
        == window
    )


WRONG = [
    (("--timeline", "--from", "90000"), "nothing is between 90000 s and "),
    (("--timeline", "--from", "3", "--to", "2"), "nothing is between 3 s and 2 s"),
    (("--timeline", "--updates", "-1"), "updates=-1 must be at least 0"),
    (("--timeline", "--updates", "3", "--from", "2"), "--updates and --from choose different parts"),
    (("--timeline", "--y", "length"), "--x and --y are of curves"),
    (("--from", "3"), "--from chooses a part of a timeline, and this draws curves: add --timeline"),
    (("--timeline", "--output", "t.bmp"), "no known picture format"),
    (("--timeline", "other"), "a timeline is of one run, and 2 are named"),
    (("--timelines",), "did you mean --timeline?"),
]


@pytest.mark.fast(3)
@pytest.mark.parametrize(("arguments", "complaint"), WRONG, ids=lambda value: " ".join(value)[:40])
def test_wrong_usage_is_one_line_and_exit_code_2(
    run: Path, arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(["plot", str(run), *arguments])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert sorted(run.rglob("*")) == before


def test_a_run_without_the_learners_trace_is_told_how_to_get_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = run / "logs" / "learner.trace.jsonl"
    trace.unlink()
    with pytest.raises(SystemExit) as end:
        main(["plot", str(run), "--timeline"])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert "a timeline needs the learner's trace" in told
    assert "dppo train ... --trace" in told
    assert section_of_report(run) == ""
    begin = {"time": 0.0, "event": "begin", "state": "", "fields": {"side": "actor"}}
    (run / "logs" / "actor-0.trace.jsonl").write_text(json.dumps(begin) + "\n")
    with pytest.raises(UsageError, match=r"\(there are 1 of actors, which have only what each of them saw\)"):
        read_timeline(str(run))
    trace.write_text("")
    with pytest.raises(UsageError, match="needs the learner's trace"):
        read_timeline(str(run))
    trace.write_text(json.dumps({**begin, "fields": {"side": "learner"}}) + "\n")
    with pytest.raises(UsageError, match="has no actor in it yet: there is nothing to draw"):
        read_timeline(str(run))
    assert section_of_report(run).startswith("<p>")
    with pytest.raises(UsageError, match="is no trace of a learner"):
        read_timeline(str(run / "logs" / "actor-0.trace.jsonl"))


def test_a_report_has_picture_and_summary(run: Path) -> None:
    section = section_of_report(run)
    assert section.startswith('<img src="data:image/png;base64,')
    assert "STOP: 10, " in section


def crowd(hosts: int, actors: int) -> Board:
    """Lanes of a window of 10 s; the last actor of the last host steps at a tenth of the others' speed."""
    board = Board((0.0, 10.0), hosts * actors)
    for host in range(hosts):
        for number in range(actors):
            lane = board.lane(f"lab{host}-{number}")
            board.span(lane, 0.0, 8.0, Doing.WORKING)
            board.span(lane, 8.0, 10.0, Doing.WAITING)
            lane.steps = 100 if (host, number) == (hosts - 1, actors - 1) else 1000
            lane.task_seconds |= {"env": 7.0, "policy": 1.0, "idle": 2.0}
    return board


@pytest.mark.parametrize(("hosts", "actors", "rows"), [(3, 4, 12), (10, 30, 11), (300, 1, 2)])
def test_actors_that_do_not_fit_are_shown_by_host_and_the_worst_by_name(hosts: int, actors: int, rows: int) -> None:
    board = crowd(hosts, actors)
    found = rows_of(board.actors)
    assert len(found) == rows <= MOST_ROWS
    slow = f"lab{hosts - 1}-{actors - 1}"
    assert slow in [row.name for row in found]
    if hosts * actors > MOST_ROWS:
        assert found[0].name == (f"lab0 ({actors})" if hosts < 100 else "all actors (300)")
        assert found[0].columns.sum() == pytest.approx(10.0, rel=1e-4)
    slowest = slowest_of(board.actors)
    assert slowest is not None
    assert (slowest[0].name, slowest[1]) == (slow, pytest.approx(10.0))


@pytest.mark.parametrize("updates", [0, 7, 100_000])
def test_shares_of_merged_columns_add_up_to_the_height_of_their_lane(updates: int) -> None:
    board = crowd(3, 20)
    board.updates = updates
    board.is_fine = False
    (axes,) = figure_of(board, title="", lines=(), origin=None).axes
    green, grey = (axes.collections[0], axes.collections[1])
    (of_green,), (of_grey,) = green.get_paths(), grey.get_paths()
    assert of_green.vertices[:, 1].max() == pytest.approx(HEIGHT / 2)
    assert of_grey.vertices[:, 1].min() == pytest.approx(-HEIGHT / 2, abs=1e-3)
    assert of_green.vertices[:, 0].min() == 0.0
    assert of_grey.vertices[:, 0].max() == pytest.approx(10.0)


def test_the_verdict_is_the_one_of_the_live_screen() -> None:
    board = crowd(2, 3)
    learner = board.lane("learner", is_learner=True)
    board.span(learner, 0.0, 2.0, Doing.WORKING)
    board.span(learner, 2.0, 10.0, Doing.UPDATING)
    assert verdict_of(board) == ""  # too few updates
    board.updates = 8
    assert verdict_of(board).startswith("balanced: ")
    for lane in board.actors:
        lane.task_seconds["idle"] = 20.0
    assert verdict_of(board).startswith("learner-bound: actors idle 71%")


def event(time: float, name: str = "sent", day: float | None = None) -> TraceEvent:
    return TraceEvent(time, name, "", fields={} if day is None else {"time_of_day": day})


def test_seconds_go_on_over_starts_and_never_lead_back() -> None:
    clock = RunClock()
    assert [clock.at(event(500.0, "begin", NOON)), clock.at(event(501.5))] == [0.0, 1.5]
    assert [clock.at(event(3.0, "begin", NOON + 10)), clock.at(event(4.0))] == [10.0, 11.0]  # another machine's clock
    assert [clock.at(event(9.0, "begin", NOON - 60)), clock.at(event(9.5))] == [11.0, 11.5]  # its clock was set back
    assert [clock.at(event(9.6, "goes on", NOON)), clock.at(event(9.4))] == [pytest.approx(11.6)] * 2
    assert clock.origin == NOON


def test_a_trace_whose_beginning_is_lost_begins_at_0() -> None:
    clock = RunClock()
    assert [clock.at(event(70.0)), clock.at(event(71.0)), clock.at(event(5.0, "begin", NOON))] == [0.0, 1.0, 1.0]
    assert (clock.origin, clock.at(event(6.0))) == (NOON - 1.0, 2.0)
