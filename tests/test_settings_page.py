"""The page of settings is what the code says."""

from pathlib import Path

from dppo.settings.docs_page import page

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_page_of_settings_is_current() -> None:
    assert PAGE.read_text() == page(), "run: python -m dppo.settings.docs_page > docs/settings.md"
