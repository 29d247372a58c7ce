"""Large policies come in parts: nobody on a slow connection is silent for long, and no half policy is ever loaded."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_actor import Process
from simulation import Simulation, running

from dppo.actor.session.actions import Load, Reconnect
from dppo.actor.session.policy_parts import Parts
from dppo.protocol import snapshot
from dppo.protocol.codec import decode_from_learner
from dppo.protocol.messages import Part, Policy, TimeShares
from dppo.protocol.snapshot import MAX_PARTS, PART_BYTES, Snapshot, graph_digest


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    monkeypatch.setattr(snapshot, "PART_BYTES", 1)  # the simulation's graphs are three bytes and more
    with Simulation(batch_steps=40) as made:
        yield made


def coming(actor: Process) -> list[type]:
    assert actor.connection is not None
    return [type(decode_from_learner(header, blob is not None)) for header, blob in actor.connection.down]


@given(size=st.integers(0, 5 * PART_BYTES))
def test_parts_are_the_graph_in_order_and_none_is_large(size: int) -> None:
    graph = bytes(number % 251 for number in range(size))
    parts = Snapshot(1, 1, graph).parts
    assert b"".join(parts) == graph
    assert all(0 < len(part) <= PART_BYTES for part in parts) or parts == (b"",)


@pytest.mark.parametrize("size", [PART_BYTES, PART_BYTES * MAX_PARTS - 1, PART_BYTES * MAX_PARTS + 1, 10**8])
def test_even_of_a_huge_policy_there_are_no_more_parts_than_the_queue_takes(size: int) -> None:
    assert 1 <= len(Snapshot(1, 1, bytes(size)).parts) <= MAX_PARTS


def test_an_actor_loads_the_policy_with_its_last_part(world: Simulation) -> None:
    actor = world.start("a")
    world.exchange()
    assert world.learner is not None
    world.train()
    assert coming(actor) == [Part, Part, Policy]
    assert actor.connection is not None
    world.deliver_down(actor.connection, 2)
    assert actor.session.policy == (0, 0)
    world.deliver_down(actor.connection, 1)
    assert actor.session.policy == (1, 1)


def test_after_a_connection_that_was_lost_over_a_policy_they_come_in_smaller_parts(
    world: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PART_BYTES", 2)
    monkeypatch.setattr(snapshot, "SMALL_PART_BYTES", 1)
    slow, other = world.start("slow"), world.start("other")
    world.exchange()
    world.train()
    assert largest_part(world, slow) == largest_part(world, other) == 2
    for actor in (other, slow):  # one has read its policy when its connection ends, the other has not
        assert actor.connection is not None
        world.deliver_down(actor.connection, 2 if actor is other else 1)
        world.deliver_up(actor.connection)
        connect_again(world, actor)
    world.run_until_updates(2)
    assert (largest_part(world, slow), largest_part(world, other)) == (1, 2), "of each policy on that connection"
    connect_again(world, slow)
    world.run_until_updates(2)
    assert largest_part(world, slow) == 1, "of those on later connections, too"
    world.end()


def connect_again(world: Simulation, actor: Process) -> None:
    world.cut(actor, lose_up=False, noticed=True)
    world.attach(actor)


def largest_part(world: Simulation, actor: Process) -> int:
    """Bytes of the largest piece of a policy that was sent to the actor on the connection that it has now."""
    assert actor.connection is not None
    blobs = [send.blob for send in world.sent if send.peer == actor.connection.key and send.blob is not None]
    return max(map(len, blobs))


def test_on_a_new_connection_a_policy_begins_anew(world: Simulation) -> None:
    actor = world.start("a")
    world.exchange()
    world.train()
    assert actor.connection is not None
    world.deliver_down(actor.connection, 2)
    world.cut(actor, lose_up=False, noticed=True)
    world.attach(actor)
    world.run_until_updates(3)
    assert actor.session.policy[1] >= 3
    world.end()


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [Part(1, 2, 0)],
        [Part(1, 2, 1), Part(1, 2, 0)],
        [Part(1, 2, 0), Part(1, 3, 1)],
        [Part(1, 2, 0), Part(1, 2, 2)],
        [Part(1, 2, 0), Part(1, 2, 0)],
        [Part(1, 3, 0), Part(1, 3, 1)],
    ],
    ids=["none", "first only", "swapped", "of another", "a gap", "twice", "all of another"],
)
def test_a_policy_of_which_parts_are_missing_is_not_loaded_and_the_actor_connects_again(
    world: Simulation, parts: list[Part]
) -> None:
    (actor,) = running(world, "a")
    graph = b"1 2"
    for part in parts:
        assert actor.session.receive(part, graph[part.index : part.index + 1], world.now) == []
    actions = actor.session.receive(Policy(1, 2, graph_digest(graph), 5), graph[2:], world.now)
    assert not any(isinstance(action, Load) for action in actions)
    assert "arrived damaged; connecting again" in str(actions)
    waited = 0.0
    while not any(isinstance(action, Reconnect) for action in actions) and waited < 60.0:
        waited += 0.5
        actions = actor.session.tick(world.now + waited, TimeShares)
    assert 0.0 < waited < 60.0, "a learner is not asked again at once, nor never"


def test_every_part_counts_as_hearing_from_the_learner(world: Simulation) -> None:
    (actor,) = running(world, "a")
    for index in range(30):  # one every 5 s, which is more than the lease in all
        world.now += 5.0
        actor.session.receive(Part(1, 2, index), b"x", world.now)
        actor.driver.tick()
        assert not actor.driver.reconnect_wanted
    world.now += 11.0
    actor.driver.tick()
    assert actor.driver.reconnect_wanted


def test_what_has_come_is_forgotten_with_the_policy_that_it_was_for() -> None:
    parts = Parts()
    parts.add(Part(1, 2, 0), b"ab")
    assert parts.end((1, 2), b"c") == b"abc"
    assert parts.end((1, 2), b"c") == b"c"
