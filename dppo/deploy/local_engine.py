"""Engine local: learners and actors on this machine, detached, under a supervisor process (supervisor.py).

Wishes go to the supervisor by deploy.json, which it looks at; SIGTERM ends it with all that it has started.
"""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from dppo.deploy.engine import Deployment, Plan, Rendered, Report
from dppo.deploy.records import write_deployment
from dppo.deploy.supervised import LOCK, SETTINGS, STATUS, read_status
from dppo.learner.transport.listener import Listening, check_address
from dppo.local.log_files import made_logs
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.interpreter import SAFE_PATH

START_SECONDS = 90.0  # for the learner to listen: PyTorch may come from a slow disk
END_SECONDS = 60.0  # for a learner's update and its checkpoint
LOOK_SECONDS = 0.05
TRIES = 20
SUPERVISOR_LOG = "supervisor.log"


def render(plan: Plan) -> Rendered:
    """Return the learner's settings and the supervisor's command."""
    return Rendered({SETTINGS: plan.settings}, [supervisor_command(plan.run)])


def submit(plan: Plan, rendered: Rendered) -> Deployment:
    """Start the supervisor; return once the learner listens."""
    bind = plan.bind or f"tcp://127.0.0.1:{_free_port(plan.learners)}"
    deployment = Deployment(
        engine="local",
        name=plan.name,
        run=str(plan.run),
        actors=plan.actors,
        learners=plan.learners,
        submitted=time.time(),
        handle={"bind": bind, "advertise": plan.advertise},
    )
    start_supervisor(plan, rendered, deployment)
    return deployment


def start_supervisor(plan: Plan, rendered: Rendered, deployment: Deployment) -> None:
    """Start it detached; return once the learner listens. Raises DppoError where it cannot, with all of it ended."""
    check_address(Listening(deployment.handle["bind"]))
    write_deployment(deployment)
    (plan.folder / STATUS).unlink(missing_ok=True)
    logs = made_logs(plan.run)
    with (logs / SUPERVISOR_LOG).open("ab") as log:
        process = subprocess.Popen(
            rendered.commands[0],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for_learner(plan.folder, process)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        process.wait()
        raise


def status(deployment: Deployment) -> Report:
    """Return what the supervisor has noted."""
    noted = read_status(deployment.folder)
    if _is_supervised(deployment.folder):
        return Report(noted.processes)
    over = noted.over or "its supervisor was killed, and learner and actors ended with it"
    ended = [msgspec.structs.replace(process, state="ended") for process in noted.processes]
    return Report(ended, over)


def scale(deployment: Deployment, actors: int) -> None:
    """Do nothing: the supervisor reads the number that the command records."""


def stop(deployment: Deployment) -> None:
    """End the supervisor, and with it the others."""
    noted = read_status(deployment.folder)
    if not _is_supervised(deployment.folder):
        return
    os.kill(noted.pid, signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while _is_supervised(deployment.folder):
        if time.monotonic() > deadline:
            raise DppoError(f"the supervisor, process {noted.pid}, has not ended after {END_SECONDS:.0f} s: kill it")
        time.sleep(LOOK_SECONDS)


def supervisor_command(run: Path) -> list[str]:
    """Return the command of a supervisor."""
    return [sys.executable, SAFE_PATH, "-m", "dppo.deploy.supervisor", str(run)]


def _free_port(count: int) -> int:
    """Return the first of so many ports in a row that are free. Raises UsageError."""
    for _ in range(TRIES):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first: int = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for port in range(first + 1, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise UsageError(f"there are no {count} free ports in a row on 127.0.0.1: give --bind")


def _wait_for_learner(folder: Path, supervisor: subprocess.Popen[bytes]) -> None:
    """Return once the learner listens. Raises DppoError where it has ended, with its last words."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = supervisor.poll() is not None
        noted = read_status(folder)
        if noted.listens:
            return
        if ended:
            log = folder.parent / "logs" / SUPERVISOR_LOG
            kind = UsageError if noted.code == UsageError.exit_code else DppoError
            raise kind(noted.over or f"the supervisor ended with code {supervisor.returncode} (log: {log})")
        time.sleep(LOOK_SECONDS)
    raise DppoError(f"the learner has not listened after {START_SECONDS:.0f} s (log: {folder.parent / 'logs'})")


def _is_supervised(folder: Path) -> bool:
    """Whether a supervisor holds the lock."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    finally:
        os.close(descriptor)
    return False
