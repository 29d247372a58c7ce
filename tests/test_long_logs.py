"""Logs of a run's processes are bounded, whatever an environment prints."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dppo.local import processes
from dppo.local.exit_diagnosis import last_error
from dppo.local.processes import Child
from dppo.protocol.process.lifeline import Lifeline


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    """A process whose log may have 3,000 bytes, of which 1,000 are kept."""
    monkeypatch.setattr(processes, "MOST_LOG_BYTES", 3_000)
    monkeypatch.setattr(processes, "KEPT_LOG_BYTES", 1_000)
    with Lifeline() as lifeline:
        made = Child("actor-0", ("-c", ""), tmp_path / "actor-0.log", lifeline)
        yield made
        processes.end([made], 0.0)


def test_the_newest_part_of_a_long_log_is_kept_with_a_line_on_what_is_not(child: Child) -> None:
    child.log.write_bytes(b"".join(b"%d\n" % i for i in range(10_000, 11_000)))
    child._shorten_log()
    first, *_, last = child.log.read_text().splitlines()
    assert first == "(5,000 bytes are left out here: a log is cut at 3,000)"
    assert last == "10999"
    assert child.log.stat().st_size == 1_000 + len(first) + 1


def test_a_short_one_is_left_as_it_is(child: Child) -> None:
    child.log.write_bytes(b"a line\n")
    child._shorten_log()
    assert child.log.read_bytes() == b"a line\n"


def test_the_last_words_of_a_process_are_found_in_a_log_that_was_cut(child: Child) -> None:
    child.log.write_bytes(b"x" * 4_000)
    child.start()  # its lines stand behind those of an earlier life
    child.log.write_bytes(b"y" * 4_000)
    child._shorten_log()
    with child.log.open("a") as log:
        log.write("\ndppo: error: last words\n")
    assert last_error(child._read_words()) == "last words"


def test_a_link_in_the_place_of_a_log_is_not_written_through(child: Child, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"x" * 5_000)
    os.symlink(tmp_path / "mine", child.log)
    child._shorten_log()
    assert (tmp_path / "mine").stat().st_size == 5_000


def test_a_log_is_readable_by_its_owner_alone(child: Child) -> None:
    before = os.umask(0)
    try:
        child.start()
    finally:
        os.umask(before)
    assert child.log.stat().st_mode & 0o777 == 0o600
