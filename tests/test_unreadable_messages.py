"""Policies and messages that an actor cannot read: few repetitions, then it ends."""

from unittest import mock

from conversations import up
from simulation import Simulation, running

from dppo.learner.session.records import Send
from dppo.protocol.errors import ProtocolError
from dppo.protocol.messages import Hello, Policy


def test_an_unreadable_policy_is_asked_for_once_more_and_then_ends_the_actor() -> None:
    def unreadable(graph: bytes) -> None:
        raise ProtocolError("an operator is unknown here")

    with Simulation() as world, mock.patch("dppo.actor.driver.PolicyRunner", unreadable):
        actor = world.start("a")
        for _ in range(1200):
            world.exchange()
            world.train()
            world.pass_time(0.05)
        assert actor.exit is not None
        assert actor.exit.code == 1
        assert "cannot be used here: an operator is unknown here" in actor.exit.reason
        policies = [send for send in world.sent if isinstance(send, Send) and isinstance(send.message, Policy)]
        assert len(policies) == 2
        assert sum(" joined " in note for note in world.notes) == 2
        assert any(note.startswith("a left: policy 1 cannot be used here") for note in world.notes)


def test_messages_that_cannot_be_read_are_no_flood_of_hellos(world: Simulation) -> None:
    (actor,) = running(world, "a")
    hellos = 0
    for _ in range(1200):
        before = len(up(actor)) if actor.connection else 0
        if actor.exit is None and _ % 20 == 0:
            actor.driver.unreadable(ProtocolError("nonsense"))
        world.pass_time(0.05)
        hellos += sum(isinstance(message, Hello) for message in up(actor)[before:]) if actor.connection else 0
    assert hellos < 20
    assert actor.exit is not None
    assert "nonsense" in actor.exit.reason
