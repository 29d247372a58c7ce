"""Examples of Hypothesis: the same ones whatever else has been imported."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def examples() -> list[int]:
    seen = []

    @settings(max_examples=100, derandomize=True, database=None)
    @given(st.integers())
    def collect(number: int) -> None:
        seen.append(number)

    collect()
    return seen


def test_examples_do_not_depend_on_which_modules_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = examples()
    source = tmp_path / "constants.py"
    source.write_text("".join(f"N{number} = {number}\n" for number in range(70_001, 70_501)))
    module = ModuleType("constants_of_ours")
    module.__file__ = str(source)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert examples() == before
