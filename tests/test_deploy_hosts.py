"""Three hosts reached by real ssh, skipped where there are none: `dppo up --on ssh`; `dppo actor --count` on each."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from deployments import SETTINGS, Deployed, eventually
from processes import SMALL, Place, RunFiles, kill
from real_hosts import RealHosts

from scripts.ports import free_port

LOGS = Path("~/.dppo").expanduser()  # of the hosts, which share this machine's files
NAME = "dppo-test-hosts"
COUNT = 8
START_SECONDS = 240.0  # 24 actors on two cores, which also train
PATIENCE_SECONDS = 120.0


@pytest.fixture
def hosts() -> Iterator[RealHosts]:
    made = RealHosts()
    yield made
    made.close()


@pytest.fixture
def deployed(tmp_path: Path, hosts: RealHosts) -> Iterator[Deployed]:
    bind = f"bind: tcp://{hosts.our_address}:{free_port()}\n"
    slots = ", ".join(f"{{{name}: 2}}" for name in hosts.names)
    deploy = f"deploy: {{engine: ssh, name: {NAME}, hosts: [{slots}], ssh_config: {hosts.ssh_config}}}\n"
    made = Deployed(tmp_path, (SETTINGS + bind + deploy).replace("actors: 1", "actors: 3"))
    yield made
    made.kill_all()
    shutil.rmtree(LOGS / NAME, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_file_keeps_actors_on_three_hosts_through_a_kill_a_cut_and_its_end(
    deployed: Deployed, hosts: RealHosts
) -> None:
    first, second, third = hosts.names
    one_each = {"learner", *(f"{host}.actor-0" for host in hosts.names)}

    def all_are(names: set[str]) -> bool:
        return deployed.running() == names

    deployed.dppo("up", "run.yaml")
    eventually("one on each", lambda: all_are(one_each), PATIENCE_SECONDS)
    trains_on(deployed)
    assert deployed.shown_secrets() == []

    victim = actor_on(hosts, second, f"{second}.actor-0")
    kill(victim)
    eventually(
        "it is back under its name",
        lambda: deployed.processes()[f"{second}.actor-0"]["restarts"] == 1 and all_are(one_each),
        PATIENCE_SECONDS,
    )
    assert actor_on(hosts, second, f"{second}.actor-0") != victim

    hosts.cut(first)
    elsewhere = {"learner", f"{second}.actor-0", f"{second}.actor-1", f"{third}.actor-0"}
    eventually("its actor is on another host", lambda: all_are(elsewhere), PATIENCE_SECONDS)
    assert first in deployed.processes()["host"]["host"]
    eventually("its own ends by itself", lambda: not hosts.processes(first), PATIENCE_SECONDS)
    trains_on(deployed)

    hosts.heal(first)
    eventually("one on each again", lambda: all_are(one_each), PATIENCE_SECONDS)
    trains_on(deployed)

    deployed.dppo("down")
    eventually("nothing is left", lambda: not deployed.left() and not any(map(hosts.processes, hosts.names)))
    assert "in flight: closed" in deployed.dppo("ledger", "runs/x")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_line_a_host_keeps_eight_actors_on_each_until_a_signal_ends_them(hosts: RealHosts) -> None:
    with Place() as place:
        files = RunFiles(place.path / "run")
        learner = place.start(
            *("learner", *SMALL, *place.gated, "--collect.envs-per-actor", "1", "--run.directory", "run"),
            *("--bind", f"tcp://{hosts.our_address}:{free_port()}", "--evaluation-episodes", "0"),
        )
        join = files.path / "access" / "join"
        place.until(join.exists, "the learner listens", during=learner)

        groups = {
            host: place.start("actor", "--join-file", str(join), "--count", str(COUNT), through=hosts.shell(host))
            for host in hosts.names
        }
        names = {host: [f"{host}-{number}" for number in range(COUNT)] for host in hosts.names}

        def works(host: str, name: str, lives: int = 1) -> bool:
            return groups[host].complained().count(f"{name} | running under policy") == lives

        for host in hosts.names:
            place.until(
                lambda host=host: all(works(host, name) for name in names[host]),
                f"the {COUNT} of {host} work",
                during=groups[host],
                seconds=START_SECONDS,
            )
        updates = files.updates()
        place.until(lambda: files.updates() > updates, "it trains with all of them", during=learner)

        one = hosts.names[1]
        victim = names[one][3]
        kill(actor_on(hosts, one, victim))
        place.until(lambda: works(one, victim, lives=2), "it is back under its name", during=groups[one])
        assert f"{victim} was killed by SIGKILL; starting it again" in groups[one].complained()
        assert all(works(host, name) for host in hosts.names for name in names[host] if name != victim)

        for host in hosts.names:
            psutil.Process(group_on(hosts, host)).send_signal(signal.SIGTERM)
        for group in groups.values():
            place.ends(group, code=0, seconds=10)
        place.until(lambda: not any(map(hosts.processes, hosts.names)), "nothing is left on the hosts", seconds=10)

        learner.signal(signal.SIGINT)
        place.ends(learner, code=0)
        place.leaves_nothing()


def trains_on(deployed: Deployed) -> None:
    before = deployed.updates()
    eventually("it trains on", lambda: deployed.updates() > before, PATIENCE_SECONDS)


def actor_on(hosts: RealHosts, host: str, name: str) -> int:
    """Process id of that actor."""
    (found,) = (one for one in hosts.processes(host) if f" --name {name} " in f"{' '.join(one.cmdline())} ")
    return found.pid


def group_on(hosts: RealHosts, host: str) -> int:
    """Process id of `dppo actor --count 8` on that host."""
    (found,) = (one for one in hosts.processes(host) if one.cmdline()[-2:] == ["--count", str(COUNT)])
    return found.pid
