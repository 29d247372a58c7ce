import pytest

from dppo.learner.session.phases import TABLE, Event, Phase
from dppo.protocol.state_table import following


def test_a_run_goes_round_from_collecting_to_collecting_and_ends_by_draining() -> None:
    phase = Phase.WAITING
    seen = [phase]
    for event in (Event.PUBLISHED, Event.BATCH_FULL, Event.ALL_STOPPED, Event.PUBLISHED, Event.FINISH, Event.DRAINED):
        phase = following(TABLE, phase, event)
        seen.append(phase)
    assert [p.value for p in seen] == [
        "waiting", "collecting", "stopping", "updating", "collecting", "draining", "stopped"
    ]  # fmt: skip


def test_every_phase_is_reached_and_every_event_is_used() -> None:
    assert {phase for phase, _ in TABLE} | set(TABLE.values()) == set(Phase)
    assert {event for _, event in TABLE} == set(Event)
    reached, found = set(), {Phase.WAITING}
    while found:
        reached |= found
        found = {after for (before, _), after in TABLE.items() if before in reached} - reached
    assert reached == set(Phase)


def test_a_run_can_be_finished_or_left_from_every_phase_in_which_it_is_not_over() -> None:
    for phase in set(Phase) - {Phase.DRAINING, Phase.LEAVING, Phase.STOPPED}:
        assert following(TABLE, phase, Event.FINISH) is Phase.DRAINING
        assert following(TABLE, phase, Event.LEAVE) is Phase.LEAVING


def test_nothing_follows_the_end() -> None:
    assert not [event for phase, event in TABLE if phase is Phase.STOPPED]


@pytest.mark.parametrize(
    ("phase", "event"), [(p, e) for p in Phase for e in Event if (p, e) not in TABLE], ids=lambda value: value.value
)
def test_what_is_not_in_the_table_is_an_error_that_names_both_and_what_is_legal(phase: Phase, event: Event) -> None:
    with pytest.raises(RuntimeError) as caught:
        following(TABLE, phase, event)
    text = str(caught.value)
    assert f"'{event.value}' cannot happen while {phase.value}" in text
    for legal in (e for p, e in TABLE if p is phase):
        assert repr(legal.value) in text
