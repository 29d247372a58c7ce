"""The sessions with real environments and real policies between them."""

from typing import Any

import numpy as np
from counting import ID, law
from graphs import categorical_graph
from simulated_settings import GRACE_SECONDS, LEASE_SECONDS, RUN_ID

from dppo.actor.driver import ActorDriver
from dppo.actor.session.session import ActorSession
from dppo.learner.session.phases import Phase
from dppo.learner.session.records import PeerKey, Send, Settings
from dppo.learner.session.session import LearnerSession
from dppo.learner.session.slots import SlotTable
from dppo.protocol.codec import decode_from_actor, decode_from_learner, encode
from dppo.protocol.ledger import Ledger
from dppo.protocol.messages import (
    EnvSettings,
)


def test_the_driver_steps_real_environments_with_real_policies_through_many_versions() -> None:
    settings = Settings(
        run_id=RUN_ID,
        term=1,
        env=EnvSettings(ID, vectorization="sync"),
        envs_per_actor=3,
        batch_steps=50,
        segment_steps=7,
        seed=1,
        on_stop="keep",
        lease_seconds=LEASE_SECONDS,
        stop_grace_seconds=GRACE_SECONDS,
    )
    learner = LearnerSession(settings, Ledger(), SlotTable())
    now = [0.0]
    notes: list[str] = []
    actor = ActorSession(actor="a", incarnation=b"12345678", envs=0, release="test")
    driver = ActorDriver(actor, note=notes.append, clock=lambda: now[0])
    driver.connected()
    trained: list[Any] = []

    def turn() -> None:
        now[0] += 0.01
        if driver.may_step:
            driver.step()
        driver.tick()
        outgoing, driver.outgoing = driver.outgoing, []
        answers = learner.tick(now[0])
        for send in outgoing:
            message = decode_from_actor(encode(send.message), send.blob is not None)
            answers += learner.receive(PeerKey(b"peer"), message, send.blob, now[0])
        if learner.peer_table.spec is not None and learner.cycle.phase in (Phase.WAITING, Phase.UPDATING):
            trained.extend(received.segment for received in learner.cycle.batch.rollouts)
            version = learner.cycle.snapshot.version + 1
            answers += learner.publish(version, categorical_graph(np.zeros((4, 3)), version=version), now[0])
        for answer in answers:
            if isinstance(answer, Send):
                header = encode(answer.message)
                driver.handle(decode_from_learner(header, answer.blob is not None), answer.blob)

    while learner.cycle.snapshot.version < 6:
        turn()
    for action in learner.finish("enough", "shutdown", now[0]):
        if isinstance(action, Send):
            driver.handle(action.message, None)
    while learner.cycle.phase is not Phase.STOPPED:
        turn()
    learner.close_accounts()
    driver.close()
    total = learner.ledger.total()
    assert total.sealed == total.trained + total.dropped.total()
    assert total.trained == sum(segment.steps for segment in trained) >= 5 * 50
    checked = 0
    previous = trained[0].observations["observation"][0]
    for segment in trained:  # one unbroken life of every environment, across stops and versions
        observations = segment.observations["observation"]
        assert np.array_equal(observations[0], previous)
        previous = observations[-1]
        for t, column in np.argwhere(segment.valid):
            action = int(segment.actions["action"][t, column])
            expected, reward, terminated, _ = law(observations[t, column], action)
            assert segment.rewards[t, column] == reward
            assert segment.terminated[t, column] == terminated
            if not (terminated or segment.truncated[t, column]):
                assert np.array_equal(observations[t + 1, column], expected)
                checked += 1
    assert checked > 50
