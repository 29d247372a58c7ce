"""Standing actors of a search: one set of keys for all its learners, an address for each trial that runs at a time.

The actors stay when a trial is over and join the learner of the next one. Writes keys and join lines; starts nothing.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from dppo.learner.transport.listener import Listening, advertised, check_address
from dppo.learner.transport.private_files import write_new
from dppo.learner.transport.run_keys import RunKeys
from dppo.protocol.errors import UsageError
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.transport.endpoints import host_and_port
from dppo.settings.tune_arguments import TuneConfig

ACCESS = "access"  # folder of the search, for its owner only
KEYS = "learner.key"
STAY_SECONDS = 600  # that actors wait for the next learner: a search that has ended leaves none behind


@dataclass(frozen=True)
class Place:
    """Address at which the learners of one trial after the other listen."""

    bind: str
    key_file: Path
    join_file: Path

    @property
    def arguments(self) -> list[str]:
        """Flags of `dppo learner`."""
        return ["--bind", self.bind, "--key-file", str(self.key_file)]

    @property
    def command(self) -> str:
        """Return the command that starts actors on a host that sees the folder of the search."""
        return f"dppo actor --join-file {self.join_file} --count auto --stay-seconds {STAY_SECONDS}"


def places(config: TuneConfig, folder: Path) -> tuple[Place, ...]:
    """Return a place for each trial that runs at a time, with keys and join lines in `folder`; none without `bind`.

    A search that goes on keeps its keys, so that actors that still wait are taken. Raises UsageError where an address
    or the folder cannot be used.
    """
    if not config.bind:
        return ()
    _, first = host_and_port(config.bind)
    host = config.bind.rpartition(":")[0]  # with tcp:// and, of IPv6, brackets
    if config.advertise and host_and_port(f"tcp://{config.advertise}")[1]:
        raise UsageError(f"advertise={config.advertise} is to be a host alone: the port is that of bind")
    if not first or first + config.jobs > 65_536:
        raise UsageError(f"bind={config.bind} and jobs={config.jobs} need ports from 1 to 65535")
    try:
        ipaddress.ip_address(host.removeprefix("tcp://").strip("[]"))
    except ValueError:
        raise UsageError(f"bind={config.bind} needs an address in numbers: choose tcp://0.0.0.0:{first}") from None
    binds = [f"{host}:{first + job}" for job in range(config.jobs)]
    for bind in binds:
        check_address(Listening(bind))
    access = folder / ACCESS
    access.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file = access / KEYS
    if not key_file.exists():
        write_new(key_file, f"{RunKeys.new(advertised(config.advertise, binds[0]))}\n".encode())
    keys, found = RunKeys.read(key_file), []
    line = keys.join_line()
    for job, bind in enumerate(binds):
        address = advertised(config.advertise, bind)
        join_file = access / (f"join-{job}" if config.jobs > 1 else "join")
        join_file.unlink(missing_ok=True)  # of another address
        write_new(join_file, f"{JoinLine(line.server_key, line.token_id, line.secret, address)}\n".encode())
        found.append(Place(bind, key_file, join_file))
    return tuple(found)


def invitation(places: tuple[Place, ...], *, shows_secrets: bool) -> list[str]:
    """Return lines on how actors join, for a terminal with the secret itself."""
    lines = [
        f"each trial's learner listens on {places[0].bind}{' and the ports after it' if places[1:] else ''}; start"
    ]
    lines[0] += " actors on any host, once:"
    for place in places:
        line = place.join_file.read_text(encoding="utf-8").strip()
        shown = (
            f"dppo actor --join {line} --count auto --stay-seconds {STAY_SECONDS}" if shows_secrets else place.command
        )
        lines.append(f"  {shown}")
    return [*lines, f"they wait {STAY_SECONDS // 60} minutes for the next trial, then end; Ctrl-C ends them at once"]
