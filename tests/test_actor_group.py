"""`dppo actor --count`: the actors of one host, named, started again and ended by one process."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command_line import failed, forget_variables, record_entries, run
from processes import SMALL, Place, RunFiles, kill

from dppo.actor.config import ActorConfig
from dppo.actor.join_options import JoinOptions
from dppo.local import actor_group
from dppo.local.actor_group import _arguments, _count, _Group
from dppo.local.followed_log import KEPT_BYTES, MOST_BYTES, FollowedLog
from dppo.local.processes import Child
from dppo.protocol.errors import DppoError, RefusedError, UsageError
from dppo.protocol.process.lifeline import Lifeline
from dppo.protocol.process.resources import MB, Room


@pytest.fixture
def actors(tmp_path: Path) -> Iterator[list[Child]]:
    with Lifeline() as lifeline:
        yield [Child(f"lab-{i}", (), tmp_path / f"{i}.log", lifeline) for i in range(2)]


@pytest.fixture
def group(actors: list[Child]) -> _Group:
    """A group whose actors were started, and have ended."""
    group = _Group(actors)
    group._actors.started, group._actors._planned = actors, group._actors._planned.__class__()
    return group


def ended(group: _Group, actor: Child, code: int, words: str) -> None:
    actor.words = words
    if code:
        actor.count_death()
    group._ended(actor, code)


def test_count_is_a_number_or_auto(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    forget_variables(monkeypatch)
    calls, _ = record_entries(monkeypatch)
    assert run("actor", "--learner", "ipc:///tmp/x", "--count", "8") == 0
    monkeypatch.setenv("DPPO_COUNT", "auto")
    assert run("actor", "--learner", "ipc:///tmp/x") == 0
    assert [(call[0], call[2][1].count) for call in calls] == [
        ("dppo.local.actor_group", 8),
        ("dppo.local.actor_group", "auto"),
    ]
    assert run("actor", "--learner", "ipc:///tmp/x", "--count", "1") == 0
    assert calls[-1][0] == "dppo.actor.service"
    assert "count=0 must be at least 1" in failed(capsys, "actor", "--count", "0")
    assert "'many' is not a whole number, nor auto" in failed(capsys, "actor", "--count", "many")
    assert "trace is of one actor" in failed(capsys, "actor", "--count", "2", "--trace", "x")


def test_the_secret_is_in_no_argument_and_no_actor_has_a_count() -> None:
    settings = ActorConfig(join="dppo1.secret@host:1", envs=3, allow_env=("a:*", "b"), count=8)
    arguments = _arguments(settings, "lab-7")
    assert "secret" not in " ".join(arguments)
    assert arguments[:6] == ("-m", "dppo.actor", "--count", "1", "--name", "lab-7")
    assert arguments[6:] == ("--no-insecure", "--envs", "3", "--allow-env", "a:*", "--allow-env", "b")


def test_auto_is_one_a_core_as_far_as_there_is_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_group, "usable_cores", lambda: 16)
    monkeypatch.setattr(actor_group, "room", lambda: Room())
    assert _count("auto") == (16, "")
    assert _count(20)[0] == 20
    assert "20 actors on 16 cores" in _count(20)[1]
    monkeypatch.setattr(actor_group, "room", lambda: Room(memory_bytes=800 * MB))
    fit, remark = _count("auto")
    assert fit == 5
    assert "at most 5 fit" in remark
    with pytest.raises(UsageError, match="at most 5 fit; choose a smaller --count"):
        _count(6)
    monkeypatch.setattr(actor_group, "room", lambda: Room(memory_bytes=MB))
    with pytest.raises(UsageError, match="at most 0 fit"):
        _count("auto")


def test_a_name_that_cannot_be_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_group, "room", lambda: Room())
    with pytest.raises(UsageError, match="cannot be used"):
        actor_group.run(JoinOptions("ipc:///tmp/x"), ActorConfig(learner="ipc:///tmp/x", name="x" * 127, count=2))


@pytest.mark.parametrize(("mode", "why"), [(0o644, "open to others"), (0o600, "join line")])
def test_a_join_line_that_cannot_be_used_starts_nothing(
    mode: int, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(actor_group, "run", lambda *arguments: started.append(arguments))
    file = tmp_path / "join"
    file.write_text("dppo1.nonsense@localhost:5555", encoding="utf-8")
    file.chmod(mode)
    assert run("actor", "--join-file", str(file), "--count", "2") == 2
    error = capsys.readouterr().err
    assert why in error
    assert started == []
    assert error.count("\n") == 1


def test_one_that_the_learner_has_sent_away_is_not_started_again(group: _Group, actors: list[Child]) -> None:
    ended(group, actors[0], 3, "dppo: error: refused by the learner: its token was revoked")
    assert not group._actors.none_left
    ended(group, actors[1], 0, "lab-1 ends: 100 of 100 steps are done")
    assert group._actors.none_left
    with pytest.raises(RefusedError, match="lab-0 was refused by the learner: its token was revoked"):
        group.run()


def test_a_run_that_is_over_ends_the_group_in_order(group: _Group, actors: list[Child]) -> None:
    for actor in actors:
        ended(group, actor, 0, f"{actor.name} ends: 100 of 100 steps are done")
    group.run()


def test_one_that_a_signal_has_ended_is_started_again(group: _Group, actors: list[Child]) -> None:
    for actor in actors:
        ended(group, actor, 0, f"{actor.name} ends: stopped, everything delivered")
    assert not group._actors.none_left


@pytest.mark.parametrize(
    ("code", "words", "error", "text"),
    [
        (2, "dppo: error: join_file=x is a directory", UsageError, "join_file=x is a directory"),
        (1, "dppo: error: the environment must be changed: no", DppoError, "lab-0: the environment must be changed"),
    ],
)
def test_what_every_actor_would_repeat_ends_all_of_them(
    group: _Group, actors: list[Child], code: int, words: str, error: type[DppoError], text: str
) -> None:
    with pytest.raises(error, match=text):
        ended(group, actors[0], code, words)


def test_one_that_keeps_dying_is_given_up_and_the_others_go_on(
    group: _Group, actors: list[Child], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="dppo")
    for _ in range(5):
        actors[0]._started = float("inf")
        ended(group, actors[0], -signal.SIGSEGV, "")
    said = [record.getMessage() for record in caplog.records]
    assert said[:4] == ["lab-0 was killed by SIGSEGV; starting it again"] * 4
    assert said[4] == "lab-0 keeps dying: it was killed by SIGSEGV; it is not started again, the others go on"
    ended(group, actors[1], 0, "lab-1 ends: over")
    with pytest.raises(DppoError, match="lab-0 keeps dying"):
        group.run()


def test_lines_of_an_actor_come_once_whole_and_bounded(tmp_path: Path) -> None:
    log = FollowedLog(tmp_path / "log")
    assert log.new_lines() == []
    with log.path.open("ab", buffering=0) as file:
        file.write(b"first\nsec")
        assert log.new_lines() == ["first"]
        file.write(b"ond \x1b[31mred\n\nrest")
        assert log.new_lines() == ["second [31mred"]
        assert log.last_words() == ["rest"]
        file.write(b"x" * MOST_BYTES + b"\nend\n")
        assert log.new_lines() == ["(5 bytes of its output are left out)", "x" * 1997 + "...", "end"]
        assert not log.empty_if_long()
        while file.tell() < KEPT_BYTES:
            file.write(b"y" * 40_000 + b"\n")
            log.new_lines()
        assert log.empty_if_long()
        file.write(b"after\n")
        assert log.new_lines() == ["after"]
    assert log.path.read_bytes() == b"after\n"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_group_keeps_its_actors_alive_and_leaves_nothing() -> None:
    with Place() as place:
        files, endpoint = RunFiles(place.path / "run"), f"ipc://{place.path}/learner"
        learner = place.start(
            "learner",
            *SMALL,
            *place.gated,
            *("--bind", endpoint, "--run.directory", "run", "--evaluation-episodes", "0"),
        )
        group = place.start("actor", "--learner", endpoint, "--count", "4", "--name", "lab")

        def works(name: str, lives: int = 1) -> bool:
            return group.complained().count(f"{name} | running under policy") == lives

        names = {f"lab-{i}" for i in range(4)}
        place.until(lambda: all(map(works, names)), "all four work", during=learner)
        first = group.actors()
        assert first.keys() == names
        kill(first["lab-2"])
        place.until(lambda: works("lab-2", 2), "it is back under its name", during=group)
        assert "lab-2 was killed by SIGKILL; starting it again" in group.complained()
        assert {name: pid for name, pid in group.actors().items() if name != "lab-2"} == {
            name: pid for name, pid in first.items() if name != "lab-2"
        }
        assert files.updates() >= 1
        of_group = [psutil.Process(group.pid), *psutil.Process(group.pid).children(recursive=True)]
        learner.signal(signal.SIGINT)
        place.ends(learner, code=0)
        assert "4 actors wait, by host: lab (4); to end them, end `dppo actor` there" in learner.said()
        group.signal(signal.SIGTERM)
        place.ends(group, code=0, seconds=10)
        _, alive = psutil.wait_procs(of_group, timeout=1)
        assert not alive
        assert all(f"{name} ends: " in group.complained() for name in names)
        place.leaves_nothing()
