"""Look at hosts before actors are placed on them, and install dppo there. Knows ssh; places nothing."""

import asyncio
import shlex
from pathlib import Path

import asyncssh
import msgspec

from dppo.deploy.config import Host
from dppo.deploy.ssh_actors import Hosts, command_of, connect, reason_of
from dppo.deploy.tools import last_line
from dppo.protocol.errors import UsageError
from dppo.settings.help_pages import version_text

FOLDER = ".dppo"  # in the user's home on a host
INSTALL_SECONDS = 900.0


async def check_hosts(listed: bytes, wheel: str) -> None:
    """Raise UsageError for the first host that cannot be reached or lacks dppo. wheel: to install first; "": none."""
    hosts = msgspec.json.decode(listed, type=Hosts)
    found = await asyncio.gather(*(_problem(host, hosts, wheel) for host in hosts.hosts))
    problems = [problem for problem in found if problem]
    if problems:
        more = f" (and {len(problems) - 1} more hosts)" if len(problems) > 1 else ""
        raise UsageError(f"{problems[0]}{more}")


async def _problem(host: Host, hosts: Hosts, wheel: str) -> str:
    try:
        async with connect(host, hosts.ssh_config) as connection:
            if wheel and (problem := await _install(connection, Path(wheel))):
                return f"host {host.name}: dppo cannot be installed: {problem}"
            done = await connection.run(command_of(hosts, "dppo", "--version"), check=False)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        return f"host {host.name} cannot be reached: {reason_of(error)}"
    said = str(done.stdout).strip()
    if done.exit_status != 0:
        words = last_line(str(done.stderr)) or f"exit code {done.exit_status}"
        return f"host {host.name} has no dppo at {hosts.python} ({words}): give --deploy.python or --deploy.install"
    if said != version_text():
        return f"host {host.name} has {said}, and this is {version_text()}: install the same on both"
    return ""


async def _install(connection: asyncssh.SSHClientConnection, wheel: Path) -> str:
    """Copy the wheel and install it in an environment of its own; returns what went wrong."""
    await connection.run(f"mkdir -p -m 700 {FOLDER}", check=True)
    there = shlex.quote(f"{FOLDER}/{wheel.name}")
    await connection.run(f"cat >{there}", input=wheel.read_bytes(), encoding=None, check=True)  # without scp and sftp
    python = f"{FOLDER}/venv/bin/python"
    install = f"{python} -m pip install --quiet --disable-pip-version-check"
    command = (
        f"{{ [ -x {python} ] || python3 -m venv {FOLDER}/venv; }} && "
        f"{install} {there} && {install} --force-reinstall --no-deps {there}"
    )
    done = await asyncio.wait_for(connection.run(command, check=False), INSTALL_SECONDS)
    return "" if done.exit_status == 0 else last_line(str(done.stderr)) or f"exit code {done.exit_status}"
