"""A peer that fetches the policy over and over, on real sockets with keys: bounded bytes, and an actor trains on."""

import os
import time
from pathlib import Path

import pytest

from dppo.learner.session.policy_fetches import BYTES_PER_SECOND, LEAST_POLICIES
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_learner, encode
from dppo.protocol.messages import Hello, Policy, Tally
from dppo.protocol.security.curve import ClientSecurity
from dppo.protocol.security.join_line import JoinLine
from dppo.protocol.specs import spec_hash
from dppo.protocol.transport.dealer import Dealer
from scripts.chaos.load_generator import SPEC
from scripts.chaos.load_processes import LoadLearner, simulated_actors
from scripts.ports import free_port

pytestmark = pytest.mark.slow

POLICY_BYTES = 2**20
SECONDS = 8.0
ANSWER_SECONDS = 2.0  # that the peer waits for a policy before it connects again


def fetch_over_and_over(line: JoinLine, seconds: float) -> tuple[int, int]:
    """Return the policies and the bytes received on new connections, each closed once it has a whole policy."""
    dealer = Dealer(line.endpoint, ClientSecurity(line.server_key, line.secret))
    policies = received = lives = 0
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            lives += 1
            hello = Hello(
                PROTOCOL_VERSION, PROTOCOL_VERSION, "fetcher", f"fetcher-{lives}", os.urandom(8), 1, Tally(),
                spec_hash=spec_hash(SPEC), spec=SPEC,
            )  # fmt: skip
            has_said = has_all = False
            until = min(end, time.monotonic() + ANSWER_SECONDS)
            while not has_all and time.monotonic() < until:
                list(dealer.events())
                has_said = has_said or dealer.send(encode(hello))
                dealer.wait(0.01)
                for header, blob in dealer.read():
                    received += len(header) + (len(blob) if blob is not None else 0)
                    has_all |= isinstance(decode_from_learner(header, blob is not None), Policy)
            policies += has_all
            dealer.reconnect()
    finally:
        dealer.close()
    return policies, received


def test_a_peer_that_fetches_over_and_over_gets_bounded_bytes_and_an_actor_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # scripts/ is not installed
    options = ("--policy-bytes", str(POLICY_BYTES), "--batch-steps", "100")
    learner = LoadLearner(f"tcp://127.0.0.1:{free_port()}", tmp_path, *options)
    try:
        assert learner.until(lambda figures: True) is not None
        with simulated_actors(tmp_path / "join", 0, 1, 1):
            assert learner.until(lambda figures: figures["version"] > 3) is not None
            begun_at, before = time.monotonic(), learner.figures[-1]
            policies, received = fetch_over_and_over(JoinLine.parse((tmp_path / "join").read_text()), SECONDS)
            seconds, after = time.monotonic() - begun_at, learner.figures[-1]
    finally:
        learner.end()
    print(
        f"{policies} policies, {received / 2**20:.0f} MiB in {seconds:.1f} s; versions {before['version']} to "
        f"{after['version']}, steps {before['accepted']} to {after['accepted']}"
    )
    assert policies >= LEAST_POLICIES, "the test does not reach the bound"
    assert received <= 1.1 * (LEAST_POLICIES * POLICY_BYTES + BYTES_PER_SECOND * seconds)
    assert after["version"] >= before["version"] + 5, "the actor is held up"
