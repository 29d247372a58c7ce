"""What an actor says when it ends by itself: on its learner's screen, and on its own."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation import Simulation, learner_of, running

from dppo.actor.console_lines import LINE_SECONDS, PolicyLines
from dppo.actor.leave_reasons import reason_for_learner
from dppo.learner.session.records import Note, PeerKey
from dppo.protocol.codec import decode_from_actor, encode
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import EnvFault
from dppo.protocol.texts import MAX_TEXT


def notes_of(world: Simulation, trouble: EnvFault) -> list[str]:
    arrived = decode_from_actor(encode(trouble), has_blob=False)
    actions = learner_of(world).receive(PeerKey(b"any connection"), arrived, None, world.now)
    return [action.text for action in actions if isinstance(action, Note)]


def test_an_actor_that_leaves_is_named_with_its_reason_and_not_called_lost_too(world: Simulation) -> None:
    leaves, other = running(world, "h2/3".replace("/", ":"), "b")
    why = EnvFault(leaves.incarnation, "left", "cannot import 'my_robot' there")
    assert notes_of(world, why) == ["h2:3 left: cannot import 'my_robot' there"]
    assert notes_of(world, why) == []
    assert leaves.connection is not None
    actions = learner_of(world).unreachable(leaves.connection.id, world.now)
    assert [action for action in actions if isinstance(action, Note)] == []
    assert other.connection is not None
    (lost,) = [a.text for a in learner_of(world).unreachable(other.connection.id, world.now) if isinstance(a, Note)]
    assert lost == "b is gone (connection lost)"


def test_the_reason_reads_well_on_another_machine() -> None:
    error = UsageError("cannot import 'my_robot': No module named 'my_robot'. Is it installed here, or\nelsewhere?")
    assert reason_for_learner(error).endswith("Is it installed there, or elsewhere?")
    try:
        raise KeyError("x")
    except KeyError as error:
        text = reason_for_learner(error)
    assert text.startswith("KeyError: 'x' (test_messages_actors.py:")


@given(st.text(max_size=2000))
def test_any_reason_fits_into_a_message(text: str) -> None:
    for error in (UsageError(text), ValueError(text)):
        why = reason_for_learner(error)
        assert len(why) <= MAX_TEXT
        decode_from_actor(encode(EnvFault(b"12345678", "left", why)), has_blob=False)


def test_an_actor_speaks_of_its_policies_now_and_then() -> None:
    lines = PolicyLines()
    assert lines.loaded(term=1, version=1, steps=0, now=5.0) == "running under policy 1"
    assert lines.loaded(term=1, version=2, steps=100, now=6.0) == ""
    assert lines.loaded(term=1, version=90, steps=12345, now=5.0 + LINE_SECONDS) == (
        "running under policy 90; 12,345 steps so far"
    )
    assert lines.loaded(term=1, version=91, steps=12400, now=6.0 + LINE_SECONDS) == ""
    assert lines.loaded(term=2, version=92, steps=12400, now=7.0 + LINE_SECONDS) == "running under policy 92"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "dppo.cli", *words]


@pytest.mark.slow
def test_a_learner_shows_why_an_actor_on_another_machine_cannot_start(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    endpoint = f"ipc://{tmp_path}/learner"
    log = (tmp_path / "learner.log").open("w+")
    learner = subprocess.Popen(
        command(
            "learner", "--env", "no_such_robot:Reach-v0", "--bind", endpoint, "--run.directory", str(tmp_path / "run")
        ),
        stdout=log,
        stderr=log,
        cwd=root,
    )
    try:
        actor = subprocess.run(
            command("actor", "--learner", endpoint, "--name", "h2"),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=root,
            check=False,
        )
        assert actor.returncode == 2
        assert "joined the learner: making 8 x no_such_robot:Reach-v0" in actor.stderr
        assert "cannot import 'no_such_robot'" in actor.stderr.splitlines()[-1]
        deadline = time.monotonic() + 10
        while "h2 left: cannot import 'no_such_robot'" not in (tmp_path / "learner.log").read_text():
            assert time.monotonic() < deadline, (tmp_path / "learner.log").read_text()
            time.sleep(0.1)
        assert "Is it installed there" in (tmp_path / "learner.log").read_text()
    finally:
        learner.terminate()
        learner.wait(30)
        log.close()


def test_a_learner_that_wants_other_environments_is_answered_with_the_difference() -> None:
    from dppo.actor.session.actions import MakeEnvironments
    from dppo.protocol.messages import EnvSettings, Welcome

    made = MakeEnvironments(EnvSettings("CartPole-v1", '{"a": 1}'), 8, seed=1, first_slot=0, life=0)

    def change(envs: int, *settings: object) -> str:
        values = dict.fromkeys(Welcome.__struct_fields__, 0) | {"env": EnvSettings(*settings), "envs": envs}
        refusal = made.refusal(Welcome(**values))
        return refusal.removeprefix("the learner now wants ").removesuffix(": start a new actor for it")

    assert change(8, "CartPole-v1", '{"a": 2}') == 'env.kwargs {"a": 2} (here {"a": 1})'
    assert change(4, "Other-v0", '{"a": 1}') == "environments 4 (here 8), env.id Other-v0 (here CartPole-v1)"
    assert change(8, "CartPole-v1", '{"a": 1}', "async") == "env.vectorization async (here auto)"
    assert change(8, "CartPole-v1", '{"a": 1}', "auto", 5.0) == ""
