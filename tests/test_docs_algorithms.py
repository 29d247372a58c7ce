"""docs/algorithms.md names a source and a test for each rule, correction and option; docs/experiments.md a command and
a file for each table.
"""

import argparse
import ast
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from command_line import let_nothing_run, run
from processes import REPOSITORY

from dppo.learner.collect_checks import RuleName
from dppo.learner.ppo_config import PpoConfig
from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of

ALGORITHMS, EXPERIMENTS = (REPOSITORY / "docs" / f"{name}.md" for name in ("algorithms", "experiments"))
ROW = re.compile(r"^\| `([^`]+)` \| (.+?) \| `tests/(\w+\.py)::(\w+)` \|$", re.M)
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.M | re.S)
COMMAND = re.compile(r"^ {4,}((?:python -m scripts|dppo bench).*)$", re.M)
SEEDS = 5


def rows() -> list[tuple[str, ...]]:
    return ROW.findall(ALGORITHMS.read_text())


def test_every_rule_correction_and_option_has_a_row_with_its_source_and_test() -> None:
    named = {setting for setting, *_ in rows()}
    of_rules = {f"collect.rule: {rule}" for rule in get_args(RuleName)}
    of_corrections = {f"ppo.correction: {name}" for name in get_args(get_type_hints(PpoConfig)["correction"])}
    others = {"collect.max_staleness", "collect.late_learners", "collect.on_stop: drop", "ppo.reuse", "--learners M"}
    assert of_rules | of_corrections | others | {"network.noise_colour"} <= named
    known = settings_of(TrainConfig)
    assert [name for name in named if name.partition(":")[0] not in known and not name.startswith("--")] == []


@pytest.mark.parametrize(("setting", "source", "file", "test"), rows(), ids=lambda value: value[:40])
def test_each_test_of_the_table_is_there(setting: str, source: str, file: str, test: str) -> None:
    tree = ast.parse((REPOSITORY / "tests" / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (setting, source)


def test_each_section_on_a_rule_names_source_and_tests() -> None:
    sections = dict(SECTION.findall(ALGORITHMS.read_text()))
    for name, text in sections.items():
        if name != "Where each is from":
            assert re.search(r"Sources?:|Where it is from", text), name
            assert re.search(r"Tests:\s+`tests/test_\w+\.py`", text), name


def commands() -> list[list[str]]:
    return [shlex.split(line) for line in COMMAND.findall(EXPERIMENTS.read_text()) if "ENV" not in line]


class Parsed(Exception):
    """The command line was understood."""


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_each_command_of_the_experiments_is_understood(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if command[0] == "dppo":
        let_nothing_run(monkeypatch)
        assert run(*command[1:]) == 0
        return
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser, *given: Any) -> None:
        parse(parser, command[3:])
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    with pytest.raises(Parsed):
        importlib.import_module(command[2]).main()


def written_by(command: list[str]) -> list[Path]:
    return [REPOSITORY / word for word in command if word.startswith("benchmarks/")]


def test_each_table_of_the_experiments_has_a_file_with_five_seeds() -> None:
    files = {file for command in commands() for file in written_by(command)}
    assert len(files) > 12
    few = {
        file.relative_to(REPOSITORY).as_posix()
        for file in files
        for count in seeds_in(json.loads(file.read_bytes()))
        if count < SEEDS
    }
    assert not few


def seeds_in(content: dict[str, Any]) -> list[int]:
    """Return how many seeds each row of a file has, in each form that experiments have written."""
    if "runs" in content and isinstance(content["runs"], list):  # of `dppo bench`
        found: dict[tuple[Any, ...], set[int]] = {}
        for row in content["runs"]:
            found.setdefault((row["milliseconds"], row["reuse"]), set()).add(row["seed"])
        return [len(seeds) for seeds in found.values()]
    return [_seeds_of(row) for row in content["rows"].values()]


def _seeds_of(row: dict[str, Any]) -> int:
    if isinstance(row.get("seeds"), int):
        return int(row["seeds"])
    lists = [value["seeds"] if isinstance(value, dict) else value for value in row.values()]
    return max(len(values) for values in lists if isinstance(values, list))
