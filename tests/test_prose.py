"""The house rules of writing: docstrings begin with a verb, or a noun phrase that names the thing; words; lengths.

"Whether" is for booleans.
"""

import ast
import re
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
MOST_LINES = 60
# peer, actor, learner, client, caller, process or user instead
VAGUE = re.compile(r"\b([Nn]obody|[Ss]omebody|[Ss]omeone|[Ee]verybody|[Ee]veryone|[Aa]nybody|[Aa]nyone|[Ww]hoever)\b")
DEVIATION = re.compile(r"\bdeviation\b")
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
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


def sources() -> list[Path]:
    paths = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return [path for path in paths if path.resolve() == path]


def test_peers_processes_and_users_are_named() -> None:
    found = [
        f"{path.relative_to(REPOSITORY).as_posix()}:{number}: {line.strip()}"
        for path in [*sources(), *PAGES]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if VAGUE.search(line) and "chown nobody" not in line
    ]
    assert found == []


def test_a_deviation_on_a_page_is_a_standard_one() -> None:
    texts = {path.name: " ".join(path.read_text(encoding="utf-8").split()) for path in PAGES}
    found = [
        f"{name}: {text[max(0, match.start() - 40) : match.end()]}"
        for name, text in texts.items()
        for match in DEVIATION.finditer(text)
        if not text[: match.start()].endswith(("tandard ",))
    ]
    assert found == []


def multiplied_texts(source: str) -> Iterator[int]:
    """Lines in which a text is multiplied by a truth value: a conditional expression says what is meant."""
    if not re.search(r"""["'] ?\* |\* f?["']""", source):  # most have none, and parsing takes its time
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            sides = (node.left, node.right)
            is_text = any(
                isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
                for side in sides
            )
            is_truth = any(
                isinstance(side, ast.Compare | ast.BoolOp)
                or (isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.Not))
                or (isinstance(side, ast.Call) and ast.unparse(side.func) == "bool")
                for side in sides
            )
            if is_text and is_truth:
                yield node.lineno


def test_conditional_text_is_a_conditional_expression() -> None:
    found = [
        f"{path.relative_to(REPOSITORY).as_posix()}:{line}"
        for path in sources()
        for line in multiplied_texts(path.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert list(multiplied_texts("a = 'x' * bool(b)\nc = f'{a}s' * (n != 1)\nd = '-' * width")) == [1, 2]


def test_no_function_is_longer_than_60_lines() -> None:
    lengths = {
        f"{path.relative_to(REPOSITORY).as_posix()} {node.name}": node.end_lineno - node.lineno + 1
        for path in sources()
        if len((source := path.read_text(encoding="utf-8")).splitlines()) > MOST_LINES
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert len(lengths) > 1000
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize(("text", "is_bad"), [("What it is.", True), ("Whether it is.", False), ("Return it.", False)])
def test_what_counts_as_a_bad_beginning(text: str, is_bad: bool) -> None:
    assert begins_badly(text) == is_bad
