"""Names of the actors of a host, which host a name stands for, and the rows of hosts in the live table."""

import msgspec
import pytest
from test_progress import actor, changed, drawn

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


def test_rows_are_in_the_order_of_hosts_and_numbers() -> None:
    lines = drawn(changed(actors=tuple(map(actor, ("lab2-1", "lab1-10", "lab2-0", "lab1-9"))))).splitlines()
    names = [word for line in lines for word in line.split()[:1] if word.startswith("lab")]
    assert names == ["lab1-9", "lab1-10", "lab2-0", "lab2-1"]


def test_actors_of_several_hosts_that_do_not_fit_become_a_row_a_host() -> None:
    many = [actor(f"lab{host}-{i}") for host in (1, 2, 3) for i in range(8)]
    many[9] = msgspec.structs.replace(actor("lab2-1", "silent", heard=7.2), env_restarts=2, idle_share=0.94)
    text = drawn(changed(actors=(*many, actor("laptop"))))
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.startswith("la")}
    assert rows.keys() == {"lab1", "lab2", "lab3", "laptop"}
    assert rows["lab1"] == "lab1 (8) 8 running 64 8,192 61% 22% 3% 14%"
    assert rows["lab2"] == "lab2 (8) 1 silent, 7 running 7 s 2 crashed 64 8,192 61% 22% 3% 24%"
    assert rows["laptop"] == "laptop running 8 1,024 61% 22% 3% 14%"
