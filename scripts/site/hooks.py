"""Hooks of MkDocs: links to files outside docs/, which the site gets a copy of; pages from the code; llms.txt.

A link to a folder, or to a page outside docs/, becomes its text: the site has neither.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
sys.path.append(str(REPOSITORY))  # MkDocs loads this file by its path

from scripts.site.api_page import page as api_page  # noqa: E402
from scripts.site.dialect import as_python_markdown  # noqa: E402
from scripts.site.llms import llms_text, site_config  # noqa: E402

COPIES = "repository"  # folder of the site
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]+)(#[\w-]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the Python API, and the files outside docs/ that pages link to."""
    files.append(File.generated(config, "api.md", content=api_page()))
    targets = {target for file in files.documentation_pages() for target in _targets(file)}
    for target in sorted(targets):
        if _is_copied(target):
            files.append(File.generated(config, f"{COPIES}/{target}", abs_src_path=str(REPOSITORY / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page in the site's dialect, with its links outside docs/ leading to the copies."""

    def changed(match: re.Match[str]) -> str:
        text, link, _ = match.groups()
        target = _target(page.file, link)
        return f"[{text}]({_up(page.file)}{COPIES}/{target})" if _is_copied(target) else text

    return as_python_markdown(LINK.sub(changed, markdown))


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt, and beside it the pages' sources, which it leads to."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in Path(config.docs_dir).glob("*.md")}
    sources["api.md"] = api_page()
    sources["llms.txt"] = llms_text(site_config(), sources)
    for name, text in sources.items():
        Path(config.site_dir, name).write_text(text, encoding="utf-8")


def _targets(file: File) -> Iterator[str]:
    return (_target(file, match[2]) for match in LINK.finditer(file.content_string))


def _target(file: File, link: str) -> str:
    """Return the path in the repository of what a link leads to."""
    path = REPOSITORY / "docs" / PurePosixPath(file.src_uri).parent / link
    return path.resolve().relative_to(REPOSITORY).as_posix()


def _is_copied(target: str) -> bool:
    path = REPOSITORY / target
    return path.is_file() and path.suffix != ".md"


def _up(file: File) -> str:
    return "../" * (len(PurePosixPath(file.src_uri).parts) - 1)
