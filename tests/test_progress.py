"""What a run looks like while it happens: lines in a file, a table on a terminal."""

import contextlib
import errno
import io
import logging
import re
from dataclasses import dataclass

import msgspec
import pytest
from rich.console import Console

from dppo.learner.telemetry.status import ActorStatus, LedgerStatus, Status
from dppo.local.live_table import clock_text, sparkline, table
from dppo.local.progress import NoteHandler, Progress, line_seconds, plain_line
from dppo.local.return_curve import ReturnCurve
from dppo.local.status_text import ledger_line


def actor(name: str, state: str = "running", heard: float = 0.1) -> ActorStatus:
    return ActorStatus(name, state, 8, 1024, 0.61, 0.22, 0.03, 0.14, heard)


STATUS = Status(
    phase="COLLECTING",
    run_directory="runs/CartPole-v1",
    env="CartPole-v1",
    updates=3,
    version=4,
    steps=3072,
    total_steps=300_000,
    steps_per_second=18204.3,
    episodes=120,
    mean_return=95.31,
    target_return=475.0,
    elapsed_seconds=4.2,
    waiting_for="",
    actors=(actor("actor-0"), actor("actor-1")),
    ledger=LedgerStatus(4000, 3072, 800, 116, {"stale": 12, "crash": 0}, 0),
    metrics={"other": 1.0, "policy_std": float("nan"), "kl": 0.00981},
    first_step_seconds=1.0,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def drawn(status: Status, width: int = 100, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(table(status, ReturnCurve([1.0, 5.0, 95.0]), {"collect": 0.3, "update": 0.7}, width, height))
    return console.file.getvalue()


def changed(**fields: object) -> Status:
    return msgspec.structs.replace(STATUS, **fields)


def test_a_file_gets_a_plain_line_at_most_every_two_seconds_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock=clock) as progress:
        for tenth in range(50):
            clock.now = tenth / 10
            progress.show(changed(updates=tenth))
        progress.show(changed(phase="STOPPED", updates=50))
        progress.show(changed(phase="STOPPED", updates=50))
    lines = stream.getvalue().splitlines()
    assert [line.split(" | ")[2] for line in lines[:-1]] == [f"update {i}" for i in (0, 20, 40, 50)]
    assert lines[-1].startswith("ledger: 4,000 sealed")
    assert "\x1b" not in stream.getvalue()


def test_lines_become_rarer_up_to_one_a_minute() -> None:
    assert [line_seconds(seconds) for seconds in (0.0, 20.0, 300.0, 900.0, 86_400.0)] == [2.0, 2.0, 20.0, 60.0, 60.0]


def test_the_newest_status_is_shown_also_when_the_run_is_torn_down_early() -> None:
    stream = io.StringIO()
    with contextlib.suppress(KeyError), Progress(stream, clock=Clock()) as progress:
        progress.show(STATUS)
        progress.show(changed(updates=4))
        raise KeyError
    assert "update 4" in stream.getvalue().splitlines()[-1]


def test_a_run_that_ends_early_repeats_no_line() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock=clock) as progress:
        progress.show(changed(updates=0))
        progress.show(changed(updates=0, elapsed_seconds=4.9))
        progress.note("no environment")
    assert [line.split(" | ")[0] for line in stream.getvalue().splitlines()] == ["collecting", "no environment"]


def test_a_plain_line_has_the_users_own_metrics_by_name() -> None:
    own = {"kl": 0.1, "metrics/distance to go": 0.25, "metrics/kl": 3.0}
    assert " | distance to go 0.25, kl 3 | 2 actors" in plain_line(changed(metrics=own))


def test_a_plain_line_has_what_matters() -> None:
    line = plain_line(changed(waiting_for="actor-1 (0.3 s)", actors=(actor("a"), actor("b", "gone"))))
    assert line == (
        "collecting | 4.2 s | update 3 | steps 3,072 of 300,000 | 18,204 steps/s | return 95.31 (target 475) | 1 actor"
        " | waiting for actor-1 (0.3 s)"
    )
    assert "no episode yet" in plain_line(changed(mean_return=None))
    assert "return 95.31 |" in plain_line(changed(target_return=None))


def test_the_ledger_names_reasons_and_duplicates_only_where_there_are_some() -> None:
    assert ledger_line(STATUS.ledger) == (
        "ledger: 4,000 sealed = 3,072 trained + 800 pending + 116 in flight + 12 dropped (stale 12)"
    )
    assert ledger_line(LedgerStatus(1, 1, 0, 0, {}, 2)).endswith("+ 0 dropped; 2 duplicates ignored")


def test_the_table_has_names_states_and_shares() -> None:
    text = drawn(changed(actors=(actor("actor-0"), actor("far-host-17", "silent", heard=7.2))))
    for part in ("CartPole-v1", "collecting", "actor-0", "far-host-17", "silent 7 s", "61%", "22%", "3%", "14%"):
        assert part in text
    for part in ("95.31 of 475", "18,204 steps/s", "3,072 of 300,000 steps", "kl=0.00981", "stale 12", "▁▁█"):
        assert part in text
    assert text.index("kl=") < text.index("other=1")
    assert "policy_std" not in text  # a policy over discrete actions has none


def test_the_table_says_whose_environments_crash() -> None:
    broken = msgspec.structs.replace(actor("broken"), env_restarts=12)
    lines = drawn(changed(actors=(actor("sound"), broken))).splitlines()
    assert [line.split()[0] for line in lines if "12 crashed" in line] == ["broken"]
    assert sum("crashed" in line for line in lines) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_the_table_fits_every_width(width: int) -> None:
    text = drawn(changed(actors=(actor("a-host-with-a-very-long-name-indeed-4711"),)), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "running" in text
    assert "14%" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_batch_that_fills_slowly_is_seen_to_fill(width: int) -> None:
    filling = msgspec.structs.replace(actor("slow"), steps=0, open_steps=156)
    status = changed(actors=(filling,), steps=0, collected_steps=1_312, batch_steps=2_048, steps_per_second=53.3)
    text = drawn(status, width=width)
    assert "next batch: 1,312 of 2,048 steps" in text
    assert "156" in next(line for line in text.splitlines() if line.startswith("slow"))
    assert max(map(len, text.splitlines())) <= width
    assert " | batch: 1,312 of 2,048 steps | 53 steps/s | " in plain_line(status)
    assert "batch" not in drawn(STATUS) + plain_line(STATUS)


def test_many_actors_are_cut_to_what_fits() -> None:
    many = changed(actors=tuple(actor(f"actor-{i}") for i in range(40)))
    assert "+ 24 more" in drawn(many)
    assert "+ 35 more" in drawn(many, height=20)
    assert "actor-16" not in drawn(many)


def test_a_run_that_has_nothing_yet_is_drawn_too() -> None:
    text = drawn(changed(actors=(), steps=0, metrics={}, mean_return=None, target_return=None, total_steps=0))
    assert "no actor has joined yet" in text
    assert "no episode has ended yet" in text
    assert "no actor is connected" in drawn(changed(actors=()))


def test_a_terminal_gets_the_table_and_notes_stay_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream, clock = Terminal(), Clock()
    with Progress(stream, clock=clock) as progress:
        progress.show(STATUS)
        progress.note("actor-1 [red]joined[/red]")
        first = len(stream.getvalue())
        clock.now = 0.2
        progress.show(changed(updates=4))
        assert len(stream.getvalue()) == first  # at most four drawings a second
        clock.now = 0.3
        progress.show(changed(updates=5))
    text = stream.getvalue()
    assert "actor-1 [red]joined[/red]" in text
    assert "update 5" in text
    assert "61%" in text


def test_a_note_breaks_no_word_no_join_line_and_no_table_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    stream, join_line = Terminal(), f"dppo actor --join dppo1.{'x' * 100}"
    note = "evaluation after 2,048 steps, 4 episodes: return 20.0 +- 2.0 (17.0 to 23.0), the best so far"
    with Progress(stream) as progress:
        progress.show(STATUS)
        since = len(stream.getvalue())
        progress.note(join_line)
        progress.note(note)
        after = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()[since:])
    assert join_line in after
    shown = re.search(r"\s+".join(map(re.escape, note.split())), after)
    assert shown is not None
    assert max(map(len, shown[0].split("\n"))) <= 60
    assert len(re.findall(r"dropped\s+\(stale 12\)", after)) == 2  # the table is drawn again below each, whole


def test_the_table_says_how_long_it_takes_where_time_goes_and_what_was_best() -> None:
    text = drawn(changed(metrics={"mean_length": 95.3}))
    assert "update 3   4.2 s, 17 s left" in text
    assert "120 episodes of 95 steps" in text
    assert "return 10.0 of 475, best 95" in drawn(changed(mean_return=10.0))
    assert "■ collect 30% ■ update 70%" in text
    assert " left" not in drawn(changed(phase="STOPPED"))
    assert " left" not in drawn(changed(steps_per_second=0.0))


def test_a_good_end_is_not_shown_as_a_loss() -> None:
    ended = changed(phase="STOPPED", actors=(actor("a", "gone"),))
    assert "done" in drawn(ended)
    assert "gone" not in drawn(ended)
    assert "gone" in drawn(changed(actors=(actor("a", "gone"),)))


def test_a_ledger_that_is_whole_is_one_word() -> None:
    whole = LedgerStatus(4_000, 3_072, 800, 128, {}, 0)
    assert "ledger whole: nothing dropped" in drawn(changed(ledger=whole))
    assert "ledger whole: 12 of 4,000 steps dropped (stale 12)" in drawn(STATUS)
    assert "ledger: 4,000 sealed = 3,072 trained" in drawn(changed(ledger=LedgerStatus(4_000, 3_072, 0, 0, {}, 0)))


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.show(STATUS)
    assert "\x1b[3" not in stream.getvalue()


def test_log_records_become_notes() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        NoteHandler(progress).emit(logging.makeLogRecord({"msg": "actor %s joined", "args": ("x",)}))
    assert stream.getvalue() == "actor x joined\n"


def test_small_forms() -> None:
    assert sparkline([1.0]) == ""
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert [clock_text(s) for s in (4.25, 75, 3723)] == ["4.2 s", "1:15", "1:02:03"]


class FullDisk(io.StringIO):
    """A file whose disk is full until `free` is set."""

    free = False
    error: type[OSError] = OSError

    def write(self, text: str) -> int:
        if not self.free:
            raise self.error(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_full_disk_below_its_own_output_does_not_end_a_run() -> None:
    stream, clock = FullDisk(), Clock()
    with Progress(stream, clock=clock) as progress:
        progress.note("lost")
        progress.show(STATUS)
        stream.free = True
        progress.note("said")
    assert "lost" not in stream.getvalue()
    assert "said" in stream.getvalue()


def test_a_reader_that_has_gone_is_not_taken_for_a_full_disk() -> None:
    stream = FullDisk()
    stream.error = BrokenPipeError
    with pytest.raises(BrokenPipeError):
        Progress(stream).note("nobody reads this")


def test_absurd_numbers_and_what_the_mean_leaves_out_are_on_the_screen() -> None:
    status = msgspec.structs.replace(STATUS, outliers=3, steps_left_out=128, return_outliers=2, median_return=97.0)
    for shown in (plain_line(status), drawn(status)):
        assert "3 absurd numbers bounded, 128 steps left out of training" in shown
        assert "(without 2 absurd; median 97.0)" in shown
    for shown in (plain_line(STATUS), drawn(STATUS)):
        assert "absurd" not in shown
