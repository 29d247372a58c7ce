"""Actors on hosts that are reached by ssh: a guest process on each (guest.py), which this side keeps wishing.

Runs asyncssh in a thread of its own. A host whose connection is lost gets no actors until it answers again: theirs are
placed on the others, and those that it still has end by themselves. Host keys are always checked.
"""

import asyncio
import json
import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import msgspec

from dppo.deploy.config import Host
from dppo.deploy.engine import Process
from dppo.deploy.placement import divided, placed
from dppo.protocol.texts import printable

WISH_SECONDS = 0.5  # the guest ends its actors after 10 s of silence
KEEPALIVE_SECONDS = 2
CONNECT_SECONDS = 10
AGAIN_SECONDS = 3.0
END_SECONDS = 20.0  # for a guest's actors to end
MAX_NOTE = 200


class Hosts(msgspec.Struct, frozen=True):
    """Contents of hosts.json."""

    name: str  # of the deployment
    hosts: list[Host]
    python: str
    ssh_config: str
    directory: str


@dataclass
class _Station:
    """One host as it is seen from here."""

    host: Host
    is_up: bool = False
    shares: list[int] = field(default_factory=list)  # actors that it is to have, by the learner that they join
    note: str = "not reached yet"
    processes: list[Process] = field(default_factory=list)


class SshActors:
    """Actors on several hosts."""

    def __init__(self, hosts: Hosts, joins: Sequence[Path]) -> None:
        """joins: files with the join line of each learner, read once all of them listen."""
        self._hosts = hosts
        self._joins = joins
        self._stations = [_Station(host) for host in hosts.hosts]
        self._thread: threading.Thread | None = None
        self._wanted = 0
        self._is_farewell = False
        self._closing = threading.Event()

    def want(self, count: int) -> None:
        """Have so many from now on, on the hosts that can be reached."""
        self._wanted = count
        if self._thread is None:
            self._thread = threading.Thread(target=lambda: asyncio.run(self._serve_all()), name="ssh", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """Place the actors anew where a host has come or gone."""
        up = {station.host.name: station.host.slots for station in self._stations if station.is_up}
        shares = divided(placed(self._wanted, up), len(self._joins))
        for station in self._stations:
            station.shares = shares.get(station.host.name, [])

    def all_ended(self) -> bool:
        """Whether all have ended by themselves; none is started again."""
        self._is_farewell = True
        return all(process.state != "running" for station in self._stations for process in station.processes)

    def processes(self) -> Sequence[Process]:
        """Return the actors with their hosts, and a line for each host that cannot be reached."""
        found = [process for station in self._stations if station.is_up for process in station.processes]
        down = [station for station in self._stations if not station.is_up]
        return [*found, *(Process("host", "waiting", station.host.name, note=station.note) for station in down)]

    def end(self) -> None:
        """End the guests with their actors."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(END_SECONDS + CONNECT_SECONDS)

    async def _serve_all(self) -> None:
        await asyncio.gather(*(self._serve(station) for station in self._stations))

    async def _serve(self, station: _Station) -> None:
        while not self._closing.is_set():
            try:
                async with connect(station.host, self._hosts.ssh_config) as connection:
                    await self._have_guest(station, connection)
            except (OSError, asyncssh.Error, TimeoutError) as error:
                station.note = reason_of(error)
            station.is_up, station.processes = False, []
            for _ in range(int(AGAIN_SECONDS / WISH_SECONDS)):
                if not self._closing.is_set():
                    await asyncio.sleep(WISH_SECONDS)

    async def _have_guest(self, station: _Station, connection: asyncssh.SSHClientConnection) -> None:
        guest = await connection.create_process(command_of(self._hosts, "dppo.deploy.guest"))
        joins = [join.read_text().strip() for join in self._joins]
        first = {"name": self._hosts.name, "prefix": f"{station.host.label}.", "joins": joins}
        guest.stdin.write(json.dumps(first) + "\n")
        reader = asyncio.create_task(_read(station, guest))
        station.is_up, station.note = True, ""
        while not self._closing.is_set() and not reader.done():
            guest.stdin.write(json.dumps({"actors": station.shares, "farewell": self._is_farewell}) + "\n")
            await asyncio.wait([reader], timeout=WISH_SECONDS)
        if self._closing.is_set():
            guest.stdin.write_eof()  # it ends, and then its output does
            await asyncio.wait([reader], timeout=END_SECONDS)
        if not reader.done():
            reader.cancel()
            return
        await reader  # raises where the connection was lost
        words = (await guest.stderr.read()).strip().splitlines()
        station.note = printable(words[-1])[:MAX_NOTE] if words else "its guest has ended"


async def _read(station: _Station, guest: "asyncssh.SSHClientProcess[str]") -> None:
    """Take over the guest's reports until it ends."""
    async for line in guest.stdout:
        if not line.endswith("\n"):  # cut off with the connection
            return
        found = msgspec.json.decode(line, type=list[Process])
        station.processes = [msgspec.structs.replace(process, host=station.host.name) for process in found]


def connect(host: Host, ssh_config: str) -> Any:
    """Return the connection, to be entered. Host keys must be known; keys and agents are those of ssh."""
    options: dict[str, Any] = {"config": [ssh_config]} if ssh_config else {}
    if host.user:
        options["username"] = host.user
    return asyncssh.connect(
        host.name,
        connect_timeout=CONNECT_SECONDS,
        keepalive_interval=KEEPALIVE_SECONDS,
        keepalive_count_max=2,
        **options,
    )


def command_of(hosts: Hosts, module: str, *arguments: str) -> str:
    """Return the command of a module on a host, for its shell."""
    start = f"cd {shlex.quote(hosts.directory)} && " if hosts.directory else ""
    return f"{start}exec {_python(hosts.python)} -P -m {module} {shlex.join(arguments)}".rstrip()


def _python(path: str) -> str:
    """Return the program, with ~ left to the host's shell."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)


def reason_of(error: BaseException) -> str:
    """Return why a host cannot be reached, in one line."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return "its host key is not known: ssh to it once, or add it to known_hosts"
    if isinstance(error, TimeoutError):
        return f"no answer in {CONNECT_SECONDS} s"
    return printable(str(error) or type(error).__name__)[:MAX_NOTE]
