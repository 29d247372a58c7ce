"""docs/protocol.md says what the code does: messages, fields, phases, limits."""

import importlib
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from dppo.actor.session import states
from dppo.learner.session import phases
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.messages import FromActor, FromLearner

PAGE = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()


def section(title: str) -> str:
    """The text below a heading of the second level, to the next one."""
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, title
    return found


def rows(text: str) -> list[list[str]]:
    """Cells of the lines of all tables, without headings and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-:")]


@pytest.mark.parametrize(
    ("title", "union"), [("Messages from an actor", FromActor), ("Messages from the learner", FromLearner)]
)
def test_every_message_stands_on_the_page_with_its_fields(title: str, union: object) -> None:
    parts = re.split(r"^### (\w+)$", section(title), flags=re.MULTILINE)[1:]
    written = {
        name: [field for row in rows(text) for field in re.findall(r"`(\w+)`", row[0])]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    messages = {message.__name__: message for message in get_args(union)}
    assert written == {name: [f.name for f in msgspec.structs.fields(m)] for name, m in messages.items()}


def test_the_phases_are_those_of_the_table() -> None:
    written = [tuple(row) for row in rows(section("The learner's phases")) if row[0] != "phase"]
    assert written == [
        (phase.value, event.value, following.value) for (phase, event), following in phases.TABLE.items()
    ]


def test_the_actors_states_are_those_of_the_table() -> None:
    listed, changes = section("The actor's states").split("\n| event | when |")
    assert [row[0] for row in rows(listed)[1:]] == [state.value for state in states.State]
    (_, _, *names), *written = rows(f"| event | when |{changes}")
    table = {(state.value, event.value): following.value for (state, event), following in states.TABLE.items()}
    assert [row[0] for row in written] == [event.value for event in states.Event]
    found = {(name, event): cell for event, _, *cells in written for name, cell in zip(names, cells, strict=True)}
    assert {key: cell for key, cell in found.items() if cell != "-"} == table


def test_limits_have_the_values_on_the_page() -> None:
    limits = rows(section("Limits"))[1:]
    assert len(limits) > 20
    for what, value, where in limits:
        module, _, name = where.strip("`").rpartition(".")
        assert float(value) == getattr(importlib.import_module(module), name), what


def test_the_page_names_the_protocols_version() -> None:
    assert f"Version {PROTOCOL_VERSION} (" in PAGE
