"""A child process that is none, for what starts one beside a run."""

from typing import Any


class FakeChild:
    """A process that runs until `code` is set."""

    started: list["FakeChild"]
    error = ""  # its last words

    def __init__(self, name: str, arguments: tuple[str, ...], *rest: object) -> None:
        self.arguments = arguments
        self.code: int | None = None
        self.process: Any = None

    def start(self) -> None:
        self.started.append(self)

    def died(self) -> int | None:
        return self.code

    def last_error(self) -> str:
        return self.error
