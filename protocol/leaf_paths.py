"""Names of the leaves of nested observations, and back: observation.arm.0 is observation["arm"][0]. Pure.

A name holds a leaf's whole place, so that a learner, which gets names only, and a policy's graph know the structure.
Letters, digits and _ of a key stand for themselves, "-" is doubled, any other byte of UTF-8 is "-" and two hexadecimal
digits; so is the first digit of a key that is a number, since numbers alone are places in a tuple.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dppo.protocol.errors import ProtocolError

Path = tuple[str | int, ...]  # keys of dicts and places in tuples, the outermost first

_PLAIN = re.compile(r"[A-Za-z0-9_]")
_ENCODED = re.compile(r"(?:[A-Za-z0-9_]|--|-[0-9A-F]{2})*")
_BYTES = re.compile(r"-(-|[0-9A-F]{2})|([A-Za-z0-9_])")


def leaf_name(group: str, path: Path) -> str:
    """Return the name of the leaf at that place; `group` itself where the observation is not nested."""
    return ".".join([group, *(str(part) if isinstance(part, int) else _encoded(part) for part in path)])


def leaf_path(name: str) -> Path:
    """Return the place that `leaf_name` made the name from. Raises ProtocolError where it made no such name."""
    return tuple(_decoded(part) for part in name.split(".")[1:])


def _encoded(key: str) -> str:
    letters = [
        letter
        if _PLAIN.fullmatch(letter)
        else "--"
        if letter == "-"
        else "".join(f"-{byte:02X}" for byte in letter.encode(errors="surrogatepass"))
        for letter in key
    ]
    if key.isascii() and key.isdecimal():
        letters[0] = f"-{ord(key[0]):02X}"
    return "".join(letters)


def _decoded(part: str) -> str | int:
    if part.isdecimal():
        return int(part)
    if not _ENCODED.fullmatch(part):
        raise ProtocolError(f"{part[:64]!r} is no part of a leaf's name")
    key = bytearray()
    for code, plain in _BYTES.findall(part):
        key += plain.encode() or (b"-" if code == "-" else bytes.fromhex(code))
    try:
        return key.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        raise ProtocolError(f"{part[:64]!r} is no part of a leaf's name") from None


class Misplaced(ValueError):
    """A nested observation lacks a leaf, or is nested in another way."""

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(f"{name} is {got}: expected {expected}")
        self.name = name  # of the place: observation, observation.arm
        self.expected = expected  # "a dict with the keys arm, goal"
        self.got = got  # "a dict with the keys arm"


class _Branch(NamedTuple):
    children: tuple[tuple[str | int, "_Branch | None"], ...]  # None: a leaf

    @property
    def is_tuple(self) -> bool:
        return isinstance(self.children[0][0], int)


class Nest:
    """Structure of nested observations: takes them apart into leaves in the spec's order, and puts them together."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: of all leaves, as `leaf_name` makes them. Raises ProtocolError where they form no structure."""
        self.group = names[0].partition(".")[0]
        paths = [leaf_path(name) for name in names]
        self._root = _branch(paths, 0) if paths != [()] else None
        if self._root is not None and list(_paths(self._root, ())) != paths:
            raise ProtocolError(f"the leaves {', '.join(names)[:200]} are in no order that nested observations have")
        self.ignored: list[str] = []  # places at which an observation held more than the structure has

    def leaves(self, nested: Any) -> list[Any]:
        """Return the leaves of an observation, or of a batch of them. Raises Misplaced."""
        if self._root is None:
            return [nested]
        found: list[Any] = []
        try:
            self._collect(self._root, nested, found)
        except (KeyError, IndexError, TypeError):
            self._refuse(self._root, nested, ())
            raise
        return found

    def nested(self, leaves: Sequence[Any]) -> Any:
        """Return the observation that has these leaves: dicts and tuples."""
        return leaves[0] if self._root is None else _built(self._root, iter(leaves))

    def _collect(self, branch: _Branch, nested: Any, found: list[Any]) -> None:
        for key, child in branch.children:
            if child is None:
                found.append(nested[key])
            else:
                self._collect(child, nested[key], found)
        if len(nested) != len(branch.children):
            self._note_more(branch, nested)

    def _note_more(self, branch: _Branch, nested: Any) -> None:
        known = {key for key, _ in branch.children}
        more = [key for key in (range(len(nested)) if branch.is_tuple else nested) if key not in known]
        self.ignored += [str(key) for key in more]

    def _refuse(self, branch: _Branch, nested: Any, path: Path) -> None:
        """Raise Misplaced for the first place that is not as it should be."""
        keys = [key for key, _ in branch.children]
        if branch.is_tuple:
            fits = isinstance(nested, Sequence) and not isinstance(nested, str | bytes) and len(nested) >= len(keys)
            expected = f"a tuple of {len(keys)}"
        else:
            fits = isinstance(nested, Mapping) and all(key in nested for key in keys)
            expected = f"a dict with the keys {', '.join(map(str, keys))}"
        if not fits:
            raise Misplaced(leaf_name(self.group, path), expected, _described(nested))
        for key, child in branch.children:
            if child is not None:
                self._refuse(child, nested[key], (*path, key))


def _branch(paths: Sequence[Path], depth: int) -> _Branch:
    """Return the branch of all paths, which agree in their first `depth` parts."""
    below: dict[str | int, list[Path]] = {}
    for path in paths:
        if len(path) <= depth:
            raise ProtocolError("a leaf's place is within another leaf")
        below.setdefault(path[depth], []).append(path)
    keys = list(below)
    if any(isinstance(key, int) for key in keys) and keys != list(range(len(keys))):
        raise ProtocolError("the places of a tuple's leaves are not 0, 1, 2 and so on")
    return _Branch(
        tuple(
            (key, None if len(those) == 1 and len(those[0]) == depth + 1 else _branch(those, depth + 1))
            for key, those in below.items()
        )
    )


def _paths(branch: _Branch, path: Path) -> Iterator[Path]:
    for key, child in branch.children:
        if child is None:
            yield (*path, key)
        else:
            yield from _paths(child, (*path, key))


def _built(branch: _Branch, leaves: Iterator[Any]) -> Any:
    parts = [(key, next(leaves) if child is None else _built(child, leaves)) for key, child in branch.children]
    return tuple(part for _, part in parts) if branch.is_tuple else dict(parts)


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with the keys {', '.join(map(str, value))[:100] or '(none)'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    shape = getattr(value, "shape", None)
    return f"a value of type {type(value).__name__}{f' and shape {shape}' if shape is not None else ''}"
