"""Hosts for tests: asyncssh's own servers on loopback, each with a home of its own, which can be cut off.

`python ssh_servers.py FOLDER` serves until its input ends; `cut h1` and `heal h1` on it do that.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncssh

HOSTS = ("h1", "h2")


class SshHost:
    """An ssh server with a home of its own; runs what it is told, as sshd does."""

    def __init__(self, folder: Path, host_key: asyncssh.SSHKey, keys: Path) -> None:
        self._folder, self._host_key, self._keys = folder, host_key, keys
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self.server: asyncssh.SSHAcceptor | None = None
        self.is_cut = False

    async def listen(self) -> int:
        host = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
                host._connections.add(connection)
                if host.is_cut:
                    connection.abort()

        self.server = await asyncssh.create_server(
            Server,
            "127.0.0.1",
            0,
            server_host_keys=[self._host_key],
            authorized_client_keys=str(self._keys),
            process_factory=self._run,
            encoding=None,  # bytes, as sshd has it
        )
        return int(self.server.get_port())

    async def _run(self, process: "asyncssh.SSHServerProcess[bytes]") -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_shell(
            process.command or "true",
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=self._folder,
            env={**os.environ, "HOME": str(self._folder)},
        )
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        process.exit(await child.wait())

    def abort_where_it_is_cut(self) -> None:
        for connection in self._connections if self.is_cut else ():
            connection.abort()


async def serve(folder: Path) -> None:
    """Make the hosts, and ssh's files for reaching them; obey until the input ends."""
    ours, theirs = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    ours.write_private_key(folder / "id")
    ours.write_public_key(folder / "authorized")
    (folder / "known_hosts").write_bytes(b"* " + theirs.export_public_key())
    hosts: dict[str, SshHost] = {}
    lines = []
    for name in HOSTS:
        (folder / name).mkdir()
        hosts[name] = SshHost(folder / name, theirs, folder / "authorized")
        lines += [f"Host {name}", "  HostName 127.0.0.1", f"  Port {await hosts[name].listen()}"]
        lines += [f"  IdentityFile {folder / 'id'}", f"  UserKnownHostsFile {folder / 'known_hosts'}"]
    (folder / "ssh_config").write_text("\n".join(lines) + "\n")
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        action, name = line.split()
        hosts[name].is_cut = action == "cut"
        hosts[name].abort_where_it_is_cut()
    os._exit(0)  # what was started ends with its pipes


class Network:
    """The process that serves the hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def cut(self, name: str) -> None:
        self._tell(f"cut {name}\n")

    def heal(self, name: str) -> None:
        self._tell(f"heal {name}\n")

    def close(self) -> None:
        self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
