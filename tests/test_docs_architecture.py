"""The documentation names files, modules and functions that exist."""

import re
from pathlib import Path

import pytest

import dppo

REPOSITORY = Path(__file__).parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FOLDERS = "protocol|actor|learner|dppo|scripts|tests|docs|benchmarks"
PATH = re.compile(rf"(?<![\w/.<-])(?:{FOLDERS})/[\w./*-]*\w(?:/|\*)?")
MODULE = re.compile(r"(?<![\w/-])dppo(?:\.[a-z_]\w*)+")
NO_MODULES = {
    "dppo.group_rows",
    "dppo.noise",
    "dppo.spec",
    "dppo.version",
    "dppo.update",
    "dppo.mean_return",
}  # metadata of the graph
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)")


def names(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def is_there(path: str) -> bool:
    return any(REPOSITORY.glob(path.rstrip("/").replace("NAME", "*")))


def is_module(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one."""
    path = name.replace(".", "/")
    if name.removeprefix("dppo.") in dppo.__all__ or is_there(path) or is_there(f"{path}.py"):
        return True
    module, _, last = path.rpartition("/")
    return is_there(f"{module}.py") and last in (REPOSITORY / f"{module}.py").read_text()


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_path_on_a_page_exists(page: Path) -> None:
    assert [path for path in PATH.findall(page.read_text()) if not is_there(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_test_on_a_page_exists(page: Path) -> None:
    found = re.findall(r"\btest_\w+\*?\.py", page.read_text())
    assert [name for name in found if not is_there(f"tests/{name}")] == []


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_module_on_a_page_exists(page: Path) -> None:
    found = set(MODULE.findall(page.read_text())) - NO_MODULES
    assert [name for name in sorted(found) if not is_module(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


def test_every_room_is_on_the_page_of_the_architecture() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    tops = [REPOSITORY / name for name in ("protocol", "actor", "learner", "dppo")]
    rooms = [path for top in tops for path in (top, *top.iterdir()) if path.is_dir() and not path.is_symlink()]
    folders = [f"{path.relative_to(REPOSITORY).as_posix()}/" for path in rooms if not path.name.startswith("__")]
    assert [folder for folder in folders if f"`{folder}`" not in page] == []


def rows_of_the_strangers_test() -> list[tuple[str, str, str]]:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    table = page.partition("## Where is ...?")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "`" in line]
    return [(question, files, there) for question, files, there in rows]


def test_names_in_the_answers_are_in_the_files_of_the_answers() -> None:
    rows = rows_of_the_strangers_test()
    assert len(rows) >= 20
    for question, files, there in rows:
        paths = re.findall(r"`([\w/]+\.py)`", files + there)
        text = "\n".join((REPOSITORY / path).read_text() for path in paths)
        identifiers = re.findall(r"`(\w+)`", there)
        assert identifiers, question
        assert [name for name in identifiers if not re.search(rf"\b{name}\b", text)] == [], question


def test_names_in_the_glossary_are_in_the_files_beside_them() -> None:
    page = (REPOSITORY / "docs" / "glossary.md").read_text()
    entries = re.findall(r"\| `([\w/]+\.py)` `(\w+)` \|$", page, flags=re.MULTILINE)
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| word ")]
    assert len(entries) == len(lines) > 40
    wrong = [
        f"{file} {name}" for file, name in entries if not re.search(rf"\b{name}\b", (REPOSITORY / file).read_text())
    ]
    assert wrong == []
