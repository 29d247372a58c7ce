"""docs/from-other-libraries.md: its settings are ours, and foreign names are answered with the setting of their row."""

import re

import pytest
from processes import REPOSITORY

from dppo.settings.commands import TrainConfig
from dppo.settings.fields import settings_of
from dppo.settings.suggestions import suggestion

PAGE = (REPOSITORY / "docs" / "from-other-libraries.md").read_text()
SETTINGS = settings_of(TrainConfig)
OTHERWISE = {  # what the command line answers with more than one word may mean, or takes as it is
    "env": "a short form of env.id",
}


def rows() -> list[list[str]]:
    """Cells of the table of settings, without its head."""
    text = PAGE.partition("\n## Settings\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]


def ours_of(row: list[str]) -> str:
    """Our settings of a row, as suggestions name them."""
    return " and ".join(re.findall(r"`([\w.]+)`", row[0]))


NAMES = [
    (ours_of(row), name)
    for row in rows()
    for cell in row[1:4]
    for name in re.findall(r"`(\w+)`", cell)
    if name not in OTHERWISE
]


def test_the_table_is_read() -> None:
    assert len(rows()) > 30
    assert len(set(NAMES)) > 55


@pytest.mark.parametrize("row", rows(), ids=ours_of)
def test_every_setting_of_the_table_is_one(row: list[str]) -> None:
    assert [name for name in ours_of(row).split(" and ") if name not in SETTINGS] == []


@pytest.mark.parametrize(("ours", "theirs"), sorted(set(NAMES)))
def test_a_foreign_name_is_answered_with_ours(ours: str, theirs: str) -> None:
    if ours.rpartition(".")[2] != theirs:  # the same word needs no answer
        assert suggestion(theirs, SETTINGS).startswith(tuple(f" (here it is {ours}{end}" for end in (")", ": ", "; ")))


def test_settings_that_the_text_names_are_ours() -> None:
    prefixes = "|".join(sorted({name.partition(".")[0] for name in SETTINGS if "." in name}))
    named = set(re.findall(rf"`((?:{prefixes})\.\w+)", PAGE))
    assert named - set(SETTINGS) == set()


@pytest.mark.parametrize("name", ["target_kl", "target-kl"])
def test_a_name_that_is_ours_for_something_else_is_answered_with_both(name: str) -> None:
    """Stable-Baselines3 and CleanRL end the epochs of an update at `target_kl`."""
    other = "ppo.target_kl is what the kl schedule and kl_penalty aim at"
    assert suggestion(name, SETTINGS) == f" (here it is ppo.early_stop_kl; {other})"
    assert suggestion("ppo.target_k", SETTINGS) == " (did you mean ppo.target_kl?)"
