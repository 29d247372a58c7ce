"""`dppo up --on ssh` over real ssh: asyncssh's own server on loopback stands for two hosts, which can be cut off."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deployments import SETTINGS, Deployed, eventually

if TYPE_CHECKING:
    from ssh_servers import Network


@pytest.fixture
def network(tmp_path: Path) -> "Iterator[Network]":
    pytest.importorskip("asyncssh", reason="needs asyncssh (extra ssh)")
    from ssh_servers import Network

    (tmp_path / "network").mkdir()
    made = Network(tmp_path / "network")
    yield made
    made.close()


@pytest.fixture
def deployed(tmp_path: Path, network: "Network") -> Iterator[Deployed]:
    deploy = f"deploy: {{engine: ssh, hosts: [{{h1: 2}}, {{h2: 2}}], ssh_config: {network.folder / 'ssh_config'}}}\n"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = f"bind: tcp://127.0.0.1:{probe.getsockname()[1]}\n"
    made = Deployed(tmp_path, (SETTINGS + bind + deploy).replace("actors: 1", "actors: 2"))
    yield made
    made.kill_all()


@pytest.mark.slow
def test_actors_of_a_host_that_is_cut_off_are_placed_on_another(deployed: Deployed, network: "Network") -> None:
    deployed.dppo("up", "run.yaml")
    eventually("one on each", lambda: deployed.running() >= {"learner", "h1.actor-0", "h2.actor-0"})
    eventually("it trains", lambda: deployed.updates() > 0)

    assert deployed.shown_secrets() == []

    network.cut("h1")
    eventually("both are on the other", lambda: deployed.running() == {"learner", "h2.actor-0", "h2.actor-1"})
    assert "h1" in deployed.processes()["host"]["host"]

    assert "is down" in deployed.dppo("down")
    eventually("nothing is left", lambda: deployed.left() == [])


@pytest.mark.slow
def test_two_learners_here_have_an_actor_each_on_another_host(deployed: Deployed) -> None:
    deployed.dppo("up", "run.yaml", "--learners", "2")
    names = {"learner", "learner-1", "h1.actor-0", "h2.learner-1.actor-0"}
    eventually("one on each host, of one learner each", lambda: deployed.running() == names)
    eventually("both train", lambda: deployed.updates() > 1)
    assert deployed.shown_secrets() == []
    assert "must be at least the 2 learners" in deployed.dppo("scale", "1", code=2)
    deployed.dppo("down")
    eventually("nothing is left", lambda: deployed.left() == [])
    assert "learner-1" in deployed.dppo("logs", "runs/x", "--lines", "2")


@pytest.mark.slow
def test_a_host_whose_key_is_not_known_is_one_line_and_nothing_stays(deployed: Deployed, network: "Network") -> None:
    before = sorted(deployed.folder.iterdir())
    (network.folder / "known_hosts").write_text("")
    said = deployed.dppo("up", "run.yaml", code=2)
    assert "host h1 cannot be reached: its host key is not known" in said
    assert len(said.splitlines()) == 1
    assert sorted(deployed.folder.iterdir()) == before
