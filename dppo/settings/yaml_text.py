"""YAML as settings are written in it, to read and to write. Knows PyYAML; imported where a text is at hand."""

import re
from typing import Any

import yaml
from yaml import YAMLError

__all__ = ["Yaml", "YAMLError", "load", "one_line"]


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
    return yaml.load(text, Loader=Yaml)  # noqa: S506  a SafeLoader


def one_line(value: Any) -> str:
    """Return the text of a value as it stands behind its name."""
    options: dict[str, Any] = {"default_flow_style": True, "width": float("inf"), "allow_unicode": True}
    return str(yaml.dump([value], Dumper=YamlDumper, sort_keys=False, **options)).strip()[1:-1]
