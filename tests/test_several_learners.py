"""Several learners as processes: one policy, one ledger, and a group that starts again where one of them is killed."""

import contextlib
import dataclasses
import re
import signal
from collections.abc import Iterator

import psutil
import pytest
from group_threads import place as place_of
from local_runs import RUN, TOTAL_STEPS, assert_curve_has_every_update_once, assert_finished, start
from processes import SMALL, Dppo, Place, RunFiles, assert_closes, kill

from dppo.learner.config import LearnerConfig
from dppo.learner.group.errors import GroupError
from dppo.learner.group.membership import membership_in, refuse_with_several
from dppo.learner.storage.audit import audit
from dppo.protocol.errors import UsageError
from dppo.settings.commands import TrainConfig
from dppo.watch.status_file import read_status
from scripts.ports import free_port

BY_TORCHRUN = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "host", "MASTER_PORT": "29500", "LOCAL_RANK": "1"}


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


def learners(command: Dppo) -> dict[str, int]:
    """Process ids of the learners of a local run, by their RANK."""
    found = {}
    for child in psutil.Process(command.pid).children():
        if "dppo.learner" in child.cmdline():
            found[child.environ()["RANK"]] = child.pid
    return found


def assert_books_close(files: RunFiles) -> None:
    """`dppo ledger` reads checkpoint and journals of all learners, and finds what the run itself has written."""
    found = audit(files.path)
    assert found.problems == ()
    total, written = found.ledger.to_state()["total"], files.ledger()["total"]
    assert {name: total[name] for name in ("sealed", "trained", "dropped")} == {
        name: written[name] for name in ("sealed", "trained", "dropped")
    }


def assert_last_lines_are_of_all(files: RunFiles, command: Dppo) -> None:
    """Last line, status.json and `dppo watch` have the steps and actors of all learners, not those of one."""
    total = files.ledger()["total"]
    dropped = sum(total["dropped"].values())
    line = f"ledger: {total['sealed']:,} sealed = {total['trained']:,} trained + 0 pending + 0 in flight + {dropped:,}"
    assert line in command.said().rpartition("stopped |")[2]
    dated = read_status(files.path)
    assert dated is not None
    status = dated.status
    assert status.phase == "STOPPED"
    assert (status.ledger.sealed, status.ledger.trained) == (total["sealed"], total["trained"])
    assert sum(row.envs for row in status.actors) == 8


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_group_whose_learners_were_killed_goes_on_and_its_ledger_closes(place: Place) -> None:
    files, other = RunFiles(place.path / RUN), RunFiles(place.path / RUN / "ranks" / "1")
    command = start(place, "--learners", "2", total_steps=2 * TOTAL_STEPS)
    place.until(lambda: files.updates() >= 3, "the third update", during=command)
    actors = command.actors()
    for times, rank in enumerate(("1", "0"), start=1):
        pids, done = learners(command), files.updates()
        kill(pids[rank])
        place.until(lambda: command.said().count("learners are back") == times, "all start again", during=command)  # noqa: B023
        place.until(lambda: files.updates() > done + 1, "they train again", during=command)  # noqa: B023
        assert set(learners(command).values()).isdisjoint(pids.values())
    assert command.actors() == actors, "they keep their environments"
    for name in ("learner-1", "learner"):
        assert re.search(rf"{name} was killed by SIGKILL; starting all learners again", command.said())
    place.gate.touch()
    place.ends(command, code=0)
    place.leaves_nothing()
    assert not re.search(r"actor-\d is back", command.said()), "those that ended with the run"
    assert_last_lines_are_of_all(files, command)
    assert_finished(files)
    assert_curve_has_every_update_once(other)
    assert files.ledger()["total"]["sealed"] == place.counted_steps()
    assert files.summary()["ledger"] == files.ledger()["total"]
    assert_books_close(files)
    assert files.summary()["environments"] == 8
    assert (files.path / "policy.onnx").read_bytes() == (other.path / "policy.onnx").read_bytes()
    assert not list((other.path / "checkpoints").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_learners_with_the_variables_of_torchrun_train_together(place: Place) -> None:
    files, other = RunFiles(place.path / RUN), RunFiles(place.path / RUN / "ranks" / "1")
    endpoint, port = f"ipc://{place.path}/learner", str(free_port())
    settings = ("--env", "CartPole-v1", "--run.directory", RUN, "--run.total-steps", "1500")
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    commands = [
        place.start(
            "learner", *SMALL, *settings, "--bind", endpoint, "--evaluation-episodes", "0", variables={**group, **own}
        )
        for own in ({"RANK": "0", "LOCAL_RANK": "0"}, {"RANK": "1", "LOCAL_RANK": "1"})
    ]
    commands += [place.start("actor", "--learner", at, "--name", at[-4:]) for at in (endpoint, f"{endpoint}-1")]
    for command in commands:
        place.ends(command, code=0)
    place.leaves_nothing()
    assert_last_lines_are_of_all(files, commands[0])
    assert_closes(files.ledger())
    assert_books_close(files)
    assert files.ledger()["total"]["trained"] == files.summary()["steps"] >= 1500
    assert files.summary()["environments"] == 8
    assert (files.path / "policy.onnx").read_bytes() == (other.path / "policy.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_who_is_left_of_a_group_ends_by_itself_once_its_launcher_ends_it(place: Place) -> None:
    """As torchrun does where one is killed: SIGTERM for the others, which it waits for before it starts all again."""
    files = RunFiles(place.path / RUN)
    endpoint, port = f"ipc://{place.path}/learner", str(free_port())
    settings = ("--env", "CartPole-v1", "--run.directory", RUN, "--run.total-steps", "1000000", *place.gated)
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    first, second = (
        place.start(
            "learner", *SMALL, *settings, "--bind", endpoint, variables={**group, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in "01"
    )
    actors = [place.start("actor", "--learner", at, "--name", at[-4:]) for at in (endpoint, f"{endpoint}-1")]
    place.until(lambda: files.updates() >= 2, "the second update", during=first)
    kill(second.pid)
    first.process.send_signal(signal.SIGTERM)
    place.ends(first, code=GroupError.exit_code)
    assert "rank 1 gave no sign of life for 5 s: killed, or out of reach" in first.complained()
    for actor in actors:
        kill(actor.pid)
    place.leaves_nothing()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_join_line_brings_actors_to_all_learners_in_even_shares(place: Place) -> None:
    """Over tcp with keys; an actor without a supervisor that is killed is made up for by the next one that comes."""
    files = RunFiles(place.path / RUN)
    port, master = free_port(), str(free_port())
    settings = ("--run.directory", RUN, "--run.total-steps", "6000", *place.gated)
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": master}
    learners = [
        place.start(
            "learner",
            *(*SMALL, *settings, "--bind", f"tcp://127.0.0.1:{port}", "--evaluation-episodes", "0"),
            variables={**group, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    line = str(files.path / "access" / "join")  # of rank 0, the only one that people paste
    actors = [place.start("actor", "--join-file", line, "--name", f"actor-{number}") for number in range(5)]

    def at(rank: int) -> list[Dppo]:
        """Actors that have a connection to that learner, as the kernel sees it."""
        found = []
        for actor in actors:
            with contextlib.suppress(psutil.Error):
                ports = [one.raddr.port for one in psutil.Process(actor.pid).net_connections() if one.raddr]
                found += [actor] if port + rank in ports else []
        return found

    def shares() -> list[int]:
        return sorted([len(at(0)), len(at(1))])

    place.until(lambda: shares() == [2, 3] and files.updates() >= 1, "shares are even", during=learners[0])
    sent_on = at(1)
    for actor in sent_on:
        assert f"has more actors than the one at tcp://127.0.0.1:{port + 1}: joining that" in actor.complained()
    killed = sent_on[:2]
    for actor in killed:
        kill(actor.pid)
    place.until(lambda: sum(shares()) == 3, "two are gone")
    actors += [place.start("actor", "--join-file", line, "--name", f"actor-{number}") for number in (5, 6)]
    place.until(lambda: shares() == [2, 3], "those that came make up for them", during=learners[0])
    done = files.updates()
    place.until(lambda: files.updates() > done + 2, "they train", during=learners[0])
    place.gate.touch()
    for command in [*learners, *(actor for actor in actors if actor not in killed)]:
        place.ends(command, code=0)
    place.leaves_nothing()
    assert_closes(files.ledger())
    assert_books_close(files)


def test_the_place_of_a_learner_is_read_from_the_variables_of_torchrun() -> None:
    found = membership_in(BY_TORCHRUN)
    assert found is not None
    assert (found.rank, found.ranks, found.address, found.port, found.first_slot) == (1, 3, "host", 29500, 4096)
    assert not found.hosts_store
    first = membership_in({**BY_TORCHRUN, "RANK": "0"})
    assert first is not None
    assert first.hosts_store
    agent = membership_in({**BY_TORCHRUN, "RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert agent is not None
    assert not agent.hosts_store, "torchrun has the store"


ALONE = {**BY_TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


@pytest.mark.parametrize("variables", [{}, {"RANK": "", "WORLD_SIZE": ""}, ALONE])
def test_a_learner_alone_has_no_place(variables: dict[str, str]) -> None:
    assert membership_in(variables) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"MASTER_PORT": ""}, "WORLD_SIZE is set, and MASTER_PORT not"),
        ({"WORLD_SIZE": ""}, "RANK is set, and WORLD_SIZE not"),
        ({"RANK": "3"}, "RANK='3' must be a number from 0 to 2"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT='http' must be a number from 1 to 65535"),
    ],
)
def test_variables_that_make_no_place_are_refused(changes: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        membership_in({**BY_TORCHRUN, **changes})


def test_each_rank_has_its_share_of_the_batch_and_its_own_port_and_directory() -> None:
    config = LearnerConfig()
    second = place_of(1, 3)
    own = second.config_of(config)
    assert (own.collect.batch_steps, own.ppo.minibatch_steps) == (683, -(-config.ppo.minibatch_steps // 3))
    assert own.run_directory == config.run_directory / "ranks" / "1"
    assert place_of(0, 3).config_of(config).run == config.run
    assert second.bind_of("tcp://127.0.0.1:5555") == "tcp://127.0.0.1:5556"
    assert second.bind_of("ipc:///tmp/x") == "ipc:///tmp/x-1"
    assert place_of(0, 3).bind_of("tcp://127.0.0.1:5555") == "tcp://127.0.0.1:5555"
    with pytest.raises(UsageError, match="port 65536"):
        second.bind_of("tcp://127.0.0.1:65535")


@pytest.mark.parametrize(
    ("section", "setting", "value", "text"),
    [
        ("collect", "rule", "even_shares", "collect.rule=even_shares is for one learner, and there are 2"),
        ("collect", "stop_at_episode_end", True, "stop_at_episode_end=true is for one learner"),
        ("collect", "max_staleness", 2, "collect.max_staleness=2 is for one learner"),
        ("ppo", "reuse", 2, "ppo.reuse=2 is for one learner"),
        ("run", "hooks", "mine:Hooks", "run.hooks=mine:Hooks is for one learner"),
        ("collect", "late_learners", 2, "late_learners=2 must be less than the 2 learners"),
        ("ppo", "minibatch_steps", 1, "ppo.minibatch_steps=1 is divided among 2 learners"),
    ],
)
def test_settings_of_one_learner_are_refused_with_several(section: str, setting: str, value: object, text: str) -> None:
    config = LearnerConfig()
    changed = dataclasses.replace(getattr(config, section), **{setting: value})
    with pytest.raises(UsageError, match=text):
        refuse_with_several(dataclasses.replace(config, **{section: changed}), 2)


def test_each_learner_has_actors_of_its_own() -> None:
    with pytest.raises(UsageError, match="actors=0 must be at least learners=2"):
        TrainConfig(learners=2, actors=0)
    late = dataclasses.replace(LearnerConfig().collect, late_learners=1)
    with pytest.raises(UsageError, match="is for several learners, and there is one"):
        TrainConfig(learner=LearnerConfig(collect=late))
