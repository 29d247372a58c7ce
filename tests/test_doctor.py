"""What the doctor finds, on machines, in files and at ports that are as they must be and otherwise."""

import json
import os
import resource
import socket as plain
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from dppo.actor.join_options import JoinOptions
from dppo.learner.transport.authenticator import TokenAuthenticator
from dppo.learner.transport.credentials import Access
from dppo.learner.transport.token_list import TokenBook
from dppo.ops.doctor.command import DoctorArguments, doctor
from dppo.ops.doctor.finding import Finding, verdict
from dppo.ops.doctor.machine import disk, machine, open_files, python, releases, shared_memory, somaxconn
from dppo.ops.doctor.reach import reach
from dppo.ops.doctor.run_files import run_files
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.transport.fd_limits import RESERVE, actors_that_fit, raise_limit
from dppo.protocol.transport.router import Router
from scripts.ports import free_port

GIGABYTE = 2**30


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.level for finding in findings}


def test_whatever_is_wrong_comes_with_what_to_do() -> None:
    bad = [
        python(("3", "9", "1")),
        open_files(256, 256),
        somaxconn(128),
        shared_memory(64 * 2**20),
        disk(Path("x"), 10 * GIGABYTE, is_writable=False),
        disk(Path("x"), 2**20, is_writable=True),
        disk(Path("x"), GIGABYTE, is_writable=True),
        *releases(["msgpack>=1.2.1"], lambda name: "1.0.0"),
    ]
    assert [finding.level for finding in bad] == [
        "error", "warning", "warning", "warning", "error", "error", "warning", "error"
    ]  # fmt: skip
    assert all(finding.do for finding in bad)
    assert verdict(bad) == 1
    assert verdict([finding for finding in bad if finding.level != "error"]) == 0


def test_what_is_right_is_said_too() -> None:
    good = [python(("3", "11", "7")), open_files(1024, 20000), somaxconn(4096), shared_memory(GIGABYTE)]
    good += [disk(Path("x"), 9 * GIGABYTE, is_writable=True), open_files(1024, resource.RLIM_INFINITY)]
    assert {finding.level for finding in good} == {"ok"}


def test_an_actors_host_needs_no_torch_and_nobody_does_without_msgpack() -> None:
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    found = levels(releases(['torch>=2.10,<2.14; extra == "learner"', "msgpack>=1.2.1", "rich>=13"], nothing))
    assert found == {"torch": "ok", "msgpack": "error"}
    torch = ['torch>=2.10,<2.14; extra == "learner"']
    assert levels(releases(torch, lambda name: "2.13.0+cpu")) == {"torch": "ok"}
    assert levels(releases(torch, lambda name: "2.14.0")) == {"torch": "error"}


def test_this_machine_passes_and_the_list_has_no_duplicates(tmp_path: Path) -> None:
    findings = machine(tmp_path / "not" / "there" / "yet")
    assert verdict(findings) == 0
    assert len(levels(findings)) == len(findings) > 8


def test_the_limit_of_files_is_raised_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert raise_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert raise_limit() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert actors_that_fit(RESERVE + 1200) == 1000
    assert actors_that_fit(10) == 0


# A run's files


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    Access.open(tmp_path, time.time())
    return tmp_path


def test_good_keys_are_fine_and_so_is_a_run_without_any(run_directory: Path) -> None:
    assert levels(run_files(run_directory, time.time())) == {"learner's key": "ok", "tokens": "ok"}
    (run_directory / "other").mkdir()
    assert levels(run_files(run_directory / "other", time.time())) == {"keys": "ok"}
    assert levels(run_files(run_directory / "missing", time.time())) == {"run": "error"}


@pytest.mark.parametrize("name", ["server.key", "tokens.json"])
@pytest.mark.parametrize("damage", ["open", "gone", "torn"])
def test_keys_and_tokens_that_others_can_read_or_that_are_damaged_are_errors(
    run_directory: Path, name: str, damage: str
) -> None:
    file = run_directory / "access" / name
    if damage == "open":
        file.chmod(0o644)
    elif damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:10])
    (wrong,) = [finding for finding in run_files(run_directory, time.time()) if finding.level == "error"]
    assert str(file) in wrong.means
    assert wrong.do
    if damage == "open":
        assert "chmod 600" in wrong.do


def test_a_run_that_nobody_can_join_is_said(run_directory: Path) -> None:
    Access(run_directory).change(lambda book: TokenBook())
    assert levels(run_files(run_directory, time.time()))["tokens"] == "warning"


# The way to a learner


class Learner:
    """A listening learner that turns in a thread, with real keys."""

    def __init__(self, directory: Path, *, with_keys: bool) -> None:
        port = free_port()
        self.access = Access.open(directory, time.time())
        self.authenticator = TokenAuthenticator(self.access, wall=time.time, monotonic=time.monotonic)
        self.router = Router(f"tcp://127.0.0.1:{port}", 10**6, self.authenticator.security() if with_keys else None)
        self.address = f"127.0.0.1:{port}"
        line = self.access.announce(self.address, time.time())
        assert line is not None
        self.line: JoinLine = line
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._thread.start()

    def _turn(self) -> None:
        while not self._ending.is_set():
            self.router.wait(0.02)
            list(self.router.read())

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self.router.close()


@pytest.fixture
def learner(tmp_path: Path) -> Iterator[Learner]:
    made = Learner(tmp_path, with_keys=True)
    yield made
    made.close()


def look(**way: object) -> dict[str, str]:
    return levels(reach(JoinOptions(**way), time.monotonic))


def test_a_learner_that_lets_us_in(learner: Learner) -> None:
    assert look(join=str(learner.line)) == {"connection": "ok", "protocol": "ok", "handshake": "ok"}


def test_a_token_that_the_learner_does_not_know(learner: Learner) -> None:
    stranger = JoinLine(learner.line.server_key, bytes(4), b"s" * 32, learner.address)
    (*_, last) = reach(JoinOptions(join=str(stranger)), time.monotonic)
    assert (last.what, last.level) == ("handshake", "error")
    assert "new line" in last.do


def test_another_learner_than_that_of_the_token(learner: Learner) -> None:
    other = JoinLine(b"o" * 32, learner.line.token_id, learner.line.secret, learner.address)
    (*_, last) = reach(JoinOptions(join=str(other)), time.monotonic)
    assert (last.what, last.level) == ("handshake", "error")


def test_a_learner_without_keys_is_not_the_one_of_a_token(tmp_path: Path) -> None:
    made = Learner(tmp_path, with_keys=False)
    try:
        assert look(join=str(made.line)) == {"connection": "ok", "protocol": "error"}
        assert look(learner=f"tcp://{made.address}", insecure=True)["handshake"] == "ok"
    finally:
        made.close()


@pytest.mark.slow
def test_nobody_there_and_no_such_host_and_no_learner(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dppo.ops.doctor.reach.TIMEOUT_SECONDS", 1.0)
    line = learner.line
    (nobody,) = reach(JoinOptions(f"tcp://127.0.0.1:{free_port()}", str(line)), time.monotonic)
    assert (nobody.what, nobody.level) == ("connection", "error")
    (unknown,) = reach(JoinOptions("tcp://no-such-host.invalid:1", str(line)), time.monotonic)
    assert (unknown.what, unknown.level) == ("name", "error")
    with plain.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        threading.Thread(target=lambda: mute.accept()[0].close(), daemon=True).start()
        first, *_ = reach(JoinOptions(f"tcp://127.0.0.1:{mute.getsockname()[1]}", str(line)), time.monotonic)
        assert first.what == "connection"


def test_a_join_file_that_is_missing_or_open_to_others(tmp_path: Path, learner: Learner) -> None:
    assert look(join_file=str(tmp_path / "nothing")) == {"join line": "error"}
    file = tmp_path / "line"
    file.write_text(str(learner.line))
    file.chmod(0o644)
    assert look(join_file=str(file)) == {"join line": "error"}


# The command


def test_the_command_prints_a_line_each_and_json_on_demand(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(DoctorArguments(str(run_directory))) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "nothing is wrong"
    (run_directory / "access" / "server.key").chmod(0o644)
    assert doctor(DoctorArguments(str(run_directory), json=True)) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is False
    assert [f["what"] for f in result["findings"] if f["level"] == "error"] == ["learner's key"]


def test_the_secret_is_never_printed(
    learner: Learner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPPO_JOIN", str(learner.line))
    doctor(DoctorArguments())
    printed = capsys.readouterr().out
    assert "lets us in" in printed
    assert str(learner.line).partition("@")[0] not in printed


def test_it_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "dppo.cli", "doctor", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["ok"] is True
