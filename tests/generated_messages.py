"""Messages of every kind: strategies that generate them, and a few samples."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from dppo.protocol.messages import (
    MAX_COUNT,
    Ack,
    Bye,
    EnvFault,
    EnvSettings,
    Have,
    Hello,
    Message,
    Nack,
    Ping,
    Policy,
    Pong,
    Redirect,
    Reject,
    RelayHello,
    RelayWelcome,
    Rollout,
    Stop,
    Stopped,
    Tally,
    TimeShares,
    Welcome,
    Who,
)
from dppo.protocol.specs import Leaf, Spec
from dppo.protocol.texts import printable

SMALL = settings(derandomize=True, deadline=None, max_examples=60)

counts = st.integers(0, MAX_COUNT)
seconds = st.floats(0, 1e9)
names = st.from_regex(r"[A-Za-z0-9_.:@-]{1,128}", fullmatch=True)


def texts(size: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=size).map(printable)  # of others: tests/test_texts.py


tallies = st.builds(Tally, *[counts] * 6)
boxes = st.builds(
    Leaf,
    name=st.sampled_from(["action", "arm", "gripper"]),
    dtype=st.sampled_from(["<f4", "<f8"]),
    shape=st.sampled_from([(), (1,), (3,), (2, 2)]),
    kind=st.just("box"),
)
choices = st.builds(
    Leaf,
    name=st.sampled_from(["action", "choice"]),
    dtype=st.just("<i8"),
    shape=st.just(()),
    kind=st.just("discrete"),
    categories=st.integers(1, 1000),
    start=st.integers(-5, 5),
)
specs = st.builds(
    Spec,
    observation=st.tuples(st.just(Leaf("observation", "<f4", (4,), "box"))),
    action=st.tuples(boxes | choices),
)

FROM_ACTOR: dict[type, st.SearchStrategy[Any]] = {
    Hello: st.builds(
        Hello,
        protocol_min=counts,
        protocol_max=counts,
        release=texts(64),
        actor=names,
        incarnation=st.binary(min_size=8, max_size=8),
        envs=counts,
        tally=tallies,
        run_id=texts(64),
        term=counts,
        version=counts,
        spec_hash=st.binary(max_size=16),
        spec=st.none() | specs,
        stays=st.booleans(),
    ),
    Have: st.builds(Have, counts, counts, seconds),
    Rollout: st.builds(Rollout, st.integers(1, MAX_COUNT), *[counts] * 7),
    Stopped: st.builds(Stopped, counts, counts, tallies, seconds),
    Ping: st.builds(Ping, st.floats(allow_nan=False), tallies, st.builds(TimeShares, *[seconds] * 4)),
    EnvFault: st.builds(EnvFault, st.binary(min_size=8, max_size=8), st.sampled_from(["stuck", "crashed"]), texts(512)),
    Bye: st.builds(Bye, texts(512), tallies),
    RelayHello: st.builds(RelayHello, counts, counts, texts(64), names),
}
FROM_LEARNER: dict[type, st.SearchStrategy[Any]] = {
    Welcome: st.builds(
        Welcome,
        protocol=counts,
        run_id=texts(64),
        term=counts,
        env=st.builds(
            EnvSettings,
            texts(256).filter(bool),
            texts(500),
            st.sampled_from(["auto", "sync", "async", "native"]),
            seconds,
        ),
        envs=counts,
        first_slot=counts,
        seed=counts,
        life=counts,
        watermark=counts,
        credit=counts,
        lease_seconds=seconds,
        heartbeat_seconds=seconds,
        on_stop=st.sampled_from(["keep", "drop"]),
    ),
    Reject: st.builds(
        Reject,
        st.sampled_from(["protocol", "spec", "run", "superseded", "full", "envs"]),
        texts(512),
        st.booleans(),
        seconds,
    ),
    Redirect: st.builds(Redirect, texts(256).filter(bool), st.sampled_from([b"", bytes(range(32))])),
    Policy: st.builds(Policy, counts, counts, st.binary(min_size=16, max_size=16), st.integers(1, 2**24)),
    Ack: st.builds(Ack, counts, counts),
    Nack: st.builds(Nack, counts, texts(64)),
    Stop: st.builds(Stop, counts, counts, seconds),
    Pong: st.builds(Pong, st.floats(allow_nan=False)),
    Who: st.just(Who()),
    RelayWelcome: st.builds(RelayWelcome, counts, texts(64), counts, counts, seconds, seconds, counts),
    Bye: st.builds(Bye, texts(512), tallies),
}
HELLO = Hello(
    1, 1, "0.1", "host-1", b"12345678", 2, Tally(5, 40, 4, 32, 0), "run", 1, 2, b"h" * 16,
    Spec((Leaf("observation", "<f4", (4,), "box"),), (Leaf("action", "<i8", (), "discrete", categories=2),)),
)  # fmt: skip
SAMPLES: list[Message] = [
    HELLO,
    Have(1, 2, 0.5),
    Rollout(1, 1, 2, 3, 4, 0, 0, 12),
    Stopped(1, 2, Tally(), 0.5),
    Ping(1.5, Tally(), TimeShares()),
    Bye("enough"),
]
