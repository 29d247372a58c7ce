"""docs/settings.md out of the dataclasses; a test keeps the file current.

Run `python -m dppo.settings.docs_page > docs/settings.md`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dppo.actor.config import ActorConfig
from dppo.deploy.config import DeployConfig, UpConfig
from dppo.learner.run_config import MAY_CHANGE
from dppo.relay.config import RelayConfig
from dppo.settings.commands import LearnerProcessConfig, TrainConfig
from dppo.settings.fields import FLATTENED
from dppo.settings.help import field_texts

HEAD = """\
# Settings

Generated from the code by `python -m dppo.settings.docs_page > docs/settings.md`.

A setting `section.name` is `--section.name` on the command line (`_` as `-`), `name` below `section:` in a YAML file,
and `DPPO_SECTION__NAME` in the environment. Later layers win: defaults, preset, file, environment, flags.
`--print-config` shows the result and which layer set each value.

A run keeps its settings. Only those with a * may differ when a run goes on; the change is noted in its `history.jsonl`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    sections = get_type_hints(TrainConfig)["learner"]
    hints = get_type_hints(sections)
    parts += [
        _table(f"{field.name}: {hints[field.name].__doc__}", hints[field.name], f"{field.name}.")
        for field in dataclasses.fields(sections)
    ]
    for command, config in (
        ("train", TrainConfig),
        ("learner", LearnerProcessConfig),
        ("actor", ActorConfig),
        ("relay", RelayConfig),
    ):
        parts.append(_table(f"Only of `dppo {command}`", config, ""))
    parts.append(_table("Only of `dppo up`", UpConfig, ""))
    parts.append(_table("deploy: section of files for `dppo up` ([deploy.md](deploy.md))", DeployConfig, "deploy."))
    return "\n".join(parts)


def _table(title: str, config: type[Any], prefix: str) -> str:
    rows = "\n".join(_rows(config, prefix))
    return f"## {title}\n\n| setting | values | default | |\n|---|---|---|---|\n{rows}\n"


def _rows(config: type[Any], prefix: str) -> Iterator[str]:
    hints, texts = get_type_hints(config), field_texts(config)
    for field in dataclasses.fields(config):
        if field.metadata == FLATTENED or field.name == "deploy":  # a table of its own
            continue
        default = "required"
        if field.default is not dataclasses.MISSING:
            default = f"`{field.default}`" if field.default != "" else "empty"
        elif field.default_factory is not dataclasses.MISSING:
            default = f"`{field.default_factory()}`"
        text = texts[field.name].replace("|", "\\|")
        mark = "*" if field.metadata == MAY_CHANGE else ""
        yield f"| `{prefix}{field.name}`{mark} | {_kind(hints[field.name])} | {default} | {text} |"


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if get_args(hint):
        return str(hint).replace("|", "or").replace("typing.", "")
    return str(hint.__name__)


if __name__ == "__main__":
    print(page(), end="")
