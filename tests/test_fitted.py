"""Text on a terminal is broken between words, and nowhere else."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_progress import Terminal

from dppo.fitted_text import fitted, wrapped
from dppo.local.drawing_thread import Screen
from dppo.local.progress import Progress

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


def test_a_command_is_left_whole_to_be_copied() -> None:
    command = f"dppo train --env Pendulum-v1 --run.directory {'x' * 60} --seed 2"
    assert wrapped(f"go on:\n  {command}", 60) == f"go on:\n  {command}"


def test_a_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    assert [len(line) <= 80 for line in fitted(LINE).split("\n")] == [True, True]


def test_notes_beside_and_after_a_table_break_no_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))
    terminal = Terminal()
    progress = Progress(terminal)
    progress.note(LINE)  # before there is a table
    assert terminal.getvalue().split() == LINE.split()
    assert max(map(len, terminal.getvalue().splitlines())) <= 60
    screen = Screen(Progress())
    with screen:
        pass
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    screen.note(LINE)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_a_file_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert fitted(LINE * 3) == LINE * 3
