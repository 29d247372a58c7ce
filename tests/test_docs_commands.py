"""Commands of the documentation have flags, settings and values that there are. Nothing is started."""

import itertools
import re
import shlex

import pytest
from processes import REPOSITORY

from dppo import cli
from dppo.protocol.errors import UsageError
from dppo.settings import commands as configs
from dppo.settings.command_line import layered, plain

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?:console|text)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(dppo (?:train|learner|evaluate|plot) [^`\n]+)`")
PLACEHOLDERS = ("...", "NAME", "FILE", "RUN", "--config", "HOST", " M")
FAILS = re.compile(r"^\$ (dppo .*)\ndppo: error: ", re.MULTILINE)  # on purpose: the page shows the answer
ARGUMENTS = {"evaluate": (configs.EvaluateArguments, "run"), "plot": (configs.PlotArguments, "runs")}


def commands() -> list[str]:
    """Commands of all pages that can be judged without a run or a file, each once."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        typed = [line.partition("$ ")[2] for line in lines if re.match(r"(?:host\d)?\$ dppo ", line)]
        typed = [line for line in typed if line not in FAILS.findall(text)]
        found |= {line for line in (*typed, *INLINE.findall(text)) if not any(part in line for part in PLACEHOLDERS)}
    return sorted(found)


def parts(command: str) -> list[list[str]]:
    """Return the words of each command in a line of a shell."""
    words = shlex.shlex(command, posix=True, punctuation_chars=";&|")
    words.whitespace_split = True
    grouped = itertools.groupby(words, key=lambda word: set(word) <= set(";&|"))
    return [list(group) for is_separator, group in grouped if not is_separator]


def check(command: str) -> None:
    """Raise UsageError where the command line is wrong."""
    _, name, *rest = parts(command)[0]
    if name in ("train", "learner"):
        config = configs.TrainConfig if name == "train" else configs.LearnerProcessConfig
        layered(name, config, rest)
    elif name in ARGUMENTS:
        config, positional = ARGUMENTS[name]
        plain(name, config, rest, positional=positional)
    elif all(known.split()[0] != name for known in cli.COMMANDS):
        raise UsageError(f"no command {name}")


def test_commands_are_found() -> None:
    assert len(commands()) > 60
    assert "dppo evaluate runs/CartPole-v1 --video cartpole.gif" in " ".join(commands())


@pytest.mark.slow
def test_commands_of_the_documentation_are_understood() -> None:
    wrong = {}
    for command in commands():
        try:
            check(command)
        except UsageError as error:
            wrong[command] = str(error)
    assert wrong == {}


@pytest.mark.parametrize(
    "wrong", ["train X-v0 --n_epochs 3", "evaluate runs/x --episode 3", "train X-v0 --ppo.gamma 2"]
)
def test_a_wrong_command_would_be_found(wrong: str) -> None:
    with pytest.raises(UsageError):
        check(f"dppo {wrong}")
