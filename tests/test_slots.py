from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.learner.session.slots import LIVES_PER_START, Slots, SlotTable


def test_slots_are_handed_out_one_after_the_other() -> None:
    table = SlotTable()
    assert table.assign("a", b"1", 2, set()) == Slots(0, 2, 0)
    assert table.assign("b", b"2", 3, {"a"}) == Slots(2, 3, 0)
    assert table.assign("c", b"3", 1, {"a", "b"}) == Slots(5, 1, 0)


def test_asking_again_gives_the_same_slots_in_the_same_life() -> None:
    table = SlotTable()
    first = table.assign("a", b"1", 2, set())
    assert table.assign("a", b"1", 2, {"a"}) == first
    assert table.assign("a", b"1", 2, set()) == first


def test_a_new_process_of_a_name_gets_its_slots_in_a_new_life() -> None:
    table = SlotTable()
    table.assign("a", b"1", 2, set())
    table.assign("b", b"2", 2, {"a"})
    assert table.assign("a", b"3", 2, {"a", "b"}) == Slots(0, 2, 1)
    assert table.assign("b", b"4", 2, {"a", "b"}) == Slots(2, 2, 1)


def test_a_newcomer_takes_over_slots_that_nobody_uses_before_new_ones_are_made() -> None:
    table = SlotTable()
    table.assign("a", b"1", 2, set())
    table.assign("b", b"2", 2, {"a"})
    assert table.assign("c", b"3", 2, {"b"}) == Slots(0, 2, 1)
    assert table.assign("d", b"4", 2, {"b", "c"}) == Slots(4, 2, 0)


def test_slots_in_use_are_never_taken_over() -> None:
    table = SlotTable()
    table.assign("a", b"1", 2, set())
    assert table.assign("b", b"2", 2, {"a"}) == Slots(2, 2, 0)


def test_who_comes_back_after_its_slots_were_taken_over_gets_others() -> None:
    table = SlotTable()
    table.assign("a", b"1", 2, set())
    table.assign("b", b"2", 2, set())
    assert table.assign("a", b"1", 2, {"b"}) == Slots(2, 2, 0)


def test_a_name_that_comes_back_with_other_environments_gives_its_old_slots_back() -> None:
    table = SlotTable()
    table.assign("a", b"1", 2, set())
    table.assign("b", b"2", 1, {"a"})
    assert table.assign("a", b"3", 4, {"b"}) == Slots(3, 4, 0)
    assert table.assign("c", b"4", 1, {"a", "b"}) == Slots(0, 1, 1)


def test_after_a_restart_slots_are_handed_out_again_from_the_first_in_later_lives() -> None:
    table = SlotTable(start=3)
    assert table.assign("b", b"2", 2, set()) == Slots(0, 2, 2 * LIVES_PER_START)
    assert table.assign("b", b"3", 2, set()) == Slots(0, 2, 2 * LIVES_PER_START + 1)


asked = st.tuples(
    st.sampled_from("abcd"),  # name
    st.integers(0, 5),  # incarnation
    st.integers(1, 3),  # envs
    st.sets(st.sampled_from("abcd")),  # who is connected
)
restart = st.none()


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(asked | asked | restart, max_size=40))
def test_no_random_stream_is_ever_handed_out_twice_whatever_was_saved_before_a_crash(
    events: list[tuple[str, int, int, set[str]] | None],
) -> None:
    table, term = SlotTable(), 1
    holder: dict[tuple[int, int], tuple[int, str, int]] = {}  # (slot, life): who got it, in which term
    held: dict[str, Slots] = {}
    for event in events:
        if event is None:
            term += 1
            table = SlotTable(term)
            held = {}
        else:
            name, incarnation, envs, connected = event
            slots = table.assign(name, b"%d" % incarnation, envs, connected | {name})
            assert slots.envs == envs
            for slot in range(slots.first, slots.first + envs):
                who = (term, name, incarnation)
                assert holder.setdefault((slot, slots.life), who) == who
            held = {other: has for other, has in held.items() if other in connected and other != name}
            held[name] = slots  # no two that are connected overlap
            for one, other in pairwise(sorted(held.values(), key=lambda has: has.first)):
                assert one.first + one.envs <= other.first


# A limited number of slots


def test_there_is_room_within_the_limit_only() -> None:
    table = SlotTable(limit=4)
    assert SlotTable().has_room("a", 10**6, set())
    assert not table.has_room("a", 5, set())
    table.assign("a", b"1", 3, set())
    assert table.has_room("a", 3, {"a"}), "its own"
    assert not table.has_room("b", 2, {"a"})
    assert table.has_room("b", 1, {"a"})
    assert table.assign("b", b"2", 1, {"a"}) == Slots(3, 1, 0)


def test_slots_of_names_that_are_gone_make_room_whatever_their_number() -> None:
    table = SlotTable(limit=4)
    table.assign("a", b"1", 3, set())
    table.assign("b", b"2", 1, {"a"})
    assert not table.has_room("c", 2, {"a", "b"})
    assert table.has_room("c", 2, {"b"})
    assert table.assign("c", b"3", 2, {"b"}) == Slots(0, 2, 1)
    assert not table.has_room("a", 3, {"b", "c"})


def test_a_process_whose_slots_others_have_is_known() -> None:
    table = SlotTable(limit=2)
    table.assign("a", b"1", 2, set())
    assert not table.were_taken_from("a", b"1")
    assert not table.were_taken_from("a", b"2"), "it has had none"
    assert table.has_room("b", 2, set())
    table.assign("b", b"3", 2, set())
    assert table.were_taken_from("a", b"1")


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 5), st.sets(st.sampled_from("abcde")))))
def test_no_slot_is_beyond_the_limit_or_in_two_hands(events: list[tuple[str, int, set[str]]]) -> None:
    table, lives = SlotTable(limit=6), set()
    for number, (name, envs, others) in enumerate(events):
        in_use = others & {other for other in "abcde" if other in table._by_name}
        if not table.has_room(name, envs, in_use):
            continue
        slots = table.assign(name, number.to_bytes(8, "big"), envs, in_use)
        assert slots.end <= 6
        assert not any(slots.overlap(table._by_name[other]) for other in in_use - {name})
        for slot in range(slots.first, slots.end):
            assert (slot, slots.life) not in lives
            lives.add((slot, slots.life))
