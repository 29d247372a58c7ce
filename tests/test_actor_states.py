"""The actor's states as a table: every state can be left, none but OVER is an end, what is missing is an error."""

import pytest

from dppo.actor.session.states import TABLE, Event, State
from dppo.protocol.state_table import following


def test_every_state_can_end_and_nothing_follows_the_end() -> None:
    for state in State:
        events = {event for (start, event) in TABLE if start is state}
        assert (Event.END in events) == (state is not State.OVER)
        assert bool(events) == (state is not State.OVER)


def test_nothing_makes_a_draining_actor_step_again() -> None:
    assert {TABLE[State.DRAINING, event] for event in Event if (State.DRAINING, event) in TABLE} == {
        State.DRAINING,
        State.OVER,
    }


def test_an_actor_runs_only_under_a_policy() -> None:
    begins = {event for (state, event), end in TABLE.items() if end is State.RUNNING and state is not State.RUNNING}
    assert begins == {Event.POLICY_LOADED, Event.EXTENDED}


def test_what_is_not_in_the_table_is_an_error_that_names_what_is() -> None:
    with pytest.raises(RuntimeError, match=r"'extended' cannot happen while draining; only .*'end'"):
        following(TABLE, State.DRAINING, Event.EXTENDED)
