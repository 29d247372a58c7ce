"""The learners of a local run: one process, or several ranks that start, train and end together. Knows no training."""

import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from dppo.learner.group.membership import FIRST_SLOT, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE
from dppo.local.child_process import ChildProcess
from dppo.local.processes import Child, end
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.launch_time import LAUNCHED_VARIABLE

LOOPBACK = "127.0.0.1"
INTERFACE = "lo" if sys.platform == "linux" else "lo0"
OTHER_GONE = 75  # exit code of a rank that lost another one (learner/group/errors.py)
NO_GROUP = {RANK: "", WORLD_SIZE: ""}  # what a launcher around us has set is not for our learner


def rank_variables(rank: int, ranks: int, first_slot: int) -> dict[str, str]:
    """Return the variables of one of several learners on this machine, as torchrun sets them; MASTER_PORT is set at
    each start.
    """
    if ranks == 1:
        return NO_GROUP
    return {
        RANK: str(rank),
        WORLD_SIZE: str(ranks),
        LOCAL_RANK: str(rank),
        MASTER_ADDR: LOOPBACK,
        FIRST_SLOT: str(first_slot),
        "GLOO_SOCKET_IFNAME": INTERFACE,
        "TORCHELASTIC_USE_AGENT_STORE": "",
    }


class LearnerGroup:
    """One learner, or several: where one dies, all are ended, and all start again."""

    def __init__(self, children: Sequence[Child]) -> None:
        """children: by rank."""
        self.children = list(children)
        self.how = ""  # it ended, for people
        self._culprit = self.children[0]

    @property
    def processes(self) -> list[ChildProcess]:
        """Return those that run, or whose end was not noticed yet."""
        return [child.process for child in self.children if child.process is not None]

    @property
    def log(self) -> Path:
        """Return the log of the one that ended the others."""
        return self._culprit.log

    @property
    def hopeless(self) -> bool:
        """Whether it died again and again before it got to work."""
        return any(child.hopeless for child in self.children)

    def last_error(self) -> str:
        """Return the last error of the one that ended the others, "" where it printed none."""
        return self._culprit.last_error()

    def start(self) -> None:
        """Start all. Raises DppoError where a log cannot be written."""
        if len(self.children) > 1:
            port = str(_free_port())
            for child in self.children:
                child.environment = {**child.environment, MASTER_PORT: port}
        for child in self.children:
            child.start()

    def died(self) -> int | None:
        """Return the exit code if the learners have ended since the last look: of the first that failed, else 0.

        Negative: to be started again. Where one has failed, the others are ended.
        """
        codes = {child.name: child.died() for child in self.children if child.process is not None}
        failed = {name: code for name, code in codes.items() if code}
        if not failed:
            return 0 if 0 in codes.values() and not self.processes else None
        end([child for child in self.children if child.process is not None], 0.0)
        for child in self.children:
            child.died()
        # a rank that lost another one names the wrong cause
        name, code = min(failed.items(), key=lambda item: (item[1] == OTHER_GONE, item[1]))
        self._culprit = next(child for child in self.children if child.name == name)
        is_one = len(self.children) == 1
        self.how = f"the learner {how_it_ended(code)}" if is_one else f"{name} {how_it_ended(code)}"
        if code == OTHER_GONE and not is_one:
            self.how = f"{name}: {self.last_error()}" if self.last_error() else self.how
            return -signal.SIGTERM
        return code

    def restart_if_due(self) -> bool:
        """Start them again once the delay is over; its launch is its own then."""
        for child in self.children:
            child.environment = {n: value for n, value in child.environment.items() if n != LAUNCHED_VARIABLE}
        if self.processes or not all(child.is_due for child in self.children):
            return False
        self.start()
        return True

    def send_signal(self, number: int) -> None:
        """Send a signal to all."""
        for process in self.processes:
            process.send_signal(number)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
