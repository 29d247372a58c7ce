"""llms.txt: the pages with a line on each, for language models (https://llmstxt.org). Knows mkdocs.yml and Markdown."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / "mkdocs.yml"
ABOUT = 240  # characters of a page's first sentences


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml: objects of Python in it become None."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def site_config() -> dict[str, Any]:
    """Return mkdocs.yml as plain values."""
    with CONFIG.open(encoding="utf-8") as file:
        config: dict[str, Any] = _Loader(file).get_single_data()
    return config


def entries(nav: list[Any], section: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (section, title, page) of each entry of a nav."""
    for entry in nav:
        for title, value in entry.items():
            if isinstance(value, str):
                yield section or title, title, value
            else:
                yield from entries(value, title)


def llms_text(config: Mapping[str, Any], pages: Mapping[str, str]) -> str:
    """Return the file. pages: Markdown by name; those that nav does not name come last."""
    listed = list(entries(config["nav"]))
    named = {page for _, _, page in listed}
    listed += [("More", _title(pages[page]), page) for page in sorted(set(pages) - named)]
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}"]
    section = ""
    for group, title, page in listed:
        if group != section:
            section = group
            lines += ["", f"## {section}", ""]
        lines.append(f"- [{title}]({page}): {about(pages[page])}")
    return "\n".join(lines) + "\n"


def about(markdown: str) -> str:
    """Return the first sentences of a page as plain text, at most ABOUT characters."""
    paragraphs = re.split(r"\n\s*\n", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL))
    first = next((text for text in paragraphs if re.match(r"[A-Za-z*`\[]", text)), "")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(first.split())).replace("**", "")
    text = ""
    for sentence in re.split(r"(?<=[.:!?]) ", plain):
        if text and len(text) + len(sentence) > ABOUT:
            break
        text = f"{text} {sentence}".strip()
    return text


def _title(markdown: str) -> str:
    return markdown.partition("# ")[2].partition("\n")[0]
