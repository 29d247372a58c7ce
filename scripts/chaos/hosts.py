"""Two hosts and a router between them, as network namespaces of this machine. Needs root, `ip` and `iptables`.

    learner's host 10.77.1.2 -- 10.77.1.1 router 10.77.2.1 -- 10.77.2.2 actors' host

The router is where the network breaks: neither host sees an interface go down, only silence, as behind a dead switch.
"""

import contextlib
import shutil
import subprocess
import uuid
from types import TracebackType
from typing import Literal, Self

from scripts.chaos.cluster import is_root
from scripts.chaos.faults import Skip

Direction = Literal["to the learner", "to the actors"]
LEARNER_ADDRESS, ACTORS_ADDRESS = "10.77.1.2", "10.77.2.2"
TOOLS = ("ip", "iptables", "sysctl")


class Hosts:
    """The namespaces, from `with` to its end. Raises Skip where they cannot be made here."""

    def __init__(self) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if not is_root() or missing:
            raise Skip(f"needs root and {', '.join(TOOLS)} (missing: {', '.join(missing) or 'root'})")
        mark = uuid.uuid4().hex[:6]
        self._learner, self._router, self._actors = (f"dppo-{mark}-{name}" for name in ("learner", "router", "actors"))
        self._links = [(f"dl{mark}", f"dr{mark}"), (f"da{mark}", f"ds{mark}")]

    @property
    def learner(self) -> tuple[str, ...]:
        """Prefix of a command that runs on the learner's host."""
        return ("ip", "netns", "exec", self._learner)

    @property
    def actors(self) -> tuple[str, ...]:
        """Prefix of a command that runs on the actors' host."""
        return ("ip", "netns", "exec", self._actors)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException as error:
            self._remove()
            if isinstance(error, subprocess.CalledProcessError):
                raise Skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}") from None
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def _build(self) -> None:
        for namespace in (self._learner, self._router, self._actors):
            _call("ip", "netns", "add", namespace)
            _inside(namespace, "ip", "link", "set", "lo", "up")
        hosts = ((self._learner, LEARNER_ADDRESS), (self._actors, ACTORS_ADDRESS))
        for (host, address), (ours, theirs) in zip(hosts, self._links, strict=True):
            gateway = address.removesuffix("2") + "1"
            # made in its namespaces: this machine's own network never sees the interfaces
            _inside(host, "ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self._router)
            _inside(host, "ip", "address", "add", f"{address}/24", "dev", ours)
            _inside(self._router, "ip", "address", "add", f"{gateway}/24", "dev", theirs)
            _inside(self._router, "ip", "link", "set", theirs, "up")
            _inside(host, "ip", "link", "set", ours, "up")
            _inside(host, "ip", "route", "add", "default", "via", gateway)
        self._forward(True)
        _inside(self._router, "iptables", "-S", "FORWARD")  # fails here, not in the middle, where it cannot be used

    def _remove(self) -> None:
        for namespace in (self._learner, self._router, self._actors):
            with contextlib.suppress(subprocess.CalledProcessError):
                _call("ip", "netns", "delete", namespace)

    def _forward(self, yes: bool) -> None:
        _inside(self._router, "sysctl", "-qw", f"net.ipv4.ip_forward={int(yes)}")

    def cut(self) -> None:
        """Drop all packets in both directions; neither side is notified."""
        self._forward(False)

    def cut_one_way(self, direction: Direction) -> None:
        """Drop all packets in that direction; the other one works."""
        _inside(self._router, "iptables", "-A", "FORWARD", "-d", _address(direction), "-j", "DROP")

    def reset(self) -> None:
        """Every packet that comes is answered with a reset of its connection, until `heal`."""
        reject = ("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
        _inside(self._router, "iptables", "-A", "FORWARD", *reject)

    def heal(self) -> None:
        """Forward all packets again."""
        _inside(self._router, "iptables", "-F", "FORWARD")
        self._forward(True)


def established(pid: int) -> int:
    """TCP connections that a process' host holds open. Raises OSError where the process is gone."""
    with open(f"/proc/{pid}/net/tcp") as file:
        tcp = file.read().splitlines()[1:]
    with open(f"/proc/{pid}/net/tcp6") as file:
        tcp += file.read().splitlines()[1:]
    return sum(line.split()[3] == "01" for line in tcp)


def _address(direction: Direction) -> str:
    return LEARNER_ADDRESS if direction == "to the learner" else ACTORS_ADDRESS


def _inside(namespace: str, *command: str) -> None:
    _call("ip", "netns", "exec", namespace, *command)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)
