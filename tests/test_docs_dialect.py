"""Pages that GitHub shows well are rewritten for the site's Markdown, and code is left as it is."""

import pytest

from scripts.site.dialect import as_python_markdown


@pytest.mark.parametrize(
    ("github", "site"),
    [
        ("text:\n- one\n- two", "text:\n\n- one\n- two"),
        ("text\n1. one", "text\n\n1. one"),
        ("text\n\n- one\n- two", "text\n\n- one\n- two"),
        ("- one\n  goes on\n- two", "- one\n    goes on\n- two"),
        ("- one\n\n  more\n\n  - inner\n    text", "- one\n\n    more\n\n    - inner\n        text"),
        ("10. ten\n\n    more", "10. ten\n\n    more"),
        ("1. one\n\n   more", "1. one\n\n    more"),
        ("- one\n\n  ```text\n  a\n    b\n  ```\n- two", "- one\n\n    ```text\n    a\n      b\n    ```\n\n- two"),
        ("text\n| a | b |\n|---|---|", "text\n\n| a | b |\n|---|---|"),
        ("| a |\n|---|\n| 1 |", "| a |\n|---|\n| 1 |"),
        ("- one\n\n| a |\n|---|", "- one\n\n| a |\n|---|"),
        ("- one\nlazily goes on\n- two", "- one\nlazily goes on\n- two"),
        ("```\ntext\n- no item\n  | no table\n```\ntext", "```\ntext\n- no item\n  | no table\n```\n\ntext"),
        ("- one\n\n```\n  code\n```", "- one\n\n```\n  code\n```"),
        ("# Title\n- one", "# Title\n- one"),
        ("a - b\n*bold* text\n-1 is a number", "a - b\n*bold* text\n-1 is a number"),
    ],
)
def test_lists_and_tables_of_github_in_the_sites_dialect(github: str, site: str) -> None:
    assert as_python_markdown(github) == site
