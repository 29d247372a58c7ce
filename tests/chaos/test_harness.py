"""Parts of the chaos bench: its processes, figures, relay, and its look at a run from outside."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dppo.cli import main
from dppo.protocol.process.lifeline import Lifeline
from scripts.chaos.figures import Outcome, at_least, at_most, holds, none_of, reported
from scripts.chaos.relays import BURST_SECONDS, Budget, Passage, Relay
from scripts.chaos.samples import slope
from scripts.chaos.watching import RunWatch, open_accounts
from scripts.chaos.workers import Worker

REPOSITORY = Path(__file__).parents[2]


def test_a_process_whose_start_is_interrupted_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen

    def interrupted(*arguments: Any, **named: Any) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = popen(*arguments, **named)
        os.kill(os.getpid(), signal.SIGINT)
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    lifeline = Lifeline()
    worker = Worker("sleeper", (), tmp_path / "log", lifeline, program=("-c", "import time; time.sleep(60)"))
    with pytest.raises(KeyboardInterrupt):
        worker.start()
    assert worker.process is not None
    worker.end()
    lifeline.close()
    assert worker.exits == [-signal.SIGKILL]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_leaves_no_process_behind(number: int) -> None:
    mark = f"chaos-test-{os.getpid()}-{number}"
    environment = {**os.environ, "TEST_STARTED_BY": mark}
    command = [sys.executable, "-m", "dppo.cli", "bench", "chaos", "--only", "stop-learner"]
    bench = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 90  # a busy machine
        while len(started_by(mark)) < 6 and time.monotonic() < deadline:  # bench, learner, four actors
            time.sleep(0.05)
        assert len(started_by(mark)) >= 6
        bench.send_signal(number)
        assert bench.wait(60) == 130
        deadline = time.monotonic() + 60
        while started_by(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert started_by(mark) == []
    finally:
        bench.kill()
        bench.wait()


def started_by(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TEST_STARTED_BY") == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def test_a_fault_that_there_is_not_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "chaos", "--only", "earthquake"])
    assert end.value.code == 2
    assert "kill-actors" in capsys.readouterr().err


def test_a_limit_that_is_not_met_fails_the_outcome_and_so_does_a_figure_that_never_came() -> None:
    good = [at_most("a", 1.0, 1.0), at_least("b", 2.0, 1.0), holds("c", True), none_of("d", []), reported("e", None)]
    assert Outcome("fault", "title", figures=good).verdict == "passed"
    bad = [at_most("a", 1.1, 1.0), at_most("a", None, 1.0), at_least("b", None, 1.0), holds("c", False)]
    for figure in [*bad, none_of("d", ["found"])]:
        assert Outcome("fault", "title", figures=[*good, figure]).verdict == "failed"
    assert Outcome("fault", "title", broken="no update").verdict == "failed"


def test_the_slope_of_a_straight_line_is_its_slope() -> None:
    assert slope([(0.0, 1.0), (1.0, 3.0), (3.0, 7.0)]) == pytest.approx(2.0)
    assert slope([(0.0, 1.0)]) == 0.0


def test_an_account_with_a_step_missing_is_open() -> None:
    whole = {"actor": "a", "sealed": 7, "trained": 5, "pending": 0, "in_flight": 0, "dropped": {"stale": 2}}
    assert open_accounts({"total": whole, "closed": whole, "accounts": {"00": whole}}) == []
    (text,) = open_accounts({"total": whole, "closed": whole, "accounts": {"00": {**whole, "trained": 4}}})
    assert "4 trained" in text


def test_the_watch_reads_updates_once_and_sees_a_curve_cut_back_by_a_restart(tmp_path: Path) -> None:
    curve, watch = tmp_path / "metrics.jsonl", RunWatch(tmp_path)
    line = '{"update": %d, "steps": 8, "mean_return": null}\n'
    watch.look(0.0)
    curve.write_text(line % 1 + line % 2 + '{"update": 3, "st')
    watch.look(1.0)
    watch.look(2.0)
    assert [(update.number, update.at) for update in watch.updates] == [(1, 1.0), (2, 1.0)]
    curve.write_text(line % 1)
    watch.look(3.0)
    curve.write_text(line % 1 + line % 2)
    watch.look(4.0)
    assert [update.number for update in watch.updates] == [1, 2, 2]


def test_the_watch_sees_a_version_that_does_not_rise(tmp_path: Path) -> None:
    watch = RunWatch(tmp_path)
    identity, policy = tmp_path / "run.json", tmp_path / "policy.onnx"
    for at, (term, version) in enumerate(((1, 1), (1, 2), (2, 2), (3, 1))):
        identity.write_text(f'{{"term": {term}}}')
        policy.write_bytes(b"..\x0a\x0cdppo.version\x12\x01%d.." % version)
        os.utime(identity, ns=(0, 10 * at + 1))
        os.utime(policy, ns=(0, 10 * at + 2))
        watch.look(0.0)
    assert watch.versions == [(1, 1), (1, 2), (2, 2), (3, 1)]
    assert watch.falls() == ["(3, 1) after (2, 2)"]


def test_a_relay_passes_bytes_on_both_ways_and_keeps_what_was_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as learner, Relay(learner.getsockname()) as relay:
        port = int(relay.endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as actor:
            inside, _ = learner.accept()
            with inside:
                inside.settimeout(10)
                actor.sendall(b"hello")
                assert inside.recv(16) == b"hello"
                inside.sendall(b"welcome")
                assert actor.recv(16) == b"welcome"
    assert relay.sent == b"hello"
    assert relay.received_bytes == 7
    assert relay.connections == 1


def test_a_slow_link_keeps_its_rate_however_late_it_is_served() -> None:
    rate, now, passed = 20_000, 0.0, 0
    budget = Budget(rate, now)
    budget.spend(budget.left(now))
    for delay in (0.1, 0.17, 0.1, 0.4, 0.3) * 20:
        now += delay
        left = budget.left(now)
        passed += left
        budget.spend(left)
    assert passed == pytest.approx(rate * now, abs=1)
    assert budget.left(now + 60) == rate * BURST_SECONDS, "no more than what a link would have in its queue"


def test_a_connection_says_how_much_was_read_on_it_and_how_it_ended() -> None:
    assert str(Passage(1.0, received_bytes=32_000)) == "32,000 bytes read, still open"
    assert str(Passage(1.0, 1_234, 4.5, "the actor")) == "1,234 bytes read, ended by the actor after 3.5 s"
    assert str(Passage(1.0, 0, 1.5)) == "0 bytes read, ended by an error after 0.5 s"
