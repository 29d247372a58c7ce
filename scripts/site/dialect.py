"""Markdown as GitHub reads it, rewritten for Python-Markdown, which MkDocs uses. Pure: text in, text out.

Python-Markdown wants an empty line before a list or a table, and what belongs to an item indented by four spaces.
"""

import re
from collections.abc import Iterator

ITEM = re.compile(r"([-*]|\d+\.) +")
FENCE = re.compile(r" *(```|~~~)")
TAB = 4  # spaces of an item's content


def as_python_markdown(text: str) -> str:
    """Return the same page in the other dialect."""
    return "\n".join(_lines(text.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    is_code = False
    width = 0  # of the marker of the item that this line may belong to, 0: none
    shift = 0  # of the fence that is open
    before = ""  # the line before
    was_fence = False  # whether it ended code
    for line in lines:
        is_fence = bool(FENCE.match(line))
        indent = len(line) - len(line.lstrip())
        if was_fence and line.strip():
            yield ""
        if not is_code and line.strip() and not indent:
            item = ITEM.match(line)
            if not was_fence and _begins_block(line, before, is_in_list=bool(width)):
                yield ""
            width = item.end() if item else 0 if not before.strip() or is_fence else width
        if width and indent >= width:
            shift = shift if is_code else (TAB - width) * (indent // width)
            line = " " * shift + line
        yield line
        was_fence = is_code and is_fence
        is_code ^= is_fence
        before = line


def _begins_block(line: str, before: str, *, is_in_list: bool) -> bool:
    """Whether a line begins a list or a table right below a paragraph."""
    if not before.strip() or before.startswith(("#", "|")):
        return False
    if ITEM.match(line):
        return not is_in_list
    return line.startswith("|")
