"""Hosts that real sshd serves: network namespaces of this machine, made by a script that is not of this repository.

`.ci/run` runs it where it is there, and tells its place: `SSH_HOSTS_TOOL` is the script, `SSH_HOSTS_STATE` the folder
with its ssh_config. The hosts share this machine's files, users and process ids; each has an address and a host name.
"""

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

TOOL_VARIABLE, STATE_VARIABLE = "SSH_HOSTS_TOOL", "SSH_HOSTS_STATE"


class RealHosts:
    """The hosts. Raises pytest's Skip where there are none."""

    def __init__(self) -> None:
        tool, state = os.environ.get(TOOL_VARIABLE), os.environ.get(STATE_VARIABLE)
        if not tool or not state:
            pytest.skip(f"needs hosts reached by ssh, which .ci/run brings up ({TOOL_VARIABLE} is not set)")
        self._tool = tool
        self.ssh_config = Path(state) / "ssh_config"
        self._addresses = dict(re.findall(r"^(\S+) address=(\S+)", (Path(state) / "hosts").read_text(), re.MULTILINE))
        self._cut: set[str] = set()

    @property
    def names(self) -> list[str]:
        return list(self._addresses)

    @property
    def our_address(self) -> str:
        """Address by which the hosts reach this machine."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
            probe.connect((next(iter(self._addresses.values())), 9))
            return str(probe.getsockname()[0])

    def shell(self, host: str) -> tuple[str, ...]:
        """Command that gives its last word to the host's shell."""
        return ("ssh", "-F", str(self.ssh_config), host)

    def cut(self, host: str) -> None:
        """Take the host's network away; neither side is notified."""
        self._cut.add(host)
        self._call("cut", host)

    def heal(self, host: str) -> None:
        """Give it back."""
        self._call("heal", host)
        self._cut.discard(host)

    def processes(self, host: str) -> list[psutil.Process]:
        """Return the host's processes of ours: all that have to do with dppo, also those that ssh has started."""
        return [process for process in self._all(host) if "dppo" in _words(process)]

    def close(self) -> None:
        """Heal what is cut, and end what was left."""
        for host in list(self._cut):
            self.heal(host)
        for host in self.names:
            for process in self.processes(host):
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def _all(self, host: str) -> Iterator[psutil.Process]:
        done = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, timeout=20, check=True)
        for pid in done.stdout.split():
            with contextlib.suppress(psutil.Error):
                yield psutil.Process(int(pid))

    def _call(self, *arguments: str) -> None:
        subprocess.run(["bash", self._tool, *arguments], capture_output=True, timeout=20, check=True)


def _words(process: psutil.Process) -> str:
    try:
        return "" if process.name().startswith("sshd") else " ".join(process.cmdline())
    except psutil.Error:
        return ""
