"""The reference of the Python API out of its docstrings, as Markdown. Knows `dppo.__all__` and source text.

`python -m scripts.site.api_page` prints the page; `make docs` makes it anew each time.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import dppo

HEAD = """\
# Python API

Made from the docstrings of `import dppo`. [From Python](python.md) has examples, [Settings](settings.md) the names
that `dppo.train` takes.
"""
GROUPS = ("Functions", "Classes", "Errors")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """Return the whole page."""
    named = [(name, getattr(dppo, name)) for name in dppo.__all__]
    parts = [HEAD]
    for group in GROUPS:
        parts.append(f"## {group}\n")
        parts += [_section(name, entry) for name, entry in named if _group(entry) == group]
    return "\n".join(parts)


def _group(entry: Any) -> str:
    if not inspect.isclass(entry):
        return "Functions"
    return "Errors" if issubclass(entry, Exception) else "Classes"


def _section(name: str, entry: Any) -> str:
    lines = [f"### dppo.{name}", ""]
    if not inspect.isclass(entry):
        return "\n".join([*lines, *_function(f"dppo.{name}", entry)])
    base = entry.__mro__[1]
    if issubclass(entry, Exception) and base.__module__ != "builtins":
        lines += [f"Derived from `dppo.{base.__name__}`.", ""]
    lines += _paragraphs(inspect.getdoc(entry) or "", ())
    if "__dataclass_fields__" in vars(entry):
        lines += _fields(entry)
    for member, function in _own_functions(entry):
        lines += [f"#### {name}.{member}", "", *_function(f"{name}.{member}", function)]
    return "\n".join(lines)


def _own_functions(entry: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield public methods and properties of the class and of its bases in dppo, those of the nearest class first."""
    seen = set()
    for kind in entry.__mro__:
        if not kind.__module__.startswith("dppo."):
            continue
        for member, value in vars(kind).items():
            found = value.fget if isinstance(value, property) else inspect.unwrap(getattr(value, "__func__", value))
            if not member.startswith("_") and inspect.isfunction(found) and member not in seen:
                seen.add(member)
                yield member, value


def _function(title: str, function: Any) -> Iterator[str]:
    """Yield the lines on a function: its signature, then its docstring."""
    is_property = isinstance(function, property)
    plain = function.fget if is_property else inspect.unwrap(getattr(function, "__func__", function))
    node = ast.parse(textwrap.dedent(inspect.getsource(plain))).body[0]
    if not isinstance(node, Function):
        raise TypeError(f"{title} is no function: {ast.dump(node)[:80]}")
    returns = f" -> {ast.unparse(node.returns).strip(chr(39))}" if node.returns else ""
    yield from ("```text", f"{title}{'' if is_property else _arguments(node)}{returns}", "```", "")
    yield from _paragraphs(inspect.getdoc(plain) or "", [argument.arg for argument in _all_arguments(node.args)])


def _arguments(node: Function) -> str:
    """Return `(a, *, b: int = 1)`, one argument a line where there are several."""
    arguments = node.args
    parts = []
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parts = [_argument(*pair) for pair in zip(positional, defaults, strict=True) if pair[0].arg not in ("self", "cls")]
    if arguments.vararg:
        parts.append(f"*{_argument(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [_argument(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        parts.append(f"**{_argument(arguments.kwarg, None)}")
    text = f"({', '.join(parts)})"
    return text if len(text) <= 60 else "(\n    " + ",\n    ".join(parts) + ",\n)"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    hint = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    value = "" if default is None else f"{' = ' if hint else '='}{ast.unparse(default)}"
    return f"{argument.arg}{hint}{value}"


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    several = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [*several, *(argument for argument in (arguments.vararg, arguments.kwarg) if argument)]


def _paragraphs(text: str, arguments: list[str] | tuple[()]) -> Iterator[str]:
    """Yield a docstring as Markdown: paragraphs, and `name: text` about an argument as an item of a list."""
    item = re.compile(rf"(?:^|(?<=[.)] ))({'|'.join(map(re.escape, arguments))}): ") if arguments else None
    for paragraph in text.split("\n\n"):
        joined = _escaped(" ".join(paragraph.split()))
        before, *items = item.split(joined) if item else [joined]
        if before:
            yield from (before.strip(), "")
        for name, about in zip(items[::2], items[1::2], strict=True):
            about, is_raises, errors = about.partition(" Raises ")
            yield f"- `{name}`: {about.strip()}"
            if is_raises:
                yield from ("", f"Raises {errors}")
        if items:
            yield ""


def _escaped(text: str) -> str:
    """Return plain text as Markdown that looks like it; `code` stays as it is."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*<>|])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _fields(entry: type[Any]) -> Iterator[str]:
    """Yield a table of a dataclass's fields, with the comment beside each."""
    node = ast.parse(textwrap.dedent(inspect.getsource(entry))).body[0]
    lines = textwrap.dedent(inspect.getsource(entry)).splitlines()
    rows = []
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            _, _, comment = lines[(part.end_lineno or part.lineno) - 1].partition("  # ")
            hint = ast.unparse(part.annotation).replace(" | ", " or ")
            rows.append(f"| `{part.target.id}` | `{hint}` | {_escaped(comment)} |")
    if rows:
        yield from ("| field | type | |", "|---|---|---|", *rows, "")


if __name__ == "__main__":
    print(page(), end="")
