"""The table of typed lines in docs/deploy.md, counted from the page's own commands, which are understood."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import forget_variables, run
from processes import REPOSITORY

PAGE = (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
SECTIONS = {  # headings of the ways in the table
    "docker": "Actors on further hosts, with docker",
    "ssh": "ssh",
    "slurm": "slurm",
    "k8s": "k8s",
    "ray": "ray",
    "by-hand": "Actors on further hosts, by hand",
}
ROW = re.compile(r"^\| `([a-z0-9-]+)`[^|]*\| (\d+) \| (\d+) \|", re.MULTILINE)
TYPED = re.compile(r"^(?:host\d)?\$ (.*)$", re.MULTILINE)


def typed_from_nothing(way: str) -> list[str]:
    """Lines of the block below "From nothing" in the section of that way, with their prompts."""
    section = re.split(r"^#+ ", PAGE.split(f"\n## {SECTIONS[way]}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    block = re.search(r"From nothing[^\n]*:\n\n```console\n(.*?)```", section, re.DOTALL)
    assert block is not None, way
    return block[1].splitlines()


def test_the_table_has_as_many_lines_as_are_typed() -> None:
    said = {way: (int(once), int(further)) for way, once, further in ROW.findall(PAGE)}
    assert set(said) == set(SECTIONS)
    for way in SECTIONS:
        lines = typed_from_nothing(way)
        assert all(TYPED.match(line) for line in lines), "nothing but lines to type"
        further = [line for line in lines if "host2" in line]  # typed on it, or about it
        assert said[way] == (len(lines) - len(further), len(further)), way


@pytest.mark.parametrize("way", ["ssh", "slurm", "k8s", "ray"])
def test_commands_from_nothing_are_understood_by_their_engines(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    forget_variables(monkeypatch)
    (command,) = [line.partition("$ ")[2] for line in typed_from_nothing(way) if "dppo up" in line]
    assert run(*shlex.split(command)[1:], "--dry-run") == 0
    assert "CartPole-v1" in capsys.readouterr().out


def test_commands_with_a_file_are_understood(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    forget_variables(monkeypatch)
    Path("run.yaml").write_text("env: {id: CartPole-v1}\ndeploy: {hosts: [h1]}\n")
    commands = {line.partition(" #")[0].rstrip() for line in TYPED.findall(PAGE) if line.startswith("dppo up run.yaml")}
    assert len(commands) > 5
    for command in sorted(commands):
        assert run(*shlex.split(command)[1:], "--dry-run") == 0, capsys.readouterr().err
