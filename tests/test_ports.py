"""Ports that tests and drivers of chaos listen on."""

import socket
from itertools import pairwise

import pytest

from scripts import ports
from scripts.ports import FIRST, LAST, OF_A_PROCESS, free_port


def test_a_port_and_those_that_follow_are_free_and_none_is_given_twice_in_a_row() -> None:
    first, second = free_port(following=2), free_port()
    assert not set(range(first, first + 3)) & {second}
    assert all(FIRST <= port < LAST for port in (first, second))
    for port in range(first, first + 3):
        with socket.socket() as ours:
            ours.bind(("127.0.0.1", port))


def test_no_port_follows_one_that_is_given_next_also_where_the_last_ones_of_a_process_were_given() -> None:
    found = [free_port() for _ in range(OF_A_PROCESS)]
    assert all(not set(range(one, one + 4)) & set(range(other, other + 4)) for one, other in pairwise(found))
    assert max(found) + 3 < min(found) + OF_A_PROCESS


def test_a_port_that_somebody_listens_on_is_passed_over_also_as_one_that_follows() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        port = taken.getsockname()[1]
        found = [free_port(following=1) for _ in range(OF_A_PROCESS)]
    assert not {port, port - 1} & {*found}
    assert len({*found}) > OF_A_PROCESS / 3


def test_where_none_is_free_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_is_free", lambda port: False)
    with pytest.raises(OSError, match=r"none of the ports [23]\d{4} to [23]\d{4} is free"):
        free_port()
