"""Lines about crashes: rare, short, and limited in number."""

from dppo.actor.envs.crash_reports import CrashReports
from dppo.actor.envs.interface import Crash
from dppo.actor.envs.returned_values import BrokenContract


def crash(error: BaseException) -> Crash:
    try:
        raise error
    except type(error) as raised:
        return Crash(3, "step", raised)


def test_crashes_of_a_kind_are_told_at_powers_of_ten() -> None:
    reports = CrashReports()
    lines = [reports.line_for(crash(ValueError(f"at {n}"))) for n in range(1, 1001)]
    told = {n: line for n, line in enumerate(lines, 1) if line}
    assert list(told) == [1, 10, 100, 1000]
    assert told[1].startswith("environment 3 failed in step: ValueError: at 1 (test_crash_reports.py:")
    assert told[1000].endswith("; 1000 times so far")


def test_a_broken_contract_has_a_line_and_no_traceback_of_ours() -> None:
    reports = CrashReports()
    assert reports.line_for(crash(BrokenContract("step() returned 3 values"))).endswith("step() returned 3 values")
    assert reports.traceback_of(crash(BrokenContract("step() returned 3 values"))) == ""
    assert "raise error" in reports.traceback_of(crash(ValueError("of the user's code")))


def test_a_long_error_is_cut_to_what_a_message_holds_and_keeps_its_count() -> None:
    reports = CrashReports()
    lines = [reports.line_for(crash(ValueError("x\n" * 5000))) for _ in range(10)]
    assert len(lines[0]) == len(lines[9]) == 512
    assert lines[9].endswith("; 10 times so far")
    assert "\n" not in lines[0]


def test_kinds_of_crashes_without_end_are_not_told_without_end() -> None:
    reports = CrashReports()
    kinds = [type(f"Error{n}", (Exception,), {}) for n in range(200)]
    told = [number for number, kind in enumerate(kinds) if reports.line_for(crash(kind()))]
    assert told == [*range(64), 64, 73, 163]  # the first, tenth and hundredth of the others
