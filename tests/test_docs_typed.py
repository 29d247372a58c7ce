"""Every command of README.md and of each guide: its words are understood; typed by a newcomer, it works.

A newcomer has a fresh folder, and a fresh virtual environment with the wheel of this tree and the extras that the page
asks for.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fresh_install import FreshInstalls
from test_docs_commands import parts
from typed_commands import PAGES, Newcomer, Typed, commands, extras_of, mentioned, shortened, type_page, unmarked
from typed_lists import BEFORE, FILES, NOT_TYPED, SHORTER

from dppo import cli
from dppo.deploy import command_line

TYPED = [page for page in PAGES if any(not typed.why_not for typed in commands(page))]

WITH_COMMANDS = [page for page in PAGES if page in TYPED or mentioned(page)]


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


@pytest.mark.parametrize("page", WITH_COMMANDS)
@pytest.mark.usefixtures("nothing_runs")
def test_words_of_commands_are_understood(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Newcomer(page, tmp_path, Path(sys.executable).parent, print)  # writes the page's files
    monkeypatch.chdir(tmp_path)
    everything = (*(Typed(page, 0, one) for one in BEFORE.get(page, ())), *commands(page), *mentioned(page))
    for kept in {found for typed in everything for found in re.findall(r"--config (\S+)", typed.command)}:
        if not Path(kept).exists():
            Path(kept).parent.mkdir(parents=True, exist_ok=True)
            Path(kept).write_text("env: {id: Pendulum-v1}\n", encoding="utf-8")  # by a command before it
    wrong = [
        f"{typed.place}: {typed.command}"
        for typed in everything
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


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> FreshInstalls:
    """Virtual environments with the wheel of this tree, and nothing that its user does not have."""
    return FreshInstalls(tmp_path_factory.mktemp("fresh"))


def told_by(bin: Path, folder: Path, program: str) -> list[str]:
    """Return what a program prints in that virtual environment, by lines."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("DPPO_", "PYTHON"))}
    command = [str(bin / "python"), "-c", program]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_newcomer_has_the_wheel_and_nothing_of_the_checkout(fresh: FreshInstalls, tmp_path: Path) -> None:
    bin = fresh.bin()
    program = "import sys, dppo, dppo.learner, dppo.actor, dppo.protocol\nprint(*sys.path[1:], sep='\\n')\n" + "".join(
        f"print({name}.__file__)\n" for name in ("dppo", "dppo.learner", "dppo.actor", "dppo.protocol")
    )
    told = told_by(bin, tmp_path, program)
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    places = [Path(line) for line in told if Path(line).parent not in map(Path, standard) and line not in standard]
    assert len([path for path in places if path.name == "__init__.py"]) == 4
    assert [path for path in places if bin.parent not in path.parents and path.suffix != ".zip"] == []
    command = shutil.which("dppo", path=str(bin))
    assert command == str(bin / "dppo")
    assert Path(command).read_text().startswith(f"#!{bin / 'python'}")
    assert Path(command).resolve().is_relative_to(fresh.folder)


@pytest.mark.slow
def test_a_newcomer_has_the_extras_that_were_asked_for_and_no_others(fresh: FreshInstalls, tmp_path: Path) -> None:
    program = (
        "import importlib.util as u; print(*(n for n in ('torch', 'optuna', 'pytest', 'asyncssh') if u.find_spec(n)))"
    )
    assert told_by(fresh.bin(), tmp_path, program) == ["torch"]
    assert told_by(fresh.bin(("learner", "tune")), tmp_path, program) == ["torch optuna"]
    with pytest.raises(ValueError, match="no extras \\['tuning'\\]"):
        fresh.bin(("learner", "tuning"))


def test_extras_are_those_of_the_install_line_and_of_the_page() -> None:
    assert extras_of("docs/index.md") == ("learner",)
    assert extras_of("docs/tuning.md") == ("learner", "tune")
    assert extras_of("docs/images.md") == ("atari", "learner")


@pytest.mark.thin(6)
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", TYPED)
def test_commands_do_what_they_say(page: str, fresh: FreshInstalls) -> None:
    assert type_page(page, fresh.bin(extras_of(page)), print) == []
