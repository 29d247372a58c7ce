"""Text on a terminal is broken between words, and nowhere else."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.fitted_text import fitted, wrapped

LINE = "Pendulum-v1, policy version 22, 20 episodes, most likely actions: return -165.8 +- 84.0 (-328.4 to -0.1)"
WORDS = st.lists(st.text("abc-.", min_size=1, max_size=30), min_size=1, max_size=30)


@given(words=WORDS, width=st.integers(20, 130), own=st.sampled_from(["", "  "]))
def test_words_and_their_order_stay(words: list[str], width: int, own: str) -> None:
    text = wrapped(own + " ".join(words), width)
    assert text.split() == words
    assert all(len(line) <= width or len(line.split()) == 1 for line in text.split("\n"))
    assert all(line.startswith(own) for line in text.split("\n"))


def test_lines_that_fit_stay_as_they_are() -> None:
    text = f"\nnext:\n  {'dppo evaluate runs/x':<30}  watch it\n"
    assert wrapped(text, 80) == text


def test_a_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    assert [len(line) <= 80 for line in fitted(LINE).split("\n")] == [True, True]


def test_a_file_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert fitted(LINE * 3) == LINE * 3
