"""`dppo token`: who may join a run over the network. Works on the run directory, whether its learner runs or not."""

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dppo.learner.transport.credentials import FIRST_TOKEN, JOIN_FILE, Access
from dppo.learner.transport.private_files import write_new
from dppo.learner.transport.run_keys import RunKeys
from dppo.learner.transport.token_list import Token
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import new_secret_key, public_key
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.transport.endpoints import host_and_port
from dppo.watch.run_list import check_run

KEYS = "learner.key"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class TokenNew:
    """Make a run's keys and its first token before its first start, for engines that hand out secrets."""

    directory: str
    """Directory for two files: learner.key (dppo learner --key-file) and join (dppo actor --join-file)."""
    address: str = ""
    """Host:port by which actors will reach the learner."""


@dataclass(frozen=True)
class TokenList:
    """List who may join: names, ids, states, dates. Secrets are not in it."""

    run: str
    """Run directory."""


@dataclass(frozen=True)
class TokenShow:
    """Print once more the line that the learner printed at its first start."""

    run: str
    """Run directory."""


@dataclass(frozen=True)
class TokenAdd:
    """Make a token and print its join line. The line is printed this once: only the public half is kept."""

    run: str
    """Run directory."""
    name: str
    """Who or what it is for."""
    expires: str = ""
    """How long it is good for, for example 7d, 12h or 30m; empty: for ever."""
    address: str = ""
    """Host:port for the line; empty: where the learner was last to be reached."""


@dataclass(frozen=True)
class TokenRotate:
    """Give a token a new secret and print its join line; the old one is good for a while yet."""

    run: str
    """Run directory."""
    name: str = FIRST_TOKEN
    """Which."""
    keep: str = "1d"
    """How long the old secret is good for yet; 0s: not at all."""
    expires: str = ""
    """How long the new one is good for; empty: as long as the old one was made for."""
    address: str = ""
    """Host:port for the line; empty: where the learner was last to be reached."""


@dataclass(frozen=True)
class TokenRevoke:
    """End a token. A running learner disconnects the peers that came by it."""

    run: str
    """Run directory."""
    name: str
    """Name (all of its secrets), or id."""


ARGUMENTS: dict[str, Any] = {
    "new": TokenNew,
    "list": TokenList,
    "show": TokenShow,
    "add": TokenAdd,
    "rotate": TokenRotate,
    "revoke": TokenRevoke,
}


def new(chosen: TokenNew) -> int:
    """Write both files, and print their names."""
    if not chosen.address:
        raise UsageError("address is missing: give --address HOST:PORT, by which actors will reach the learner")
    keys = RunKeys.new(_with_port(chosen.address))
    folder = Path(chosen.directory)
    files = {folder / KEYS: str(keys), folder / JOIN_FILE: str(keys.join_line())}
    there = next((path for path in files if os.path.lexists(path)), None)
    if there is not None:
        raise UsageError(f"{there} is there already, and is never overwritten: choose another directory")
    made = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in files.items():
            write_new(path, f"{text}\n".encode())
            made.append(path)
    except OSError as error:
        for path in made:
            path.unlink()
        raise UsageError(f"{folder} cannot be used: {error.strerror or error}") from None
    print(f"{folder / KEYS}  a secret of the learner: dppo learner --bind tcp://... --key-file {folder / KEYS}")
    print(f"{folder / JOIN_FILE}  a secret of its actors: dppo actor --join-file {folder / JOIN_FILE}")
    return 0


def list(chosen: TokenList) -> int:
    """Print a table."""
    now = time.time()
    tokens = _kept(chosen.run).book().tokens
    rows = [("name", "id", "state", "made", "expires"), *(_row(token, now) for token in tokens)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def show(chosen: TokenShow) -> int:
    """Print the first token's line."""
    access = _kept(chosen.run)
    line = access.first_line()
    if line is None:
        raise UsageError(f"{chosen.run} keeps no line (its learner was never started?): see dppo token add")
    verdict = access.book().verdict(public_key(line.secret), time.time())
    reason = getattr(verdict, "reason", "")
    if reason:
        raise UsageError(f"{reason}: `dppo token add` makes another one")
    _print(line)
    return 0


def add(chosen: TokenAdd) -> int:
    """Make a token and print its line."""
    access, secret, lifetime = _access(chosen.run), new_secret_key(), _seconds("expires", chosen.expires)
    line = access.line(secret, _address(access, chosen.address))
    access.change(lambda book: book.add(chosen.name, public_key(secret), time.time(), lifetime))
    _print(line)
    return 0


def rotate(chosen: TokenRotate) -> int:
    """Give a token a new secret and print its line."""
    access, secret, lifetime = _access(chosen.run), new_secret_key(), _seconds("expires", chosen.expires)
    keep = _seconds("keep", chosen.keep) or 0
    line = access.line(secret, _address(access, chosen.address))
    access.change(
        lambda book: book.rotate(
            chosen.name, public_key(secret), time.time(), keep_seconds=keep, lifetime_seconds=lifetime
        ),
        first_secret=secret if chosen.name == FIRST_TOKEN else b"",
    )
    _print(line)
    return 0


def revoke(chosen: TokenRevoke) -> int:
    """End a token."""
    now = time.time()
    access = _access(chosen.run)
    before = len(access.book().valid(now))
    left = len(access.change(lambda book: book.revoke(chosen.name, now)).valid(now))
    print(f"revoked {before - left}; {left} valid")
    return 0


def _access(run: str) -> Access:
    if not check_run(run).is_dir():
        raise UsageError(f"{run} is a file: give a run directory such as runs/CartPole-v1")
    return Access.open(Path(run), time.time())


def _kept(run: str) -> Access:
    """Return what there is already: commands that only look make no keys."""
    if check_run(run).is_dir() and not Access.is_kept(Path(run)):
        raise UsageError(
            f"{run} has no tokens: no learner has listened on tcp for it. "
            f"`dppo learner --bind tcp://...` makes them, or `dppo token add {run} NAME --address HOST:PORT`"
        )
    return _access(run)


def _address(access: Access, given: str) -> str:
    address = given or access.address()
    if not address:
        raise UsageError("the learner has never been started, so its address is unknown: give --address HOST:PORT")
    return _with_port(address)


def _with_port(address: str) -> str:
    if not host_and_port(f"tcp://{address}")[1]:
        raise UsageError(f"address={address} has no port: give HOST:PORT")
    return address


def _print(line: JoinLine) -> None:
    print(f"dppo actor --join {line}")


def _seconds(name: str, text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if match is None:
        raise UsageError(f"{name}={text!r} is no time: write for example 90s, 30m, 12h, 7d or 4w")
    return int(match[1]) * _UNITS[match[2]]


def _row(token: Token, now: float) -> tuple[str, ...]:
    expires = "never" if token.expires is None else _date(token.expires)
    return token.name, token.id, token.why_not(now) or "valid", _date(token.created), expires


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
