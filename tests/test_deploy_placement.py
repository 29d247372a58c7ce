"""Placement of actors on hosts."""

from hypothesis import given
from hypothesis import strategies as st

from dppo.deploy.placement import divided, placed, shares_of


def test_actors_go_where_most_slots_are_free() -> None:
    assert placed(3, {"h1": 2, "h2": 4}) == {"h1": 1, "h2": 2}
    assert placed(6, {"h1": 2, "h2": 4}) == {"h1": 2, "h2": 4}
    assert placed(2, {"h1": 8, "h2": 8}) == {"h1": 1, "h2": 1}


def test_a_host_that_is_gone_gets_none_and_the_others_get_its_share() -> None:
    assert placed(6, {"h1": 2, "h2": 2, "h3": 2}) == {"h1": 2, "h2": 2, "h3": 2}
    assert placed(6, {"h1": 2, "h3": 2}) == {"h1": 3, "h3": 3}
    assert placed(6, {}) == {}


@given(st.integers(0, 60), st.dictionaries(st.text("abc", min_size=1), st.integers(1, 9), min_size=1, max_size=5))
def test_all_are_placed_and_no_host_overflows_while_another_has_room(actors: int, slots: dict[str, int]) -> None:
    found = placed(actors, slots)
    assert sum(found.values()) == actors
    if any(found[host] > slots[host] for host in slots):
        assert all(found[host] >= slots[host] for host in slots)


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 9), max_size=5), st.integers(1, 4))
def test_learners_have_even_shares_of_the_actors_wherever_they_are(placed_on: dict[str, int], learners: int) -> None:
    found = divided(placed_on, learners)
    assert {host: sum(shares) for host, shares in found.items()} == placed_on
    totals = [sum(shares[rank] for shares in found.values()) for rank in range(learners)]
    assert totals == shares_of(sum(placed_on.values()), learners)
    assert max(totals) - min(totals) <= 1
