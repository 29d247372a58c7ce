"""State machines as tables: what is not in one is an error. Knows neither side's states."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


def following(table: Mapping[tuple[State, Event], State], state: State, event: Event) -> State:
    """Return the next state. Raises RuntimeError, naming what is legal, for a transition that is not in the table."""
    try:
        return table[state, event]
    except KeyError:
        legal = [other.value for (start, other) in table if start is state]
        raise RuntimeError(f"'{event.value}' cannot happen while {state.value}; only {legal} can") from None
