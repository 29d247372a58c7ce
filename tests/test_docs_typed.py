"""Every command of README.md and of each guide: its words are understood; typed in a fresh folder, it works."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_docs_commands import parts
from typed_commands import PAGES, Newcomer, Typed, commands, shortened, type_page, unmarked
from typed_lists import BEFORE, FILES, NOT_TYPED, SHORTER

from dppo import cli
from dppo.deploy import command_line

TYPED = [page for page in PAGES if any(not typed.why_not for typed in commands(page))]


class Understood(Exception):
    """The words of a command are good, and what it would do is not done."""


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """End every command where it has its settings."""

    def ending(read: Callable[..., Any]) -> Callable[..., Any]:
        def read_and_end(*arguments: Any, **named: Any) -> Any:
            read(*arguments, **named)
            raise Understood

        return read_and_end

    for module, names in ((cli, ("layered", "plain")), (command_line, ("up_settings", "settings"))):
        for name in names:
            monkeypatch.setattr(module, name, ending(getattr(module, name)))


def is_understood(command: str) -> bool:
    """Whether each `dppo` in this line of a shell gets arguments that it knows."""
    for words in parts(command):
        while words and re.match(r"\w+=", words[0]):
            words = words[1:]
        if words[:1] == ["dppo"]:
            try:
                code = cli.run_command(words[1:])
            except Understood:
                continue
            if code:
                return False
    return True


@pytest.mark.parametrize("page", TYPED)
@pytest.mark.usefixtures("nothing_runs")
def test_words_of_commands_are_understood(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Newcomer(page, tmp_path, Path(sys.executable).parent, print)  # writes the page's files
    monkeypatch.chdir(tmp_path)
    for kept in {found for typed in commands(page) for found in re.findall(r"--config (runs/\S+)", typed.command)}:
        Path(kept).parent.mkdir(parents=True)
        Path(kept).write_text("env: {id: Pendulum-v1}\n", encoding="utf-8")  # by a command before it
    wrong = [
        typed.command
        for typed in (*(Typed(page, 0, one) for one in BEFORE.get(page, ())), *commands(page))
        if not typed.answer.startswith("dppo: error: ") and not is_understood(typed.command)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "wrong", ["dppo train X-v0 --n_epochs 3", "dppo runs; dppo plott runs/x", "A=1 dppo logs --lin 3"]
)
@pytest.mark.usefixtures("nothing_runs")
def test_a_wrong_word_would_be_found(wrong: str) -> None:
    assert not is_understood(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_in_a_block_of_a_console(page: str) -> None:
    assert unmarked(page) == [], "mark the block as `console`, with `$ ` before each command"


def test_lists_hold_nothing_that_no_page_has() -> None:
    typed = [one.command for page in PAGES for one in commands(page)]
    assert [pattern for pattern in NOT_TYPED if not any(re.match(pattern, one) for one in typed)] == []
    assert [pattern for pattern, _ in SHORTER if not any(re.search(pattern, one) for one in typed)] == []
    assert {*FILES, *BEFORE} <= {*PAGES}
    assert len(typed) > 100
    assert sum(not one.why_not for page in PAGES for one in commands(page)) > 75


def test_numbers_become_smaller_and_words_stay() -> None:
    assert shortened("dppo train X --actors 16 --seeds 5 --envs 4") == "dppo train X --actors 2 --seeds 2 --envs 2"
    assert shortened("dppo up a.yaml --on k8s") == "dppo up a.yaml --on k8s --dry-run"


@pytest.mark.thin(4)
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", TYPED)
def test_commands_do_what_they_say(page: str) -> None:
    assert type_page(page, Path(sys.executable).parent, print) == []
