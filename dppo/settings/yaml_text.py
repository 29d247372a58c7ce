"""YAML as settings are written in it, to read and to write. Knows PyYAML; imported where a text is at hand."""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from yaml import YAMLError

__all__ = ["Yaml", "YAMLError", "lines_of", "load", "one_line"]


class Yaml(yaml.SafeLoader):
    """YAML with numbers as people write them (3e-4), and without repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Like the parent, except that a key given twice is an error instead of a silent override."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Like the parent, except that a date or number that is none (2026-02-30, 0x_) is an error of YAML."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, ArithmeticError, AttributeError, IndexError, TypeError) as error:
            what = f"{node.value if isinstance(node, yaml.ScalarNode) else 'this'} cannot be read ({error}): quote it"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error


class YamlDumper(yaml.SafeDumper):
    """Quotes text that `Yaml` would read as a number."""


# PyYAML follows YAML 1.1, where a number needs a dot before the exponent: 3e-4 would be text
for _class in (Yaml, YamlDumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def load(text: str) -> Any:
    """Return what a text stands for. Raises YAMLError."""
    try:
        return yaml.load(text, Loader=Yaml)  # noqa: S506  a SafeLoader
    except RecursionError:
        raise YAMLError("it is nested too deeply") from None


def one_line(value: Any) -> str:
    """Return the text of a value as it stands behind its name."""
    return _dumped([value], flow=True).strip()[1:-1]


_PLAIN = re.compile(r"[\w./+-]*", re.ASCII)


def lines_of(values: Sequence[Any]) -> list[str]:
    """Return `one_line` of each value: scalars by one dumper, which a run makes more than a hundred of otherwise."""
    scalars = [place for place, value in enumerate(values) if _is_plain(value)]
    found = dict(zip(scalars, _dumped([values[place] for place in scalars], flow=False).splitlines(), strict=True))
    return [found[place][2:] if place in found else one_line(value) for place, value in enumerate(values)]


def _is_plain(value: Any) -> bool:
    """Return whether a value is written in the same way wherever it stands, on one line."""
    return isinstance(value, bool | int | float | None) or (isinstance(value, str) and bool(_PLAIN.fullmatch(value)))


def _dumped(values: list[Any], *, flow: bool) -> str:
    if not values:
        return ""
    options: dict[str, Any] = {"default_flow_style": flow, "width": float("inf"), "allow_unicode": True}
    return str(yaml.dump(values, Dumper=YamlDumper, sort_keys=False, **options))
