"""`dppo actor` on the command line: the ways by which it gets its join line."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import Entries, failed, forget_variables, record_entries, run

from dppo.actor.join_options import JoinOptions
from dppo.protocol.security.join_line import JoinLine


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # without runs of whoever tests
    forget_variables(monkeypatch)


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Entries:
    return record_entries(monkeypatch)


LINE = str(JoinLine(bytes(32), bytes(4), bytes(range(32)), "host:5555"))


def test_actor_gets_its_learner(entries: Entries) -> None:
    calls, _ = entries
    assert run("actor", "--learner", "ipc:///tmp/x", "--envs", "4") == 0
    assert run("actor", "--join", LINE) == 0
    assert run("actor", "--learner", "tcp://localhost:5555", "--insecure") == 0
    own: dict[str, Any] = {"name": "", "envs": 0, "trace": None}
    assert [(module, function, *args, rest) for module, function, args, rest in calls] == [
        ("dppo.actor.service", "run", JoinOptions("ipc:///tmp/x"), {**own, "envs": 4}),
        ("dppo.actor.service", "run", JoinOptions(join=LINE), own),
        (
            "dppo.actor.service",
            "run",
            JoinOptions("tcp://localhost:5555", insecure=True),
            own,
        ),
    ]


def test_the_join_line_comes_from_the_environment_too_and_is_not_handed_on(
    monkeypatch: pytest.MonkeyPatch, entries: Entries
) -> None:
    monkeypatch.setenv("DPPO_JOIN", LINE)
    assert run("actor") == 0
    assert entries[0][0][2] == (JoinOptions(join=LINE),)
    assert "DPPO_JOIN" not in os.environ


def test_a_flag_counts_more_than_the_environment_for_the_way_to_the_learner(
    monkeypatch: pytest.MonkeyPatch, entries: Entries
) -> None:
    monkeypatch.setenv("DPPO_JOIN", LINE)
    assert run("actor", "--join-file", "somewhere") == 0
    assert entries[0][0][2] == (JoinOptions(join_file="somewhere"),)


def test_the_join_line_comes_from_standard_input_too(monkeypatch: pytest.MonkeyPatch, entries: Entries) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"dppo actor --join {LINE}\n"))
    assert run("actor", "--join", "-") == 0
    ((_, _, (join_options,), _),) = entries[0]
    found = join_options.find()
    assert found is not None
    assert found[0] == "tcp://host:5555"


def test_an_empty_standard_input_is_no_join_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "there is no join line on standard input" in failed(capsys, "actor", "--join", "-")


def test_an_actor_of_a_local_run_does_not_care_for_join_lines(
    monkeypatch: pytest.MonkeyPatch, entries: Entries
) -> None:
    monkeypatch.setenv("DPPO_JOIN", "-")
    assert run("actor", "--learner", "ipc:///tmp/x") == 0
    assert entries[0][0][2][0].find() == ("ipc:///tmp/x", None)


def test_print_config_does_not_show_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("actor", "--join", LINE, "--print-config") == 0
    out = capsys.readouterr().out
    assert "join: (hidden)" in out
    assert LINE[:20] not in out


def test_a_join_line_copied_with_its_line_end_is_taken_and_a_broken_one_is_not_repeated(
    capsys: pytest.CaptureFixture[str], entries: Entries
) -> None:
    assert run("actor", "--join", f"dppo actor --join {LINE}\n") == 0
    assert entries[0][0][2] == (JoinOptions(join=f"dppo actor --join {LINE}"),)
    complained = failed(capsys, "actor", "--join", f"dppo actor --join {LINE}\x07")
    assert "control characters" in complained
    assert "dppo1." not in complained
