"""What an environment changes for its whole process is put back after it."""

import logging
import os
import sys
from pathlib import Path

import pytest

from dppo.local.surroundings import kept_surroundings


def test_logging_is_as_it_was() -> None:
    root = logging.root
    before = root.level, list(root.handlers), root.manager.disable
    with kept_surroundings():
        logging.basicConfig(level=logging.DEBUG, force=True, handlers=[logging.NullHandler()])
        logging.disable(logging.CRITICAL)
    assert (root.level, list(root.handlers), root.manager.disable) == before


def test_directory_and_umask_are_as_they_were(tmp_path: Path) -> None:
    here, mask = os.getcwd(), os.umask(0o022)
    os.umask(mask)
    with kept_surroundings():
        os.chdir(tmp_path)
        os.umask(0o777)
    after = os.umask(mask)
    assert (os.getcwd(), after) == (here, mask)


def test_streams_that_python_did_not_find_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with kept_surroundings():
        pass
    assert sys.stdout is None
