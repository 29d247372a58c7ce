"""The documentation builds as a site: strictly, readable without a network, with a page on all of the Python API."""

import inspect
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from processes import REPOSITORY

import dppo
from scripts.site.api_page import page as api_page
from scripts.site.llms import about, entries, llms_text, site_config

GENERATED = {"api.md"}  # by scripts/site/hooks.py, in each build
PAGES = {path.name for path in (REPOSITORY / "docs").glob("*.md")}
ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="?(?:https?:)?//[^">\s]+""")


def test_every_entry_of_the_sites_menu_is_a_page_and_none_is_there_twice() -> None:
    named = [page for _, _, page in entries(site_config()["nav"])]
    assert set(named) - PAGES - GENERATED == set()
    assert len(named) == len(set(named))


def test_the_page_of_the_api_has_every_name_and_argument() -> None:
    page = api_page()
    assert re.findall(r"^### dppo\.(\w+)$", page, re.MULTILINE) != []
    assert set(re.findall(r"^### dppo\.(\w+)$", page, re.MULTILINE)) == set(dppo.__all__)
    for name in ("train", "evaluate", "load_policy", "plot", "runs"):
        section = page.partition(f"### dppo.{name}\n")[2].partition("\n### ")[0]
        signature = section.partition("```text\n")[2].partition("```")[0]
        for argument in inspect.signature(getattr(dppo, name)).parameters:
            assert re.search(rf"\b{argument}: ", signature), (name, argument)
    assert "#### Policy.predict" in page
    assert "| `solved_steps` | `int or None` | when run.target_return was reached; None: not yet |" in page


def test_the_page_of_the_api_lists_arguments_and_keeps_their_text() -> None:
    section = api_page().partition("### dppo.load_policy\n")[2].partition("\n### ")[0]
    assert "\n- `seed`: of sampled actions.\n\nRaises UsageError where there is no policy.\n" in section


def test_llms_txt_has_a_line_for_every_page_also_for_those_without_an_entry() -> None:
    pages = {name: (REPOSITORY / "docs" / name).read_text() for name in PAGES} | {"api.md": api_page()}
    text = llms_text(site_config(), pages | {"new.md": "# New things\n\nA page [of](x.md) today. " + "More. " * 99})
    assert set(re.findall(r"\]\(([\w-]+\.md)\): \S", text)) == PAGES | GENERATED | {"new.md"}
    assert text.startswith("# dppo\n\n> Distributed PPO")
    assert "\n## More\n\n- [New things](new.md): A page of today. More. More." in text
    assert all(len(line) < 320 for line in text.splitlines())


def test_the_line_on_a_page_is_its_first_paragraph() -> None:
    assert (
        about("# Title\n\n```\ncode\n```\n\nFor *you*. And\nmore: [x](y.md).\n\nNot this.") == "For *you*. And more: x."
    )


def test_the_picture_of_the_screen_is_a_run_to_its_end_and_loads_nothing() -> None:
    text = (REPOSITORY / "docs" / "images" / "screen.svg").read_text()
    root = ElementTree.fromstring(text)
    assert re.findall(r"https?://[^\"]+", text.replace("http://www.w3.org/2000/svg", "")) == []
    words = " ".join("".join(root.itertext()).split())
    *_, last = re.findall(r"return (-\d+\.\d) of (-200)", words.replace("\xa0", " "))
    assert float(last[0]) >= float(last[1])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("the extra dppo[docs] is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_strictly_and_needs_no_other_host(site: Path) -> None:
    pages = {path.name: path.read_text() for path in site.glob("*.html")}
    assert {name.replace(".md", ".html") for name in PAGES | GENERATED} <= set(pages)
    assert {name: found for name, text in pages.items() if (found := ELSEWHERE.findall(text))} == {}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", styles)


@pytest.mark.slow
def test_the_sites_pages_are_read_as_they_are_meant(site: Path) -> None:
    """Lists and tables need an empty line before them, which GitHub does not ask for."""
    for path in site.glob("*.html"):
        text = path.read_text()
        article = re.sub(r"<pre.*?</pre>", "", text.partition("<article")[2].partition("</article>")[0], flags=re.S)
        paragraphs = re.findall(r"<p>(.*?)</p>", article, re.S)
        assert [part for part in paragraphs if re.search(r"^(?:[-*] |\d+\. |\|)", part, re.M)] == [], path.name
        assert "```" not in article, path.name


@pytest.mark.slow
def test_links_out_of_the_folder_lead_to_copies(site: Path) -> None:
    assert (site / "repository/benchmarks/chaos.json").read_bytes() == (
        REPOSITORY / "benchmarks/chaos.json"
    ).read_bytes()
    assert 'href="repository/benchmarks/chaos.json"' in (site / "reliability.html").read_text()
    assert "../benchmarks" not in (site / "benchmarks.html").read_text()
    assert (site / "llms.txt").read_text().count("](") >= len(PAGES)
    assert (site / "settings.md").read_text() == (REPOSITORY / "docs/settings.md").read_text()
