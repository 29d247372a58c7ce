"""Names of the actors of a host, and which host a name stands for."""

import pytest

from dppo.actor.config import ActorConfig
from dppo.protocol.actor_names import host_of, hosts_text, in_order, numbered_name, waiting_text


@pytest.mark.parametrize(
    ("name", "host"),
    [("lab-1-0", "lab-1"), ("lab-4711", "lab"), ("actor-2", "actor"), ("a", "a"), ("lab-x", "lab-x"), ("-3", "-3")],
)
def test_a_host_is_what_stands_before_the_number(name: str, host: str) -> None:
    assert host_of(name) == host


def test_a_numbered_name_is_a_name_and_leads_back_to_its_host() -> None:
    assert numbered_name("gpu.lab-1", 7) == "gpu.lab-1-7"
    assert host_of(ActorConfig(learner="ipc://x", name=numbered_name("gpu.lab-1", 7)).name) == "gpu.lab-1"


def test_names_are_sorted_by_host_and_number() -> None:
    names = ["lab-10", "b", "lab-2", "a-1", "lab"]
    assert sorted(names, key=in_order) == ["a-1", "b", "lab", "lab-2", "lab-10"]


def test_hosts_are_counted_and_cut() -> None:
    assert hosts_text(["b-1", "a-0", "b-0", "c"]) == "a (1), b (2), c (1)"
    assert hosts_text([f"h{i}-0" for i in range(4)], most=2) == "h0 (1), h1 (1) and 2 more hosts"


def test_an_interrupted_learner_names_the_hosts_whose_actors_wait() -> None:
    assert waiting_text(["lab1-0", "lab1-1", "lab2-0"]) == (
        "3 actors wait, by host: lab1 (2), lab2 (1); to end them, end `dppo actor` there (Ctrl-C, or SIGTERM)"
    )
    assert waiting_text(["x"]).startswith("1 actor waits, by host: x (1);")
