"""A hostile peer with a valid token, as a process of its own: python -m scripts.chaos.holder JOIN_FILE KIND.

Says HELLO, HAVE and PING as an honest actor does, and otherwise: never answers STOP (silent), announces as many
environments as it may (boastful), or comes back with a new name again and again (many-named).
"""

import argparse
import os
import time
from pathlib import Path

from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from dppo.learner.config import CollectConfig
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import Have, Hello, Ping, Policy, Tally, TimeShares, Who
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.specs import spec_hash, spec_of
from dppo.protocol.transport.dealer import Dealer

KINDS = ("silent", "boastful", "many-named")
REST_SECONDS = 0.02
PING_SECONDS = 1.0
NAME_SECONDS = 0.5  # of a life under one name


class Holder:
    """One connection of the token holder."""

    def __init__(self, line: JoinLine, name: str, envs: int) -> None:
        self._dealer = Dealer(line.endpoint, ClientSecurity(line.server_key, line.secret))
        environment = CartPoleEnv()
        spec = spec_of(environment.observation_space, environment.action_space)
        self._hello = Hello(
            PROTOCOL_VERSION, PROTOCOL_VERSION, "chaos", name, os.urandom(8), envs, Tally(),
            spec_hash=spec_hash(spec), spec=spec,
        )  # fmt: skip
        self._said_hello = self._known = False
        self._ping_at = 0.0

    def turn(self, now: float) -> None:
        """HELLO once, HAVE for every policy, PING; STOP is not answered."""
        list(self._dealer.events())
        self._said_hello = self._said_hello or self._dealer.send(encode(self._hello))
        for header, blob in self._dealer.read():
            try:
                message = decode_from_learner(header, blob is not None)
            except ProtocolError:
                continue
            self._known = self._known or not isinstance(message, Who)
            if isinstance(message, Policy):
                self._dealer.send(encode(Have(message.term, message.version, 0.001)))
        if self._known and now >= self._ping_at:
            self._ping_at = now + PING_SECONDS
            self._dealer.send(encode(Ping(now, Tally(), TimeShares())))

    def close(self) -> None:
        """Hang up without a word."""
        self._dealer.close()


def main() -> None:
    """The command; ends when it is killed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos.holder")
    parser.add_argument("join_file", type=Path)
    parser.add_argument("kind", choices=KINDS)
    given = parser.parse_args()
    line = JoinLine.parse(given.join_file.read_text())
    envs = CollectConfig.max_envs_per_actor if given.kind == "boastful" else 4
    number, began = 0, time.monotonic()
    holder = Holder(line, f"{given.kind}-{number}", envs)
    while True:
        now = time.monotonic()
        if given.kind == "many-named" and now - began > NAME_SECONDS:
            holder.close()
            number, began = number + 1, now
            holder = Holder(line, f"{given.kind}-{number}", envs)
        holder.turn(now)
        time.sleep(REST_SECONDS)


if __name__ == "__main__":
    main()
