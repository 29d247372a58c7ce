"""The end of a run whose directory could not be written to."""

from pathlib import Path

import pytest

from protocol.errors import DppoError
from scripts.closing import close_run


def test_a_run_without_a_summary_ends_in_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DppoError, match="Is the disk full") as missing:
        close_run(tmp_path, episodes=0)
    (tmp_path / "summary.json").write_bytes(b"")  # what a full disk leaves of a file
    with pytest.raises(DppoError, match="Is the disk full") as empty:
        close_run(tmp_path, episodes=0)
    for raised in (missing, empty):
        assert raised.value.exit_code == 1
        assert "\n" not in str(raised.value)
