"""The command line in this process: exit code, the one line of an error, and the entries that it would call."""

import os
from collections.abc import Callable
from typing import Any

import pytest

import dppo.cli
from dppo.cli import main

Entries = tuple[list[Any], dict[str, Any]]


def record_entries(monkeypatch: pytest.MonkeyPatch) -> Entries:
    """Record what a command would call. An entry returns its result, 0 without one; an exception it raises."""
    calls: list[Any] = []
    results: dict[str, Any] = {}

    def entry(module: str, function: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((module, function, args, kwargs))
            result = results.get(module, 0)
            if isinstance(result, BaseException):
                raise result
            return result

        return call

    monkeypatch.setattr(dppo.cli, "_entry", entry)
    return calls, results


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line that a wrong command prints."""
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dppo: error: ")
    assert err.count("\n") == 1
    return err.removeprefix("dppo: error: ").strip()


def forget_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings that whoever tests has in variables."""
    for name in os.environ:
        if name.startswith("DPPO_"):
            monkeypatch.delenv(name)


def let_nothing_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no command get beyond its settings."""
    monkeypatch.setattr(dppo.cli, "_entry", lambda module, function: lambda *args, **rest: 0)
    forget_variables(monkeypatch)
