import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from learner.slots import Slots, SlotTable

SKIP = 1000


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
    table = SlotTable()
    table.assign("a", b"1", 2, set())
    table.assign("b", b"2", 2, {"a"})
    resumed = SlotTable.from_state(json.loads(json.dumps(table.to_state())), skip_lives=SKIP)
    assert resumed.assign("b", b"2", 2, set()) == Slots(0, 2, SKIP + 1)


def test_slots_that_only_a_crashed_learner_knew_start_in_a_later_life_too() -> None:
    resumed = SlotTable.from_state(json.loads(json.dumps(SlotTable().to_state())), skip_lives=SKIP)
    assert resumed.assign("a", b"1", 2, set()) == Slots(0, 2, SKIP)


asked = st.tuples(
    st.sampled_from("abcd"),  # name
    st.integers(0, 5),  # incarnation
    st.integers(1, 3),  # envs
    st.sets(st.sampled_from("abcd")),  # who is connected
)
restart = st.integers(0, 3)  # from which checkpoint
save = st.none()


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.lists(asked | asked | restart | save, max_size=40))
def test_no_random_stream_is_ever_handed_out_twice_also_not_by_a_learner_that_starts_from_an_old_checkpoint(
    events: list[tuple[str, int, int, set[str]] | int | None],
) -> None:
    table, epoch = SlotTable(), 1
    checkpoints = [json.dumps(table.to_state())]
    holder: dict[tuple[int, int], tuple[int, str, int]] = {}  # (slot, life): who got it, in which epoch
    held: dict[str, Slots] = {}
    for event in events:
        if event is None:
            checkpoints.append(json.dumps(table.to_state()))
        elif isinstance(event, int):
            epoch += 1
            state = json.loads(checkpoints[-1 - event % len(checkpoints)])
            table = SlotTable.from_state(state, skip_lives=SKIP * epoch)
            held = {}
        else:
            name, incarnation, envs, connected = event
            slots = table.assign(name, b"%d" % incarnation, envs, connected | {name})
            assert slots.envs == envs
            for slot in range(slots.first, slots.first + envs):
                who = (epoch, name, incarnation)
                assert holder.setdefault((slot, slots.life), who) == who
            held = {other: has for other, has in held.items() if other in connected and other != name}
            held[name] = slots  # no two that are connected overlap
            for one, other in pairwise(sorted(held.values(), key=lambda has: has.first)):
                assert one.first + one.envs <= other.first
