"""Ray actors of a deployment: each holds processes of ours, and ends where they die, so that Ray starts it again.

HeldLearners is on the node that has the run directory, HeldActor on any. Learners that are refused stay down.
"""

import contextlib
import importlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from dppo.deploy.engine import Process
from dppo.deploy.log_ends import added_to, end_of
from dppo.deploy.records import read_deployment, write_private
from dppo.deploy.supervised import STARTS, Status, write_status
from dppo.deploy.supervisor import FATAL, join_files, learners_of
from dppo.learner.storage.run_lock import refuse_if_held
from dppo.local.log_files import NO_TRACE, made_logs
from dppo.local.processes import Child, end
from dppo.protocol.errors import RefusedError
from dppo.protocol.process.heartbeat_pipe import with_heartbeat
from dppo.protocol.process.household import leaves_nothing
from dppo.protocol.process.lifeline import Lifeline
from dppo.settings.help_pages import version_text

LEARNER = "learner"  # name of the Ray actor with the learners
TICK_SECONDS = 0.2
ASK_SECONDS = 1.0
GRACE_SECONDS = 30.0  # for a learner's update and its checkpoint
LEAVING_SECONDS = 10.0  # for an actor to ship what it has collected
FAREWELL_SECONDS = 15.0  # for actors to hear that the run is over, and to send their logs
LOST_SECONDS = 60.0  # without a learner in the cluster, until an actor gives up
AGAIN_SECONDS = 2.0  # before a process that died is started again
LOGS = Path("~/.dppo")  # below it: NAME/logs, on the actors' nodes
_RAY_THREADS = "OMP_NUM_THREADS"  # Ray sets it to the reserved cores; the learner chooses by itself


class HeldLearners:
    """The learners of a run, one or several, in one Ray actor."""

    def __init__(self, run: str) -> None:
        found = read_deployment(Path(run))
        assert found is not None, "it was written before Ray was asked"
        self._deployment = found
        self._over, self._code = "", 0
        self._is_ending = self._has_started = self._listened = False
        self._household = _Household()
        os.environ.pop(_RAY_THREADS, None)
        self._starts = _Starts(found.folder / STARTS)
        self._starts.count(LEARNER)
        self._joins = join_files(found)
        self._group = learners_of(found, self._household.lifeline)
        threading.Thread(target=self._hold, name="learners", daemon=True).start()

    def report(self) -> dict[str, Any]:
        """Return states: whether all listen, why it is over, the learners."""
        learners = [
            Process(child.name, "running" if child.process else "waiting", _host(), self._starts.again(LEARNER))
            for child in self._group.children
        ]
        return {
            "listens": self._listens(),
            "over": self._over,
            "code": self._code,
            "processes": [msgspec.to_builtins(process) for process in learners],
        }

    def joins(self, name: str) -> list[str]:
        """Return the join lines, by rank, for an actor that starts; [] while not all learners listen."""
        if not self._listens() or self._over:
            return []
        self._starts.count(name)
        return [join.read_text().strip() for join in self._joins]

    def again(self, name: str) -> int:
        """Return how often that actor has been started again."""
        return self._starts.again(name)

    def is_over(self) -> bool:
        """Whether the run is over, or refused."""
        return bool(self._over)

    def keep_log(self, name: str, text: str) -> None:
        """Write the end of an actor's log into logs/ of the run."""
        write_private(made_logs(self._deployment.path) / f"{name}.log", text.encode())

    def end(self) -> None:
        """SIGTERM, wait, SIGKILL; returns when they are gone."""
        self._is_ending = True
        end(self._group.children, GRACE_SECONDS)

    def _listens(self) -> bool:
        self._listened = self._listened or (self._has_started and all(join.exists() for join in self._joins))
        return self._listened

    def _hold(self) -> None:
        """Start them, and wait for their end."""
        self._await_lock()
        for join in self._joins:
            join.unlink(missing_ok=True)  # its address may be that of an earlier learner
        self._group.start()
        self._has_started = True
        while (code := self._group.died()) is None and not self._is_ending:
            self._listens()
            time.sleep(TICK_SECONDS)
        if self._is_ending:
            return
        if code and self._listens() and code not in FATAL:
            time.sleep(AGAIN_SECONDS)
            os._exit(1)  # Ray starts this actor again
        words = self._group.last_error() or f"(log: {self._group.log})"
        self._code = code if code is not None and code >= 0 else 1
        self._over = f"{self._group.how}: {words}" if code else "the run is over"
        write_status(self._deployment.folder, Status(os.getpid(), self._listened, [], self._over, self._code))
        time.sleep(FAREWELL_SECONDS)
        _leave()

    def _await_lock(self) -> None:
        """Wait until learners of an earlier life, which end with it, have left the run directory."""
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(RefusedError):
                refuse_if_held(self._deployment.path)
                return
            time.sleep(TICK_SECONDS)


class HeldActor:
    """One actor of a run in one Ray actor."""

    def __init__(self, name: str, deployment: str, directory: str, version: str) -> None:
        """directory: where modules of environments are, if this node has it; version: of dppo at the learner's."""
        self._name, self._deployment = name, deployment
        self._is_ending = False
        self._child: Child | None = None
        logs = LOGS.expanduser() / deployment / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log = logs / f"{name}.log"
        self._directory = Path(directory) if Path(directory).is_dir() else None
        self._household = _Household()
        own = version_text()
        self._note = f"this node has {own}, and the learner {version}: install the same on both"
        if own == version:
            self._note = "waits for the learner"
            threading.Thread(target=self._hold, name="actor", daemon=True).start()

    def report(self) -> dict[str, Any]:
        """Return the state of the actor."""
        runs = self._child is not None and self._child.process is not None
        process = Process(self._name, "running" if runs else "waiting", _host(), note="" if runs else self._note)
        return {"processes": [msgspec.to_builtins(process)]}

    def log(self, since: int, lines: int) -> tuple[str, int]:
        """Return the log behind that byte, or its last lines where that is negative; and where it ends."""
        return end_of(self._log, lines) if since < 0 else added_to(self._log, since)

    def end(self) -> None:
        """SIGTERM, wait, SIGKILL; returns when it is gone."""
        self._is_ending = True
        if self._child is not None:
            end([self._child], LEAVING_SECONDS)

    def _hold(self) -> None:
        """Start the actor once the learners listen, and wait for its end."""
        joins = self._await_joins()
        join = joins[_number(self._name) % len(joins)]
        variables, pass_fds = with_heartbeat({"OMP_NUM_THREADS": "1", **NO_TRACE, "DPPO_JOIN": join})
        words = ["-m", "dppo", "actor", "--name", self._name]
        lifeline = self._household.lifeline
        child = Child(self._name, words, self._log, lifeline, variables, pass_fds, self._directory)
        if self._is_ending:
            return
        child.start()
        self._child = child
        while (code := child.died()) is None and not self._is_ending:
            time.sleep(TICK_SECONDS)
        if self._is_ending:
            return
        self._note = child.last_error() or f"ended with code {code}, and is to be started again"
        time.sleep(AGAIN_SECONDS)
        if code == 0 and self._is_over():
            with contextlib.suppress(ValueError, _ray().exceptions.RayError):
                _ask_learner(self._deployment, "keep_log", self._name, end_of(self._log, 100_000)[0])
            _leave()
        else:
            os._exit(1)  # Ray starts this actor again

    def _is_over(self) -> bool:
        with contextlib.suppress(ValueError, _ray().exceptions.RayError):
            return bool(_ask_learner(self._deployment, "is_over"))
        return True  # it was the last to leave

    def _await_joins(self) -> list[str]:
        heard_at = time.monotonic()
        while True:
            try:
                if joins := _ask_learner(self._deployment, "joins", self._name):
                    return list(joins)
                heard_at = time.monotonic()
            except ValueError:  # there is no such Ray actor
                if time.monotonic() - heard_at > LOST_SECONDS:
                    _leave()
            except _ray().exceptions.RayError as error:  # it is being started again, or its node does not answer
                self._note = f"waits for the learner ({type(error).__name__})"
            time.sleep(ASK_SECONDS)


class _Starts:
    """Counts of starts by name, which outlive the Ray actor that counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._counts = msgspec.json.decode(path.read_bytes(), type=dict[str, int])

    def count(self, name: str) -> None:
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + 1
            write_private(self._path, msgspec.json.encode(self._counts))

    def again(self, name: str) -> int:
        return max(0, self._counts.get(name, 0) - 1)


class _Household:
    """Lifeline and sweeper of a Ray actor's process: what it has started ends with it, also where it is killed."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(leaves_nothing(GRACE_SECONDS, sweeper=True))
        self.lifeline = self._stack.enter_context(Lifeline())


def _ask_learner(deployment: str, method: str, *arguments: Any) -> Any:
    """Call a method of the learners' Ray actor. Raises ValueError where there is none, Ray's errors else."""
    ray = _ray()
    learner = ray.get_actor(LEARNER, namespace=deployment)
    return ray.get(getattr(learner, method).remote(*arguments), timeout=10.0)


def _leave() -> None:
    """End this Ray actor for good."""
    ray = _ray()
    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
    time.sleep(LOST_SECONDS)  # it is killed meanwhile


def _ray() -> Any:
    return importlib.import_module("ray")


def _host() -> str:
    """Return this node's address and the beginning of its id."""
    ray = _ray()
    return f"{ray.util.get_node_ip_address()} node {ray.get_runtime_context().get_node_id()[:8]}"


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])
