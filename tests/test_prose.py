"""Beginnings of docstrings: a verb, or a noun phrase that names the thing. "Whether" is for booleans."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
FOLDERS = ("protocol", "actor", "learner", "dppo", "scripts")
PRONOUNS = {
    *("anybody", "anyone", "anything", "everybody", "everyone", "everything", "nobody", "nothing", "somebody"),
    *("someone", "something", "he", "i", "it", "its", "she", "that", "there", "these", "they", "this", "those", "we"),
}
RELATIVES = {
    *("how", "so", "what", "whatever", "when", "whenever", "where", "wherever", "which", "whichever", "who"),
    *("whoever", "whom", "whose", "why"),
}
PREPOSITIONS = {"as", "by", "for", "from", "of"}
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text


def begins_badly(text: str) -> bool:
    first = text.split()[0].strip('"`.,:;()').lower()
    return first in PRONOUNS | RELATIVES | PREPOSITIONS


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_a_verb_or_a_noun_phrase(folder: str) -> None:
    paths = [path for path in sorted((REPOSITORY / folder).rglob("*.py")) if path.resolve() == path]
    found = [
        f"{path.relative_to(REPOSITORY).as_posix()}:{line}: {text.splitlines()[0]}"
        for path in paths
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if begins_badly(text)
    ]
    assert paths
    assert found == []


@pytest.mark.parametrize(("text", "is_bad"), [("What it is.", True), ("Whether it is.", False), ("Return it.", False)])
def test_what_counts_as_a_bad_beginning(text: str, is_bad: bool) -> None:
    assert begins_badly(text) == is_bad
