"""Real `dppo` processes for tests: started in a directory of their own, watched with deadlines, never left behind."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest

REPOSITORY = Path(__file__).parent.parent
DEADLINE_SECONDS = 90.0  # for anything to happen on a busy machine; what passes never waits for it
POLL_SECONDS = 0.02
MARK_VARIABLE = "TEST_STARTED_BY"  # inherited by children and grandchildren, also by orphans
TAIL_LINES = 25

# updates of a few milliseconds, and several in a second of a slow environment
SMALL = (
    *("--preset", "none", "--collect.batch-steps", "256", "--collect.envs-per-actor", "4"),
    *("--ppo.epochs", "2", "--ppo.minibatch-steps", "128", "--network.policy-hidden", "16"),
    *("--network.critic-hidden", "16"),
)


class RunFiles:
    """What a run has written into its directory so far."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def metrics(self) -> list[dict[str, Any]]:
        """Whole lines of the curve."""
        try:
            text = (self.path / "metrics.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def updates(self) -> int:
        """Number of the newest update in the curve, 0 for none."""
        metrics = self.metrics()
        return int(metrics[-1]["update"]) if metrics else 0

    def summary(self) -> dict[str, Any]:
        return self._json("summary.json")

    def ledger(self) -> dict[str, Any]:
        return self._json("ledger.json")

    def term(self) -> int:
        return int(self._json("run.json")["start"])

    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.path / "checkpoints").glob("[0-9]*"))

    def learner_pid(self) -> int:
        """Of the process that holds the directory; 0 before there is one."""
        with contextlib.suppress(OSError):
            words = (self.path / "lock").read_text().split()
            if len(words) > 1:
                return int(words[1])
        return 0

    def trained_by_actor(self) -> dict[str, int]:
        """Steps trained of every actor whose account is open, as of the newest checkpoint."""
        try:
            accounts = self.ledger()["accounts"].values()
        except FileNotFoundError:
            return {}
        return {account["actor"]: account["trained"] for account in accounts}

    def _json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path / name).read_bytes())
        return content


def assert_closes(ledger: dict[str, Any]) -> None:
    """At the end of a run every step that was sealed is trained or dropped, in every account."""
    for account in (ledger["total"], ledger["closed"], *ledger["accounts"].values()):
        assert account["pending"] == account["in_flight"] == 0, account
        assert account["sealed"] == account["trained"] + sum(account["dropped"].values()), account


def drops(ledger: dict[str, Any]) -> dict[str, int]:
    """Steps dropped, by reason."""
    return dict(ledger["total"]["dropped"])


@dataclass(frozen=True)
class Dppo:
    """One `dppo` command that was started."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        """Standard output so far."""
        return self.stdout.read_text(errors="replace")

    def complained(self) -> str:
        """Standard error so far."""
        return self.stderr.read_text(errors="replace")

    def actors(self) -> dict[str, int]:
        """Process ids of the actors of a local run, by name."""
        found = {}
        for child in _children(self.pid):
            with contextlib.suppress(psutil.Error):
                command = child.cmdline()
                if (
                    {"actor", "dppo.actor"} & set(command)
                    and "--name" in command
                    and child.status() != psutil.STATUS_ZOMBIE
                ):
                    found[command[command.index("--name") + 1]] = child.pid
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


class Place:
    """A directory in which `dppo` commands run. Leaving it ends what still runs, and fails if that should not be.

    Use `leaves_nothing` at the end of a test: it allows the processes a moment to be gone by themselves.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="dppo-test-")  # short: an ipc path has at most 107 bytes
        self.path = Path(self._temporary.name)
        self.gate = self.path / "gate"
        self._counts = self.path / "counts"
        self._counts.mkdir()
        self._mark = uuid.uuid4().hex
        self._commands: list[Dppo] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for command in self._commands:
            command.process.wait()
        psutil.wait_procs(left, timeout=10)
        self._temporary.cleanup()
        if kind is None:
            assert not left, f"processes left behind: {left}"

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None, through: Sequence[str] = ()) -> Dppo:
        """`dppo <arguments>`, with tests/ on the path so that it finds simulators.py.

        through: a command that gives its last word to the shell of another host, which sees our files.
        """
        number = len(self._commands)
        stdout, stderr = self.path / f"stdout-{number}", self.path / f"stderr-{number}"
        temporary = self.path / "tmp"
        temporary.mkdir(exist_ok=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith("DPPO_")}
        added = {
            MARK_VARIABLE: self._mark,
            "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests"))),
            "TMPDIR": str(temporary),
            **(variables or {}),
        }
        words = [sys.executable, "-m", "dppo.cli", *arguments]
        if through:
            there = ["exec", "env", "-C", str(self.path), *(f"{name}={value}" for name, value in added.items())]
            words = [*through, shlex.join([*there, *words])]
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.path,
                env=own | added,
            )
        command = Dppo(process, stdout, stderr)
        self._commands.append(command)
        return command

    @property
    def gated(self) -> tuple[str, ...]:
        """Arguments for the environment that waits for this place's gate and counts its steps here."""
        kwargs = {"gate": str(self.gate), "counts": str(self._counts)}
        return ("--env", "simulators:GatedCartPole-v0", "--env.kwargs", json.dumps(kwargs))

    def counted_steps(self) -> int:
        """By the environments themselves, those that were killed left out."""
        return sum(int(path.read_text()) for path in self._counts.iterdir())

    def processes(self) -> list[psutil.Process]:
        """Everything alive that one of our commands started, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK_VARIABLE) == self._mark:
                    found.append(process)
        return found

    def until(
        self,
        condition: Callable[[], Any],
        what: str,
        *,
        during: Dppo | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> Any:
        """Poll until the condition holds; its value. Fails when the time is over or the command has ended before."""
        deadline = time.monotonic() + seconds
        while True:
            over = during is not None and during.process.poll() is not None  # looked at first, so that it is not missed
            value = condition()
            if value:
                return value
            if over:
                assert during is not None
                pytest.fail(f"ended with {during.process.returncode} before {what}\n{self.logs()}", pytrace=False)
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:g} s: {what}\n{self.logs()}", pytrace=False)
            time.sleep(POLL_SECONDS)

    def ends(self, command: Dppo, *, code: int, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait for the command's end and check its exit code."""
        self.until(lambda: command.process.poll() is not None, f"`dppo` ({command.pid}) ends", seconds=seconds)
        assert command.process.returncode == code, f"exit code {command.process.returncode}\n{self.logs()}"

    def leaves_nothing(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Every process is gone, by itself."""
        self.until(lambda: not self.processes(), "all processes are gone", seconds=seconds)

    def logs(self) -> str:
        """The ends of everything that was written."""
        texts = []
        for path in sorted(self.path.rglob("*")):
            if path.name.startswith(("stdout-", "stderr-")) or path.suffix == ".log":
                lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
                texts.append("\n".join([f"--- {path.relative_to(self.path)}", *lines]))
        return "\n".join([*texts, f"--- alive: {self.processes()}"])


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
