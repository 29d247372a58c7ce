"""Commands of the documentation, and a newcomer that types them: page by page, in order, in an empty folder.

A block ```` ```console ```` is what is typed: `$ ` before each command, `host1$ ` where a page has several hosts, which
are one here. Knows no pytest, so that `python tests/typed_commands.py BIN [PAGE ...]` types them with the commands of
any virtual environment, and `python tests/typed_commands.py fresh [PAGE ...]` with those of new ones, made by
tests/fresh_install.py with the extras that a page has its reader install.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fresh_install import LEARNER, FreshInstalls
from typed_lists import AS_LONG_AS_THEY_LAST, BEFORE, BEHIND, CHECKOUT, FILES, MORE, NOT_TYPED, SHORTER, STEPS

from scripts.ports import free_port

REPOSITORY = Path(__file__).parent.parent
PAGES = ("README.md", *sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md")))
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"(?:host\d)?\$ ")
COMMENT = re.compile(r"\s{2,}#\s.*$|\s#\s.*$")
INLINE = re.compile(r"`(dppo [a-z]+ [^`\n]+)`")
NAME_OF_COMMAND = re.compile(r"dppo(?: [a-z]+)+(?: --[a-z-]+)?")
INSTALL = re.compile(r"pip install (?:-e )?'?(?:\.|dppo)\[([\w,]+)\]")
A_COMMAND = re.compile(r"(?:\w+=\S+ )*(?:dppo|pip|python3?|docker|make|kubectl|tensorboard|torchrun|curl) ")

SECONDS = 300.0  # for one command on a busy machine
END_SECONDS = 30.0  # for one that was started behind the others to end by itself, then after Ctrl-C


@dataclass(frozen=True)
class Typed:
    """A command of a page."""

    page: str
    line: int
    command: str  # without prompt and comment
    answer: str = ""  # first line of what the page shows after it

    @property
    def place(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"

    @property
    def why_not(self) -> str:
        """Why it is not typed here; empty where it is."""
        return next((why for pattern, why in NOT_TYPED.items() if re.match(pattern, self.command)), "")


def commands(page: str) -> list[Typed]:
    """Return the commands of a page, in order."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = []
    for block in CONSOLE.finditer(text):
        first = text[: block.start(1)].count("\n") + 1
        lines = block[1].splitlines()
        for number, line in enumerate(lines):
            prompt = PROMPT.match(line)
            if prompt:
                answer = lines[number + 1] if number + 1 < len(lines) else ""
                answer = "" if PROMPT.match(answer) else answer
                found.append(Typed(page, first + number, COMMENT.sub("", line[prompt.end() :]).strip(), answer))
    return found


def mentioned(page: str) -> list[Typed]:
    """Return the commands within the text of a page; not their names, and what stands for several (`add|revoke`)."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    text = ANY_BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    return [
        Typed(page, text[: found.start()].count("\n") + 1, re.sub(r" M\b", " 2", found[1]))
        for found in INLINE.finditer(text)
        if not re.search(r"\.\.\.|…|\w\|\w", found[1]) and not NAME_OF_COMMAND.fullmatch(found[1])
    ]


def unmarked(page: str) -> list[str]:
    """Return lines that look like commands, in blocks that are not marked as `console`, or without a prompt there."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [
        line
        for language, block in ANY_BLOCK.findall(text)
        if language in ("", "text", "sh", "bash", "shell", "console")
        for line in block.splitlines()
        if A_COMMAND.match(line.removeprefix("$ ") if language != "console" else line)
        and not (language == "console" and line.startswith("dppo actor --join"))  # what a learner prints
    ]


def extras_of(page: str) -> tuple[str, ...]:
    """Return the extras that the reader of a page has: those of the install line, and those that it says to install."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return tuple(sorted({*LEARNER, *(extra for found in INSTALL.findall(text) for extra in found.split(","))}))


def shortened(command: str) -> str:
    """Return the command with smaller numbers."""
    for pattern, shorter in SHORTER:
        command = re.sub(pattern, shorter, command)
    return command


class Newcomer:
    """One that types the commands of a page in a fresh folder, with the commands of `bin` on the path."""

    def __init__(self, page: str, folder: Path, bin: Path, note: Callable[[str], None]) -> None:
        self.page, self.folder, self.note = page, folder, note
        self.behind: list[tuple[Typed, subprocess.Popen[bytes], Path]] = []
        self.port = free_port(following=10)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("DPPO_", "PYTHON"))}
        steps = {} if page in AS_LONG_AS_THEY_LAST else STEPS
        others = (path for path in own.get("PATH", "").split(os.pathsep) if path != str(Path(sys.executable).parent))
        window = {"SDL_VIDEODRIVER": "dummy", "MPLBACKEND": "agg", "NO_COLOR": "1"}
        self.surroundings = {
            **own,
            **steps,
            **MORE.get(page, {}),
            **window,
            "PATH": os.pathsep.join((str(bin), *others)),
        }
        for name in CHECKOUT:
            (folder / name).symlink_to(REPOSITORY / name)
        for name, text in (_written(page) | FILES.get(page, {})).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")

    def type_all(self) -> list[str]:
        """Type everything; return what went wrong, a text each."""
        before = [Typed(self.page, 0, command) for command in BEFORE.get(self.page, ())]
        wrong = []
        try:
            for typed in (*before, *(one for one in commands(self.page) if not one.why_not)):
                begun = time.monotonic()
                fault = self._type(typed)
                self.note(f"{typed.place} {time.monotonic() - begun:.1f} s: {typed.command}")
                wrong += [f"{typed.place}: {typed.command}\n{fault}"] if fault else []
        finally:
            wrong += list(self._end_all())
        return wrong

    def _type(self, typed: Typed) -> str:
        """Type one; return what is wrong with it."""
        command = self._on_this_machine(shortened(typed.command))
        ready = next((text for pattern, text in BEHIND.items() if re.match(pattern, typed.command)), None)
        if ready is not None:
            return self._type_behind(typed, command, ready)
        output = self.folder / "output"
        with output.open("wb") as file:
            process = self._started(command, file)
            try:
                code = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                _end(process)
                return f"not over after {SECONDS:g} s\n{_text(output)}"
        text = _text(output)
        fails = typed.answer.startswith("dppo: error: ")
        if fails and (code != 2 or typed.answer not in text):
            return f"exit code {code} and not the error of the page\n{text}"
        return "" if fails else _fault(code, text, (0,))

    def _type_behind(self, typed: Typed, command: str, ready: str) -> str:
        output = self.folder / f"output-{len(self.behind)}"
        with output.open("wb") as file:
            process = self._started(command, file)
        self.behind.append((typed, process, output))
        deadline = time.monotonic() + (END_SECONDS if ready else 3.0)
        while time.monotonic() < deadline and process.poll() is None and not (ready and ready in _text(output)):
            time.sleep(0.1)
        if ready and ready not in _text(output):
            return f"{ready!r} was not printed\n{_text(output)}"
        return ""

    def _started(self, command: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.surroundings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _on_this_machine(self, command: str) -> str:
        """Put in a port that is free, and the join line of the run's learner."""
        command = re.sub(r"\b(5555|9464|6006)\b", lambda found: str(self.port + int(found[0]) % 7), command)
        for kept in re.findall(r"runs/\S+/checkpoints/\d+", command):
            newest = sorted(self.folder.glob(f"{kept.rpartition('/')[0]}/[0-9]*"))
            command = command.replace(kept, newest[-1].relative_to(self.folder).as_posix()) if newest else command
        if "join" in command or "JOIN" in command:
            lines = [path.read_text().strip() for path in sorted(self.folder.glob("runs/*/access/join"), key=_time_of)]
            if lines:
                command = re.sub(r"dppo1\.\S+", lambda _: lines[-1], command)
                (self.folder / "join").write_text(lines[-1] + "\n")
                (self.folder / "join").chmod(0o600)
        return command

    def _end_all(self) -> Iterator[str]:
        """End what was started behind the others; yield what went wrong with it."""
        for typed, process, output in self.behind:
            lasts = self.page in AS_LONG_AS_THEY_LAST or typed.command.startswith("tensorboard")
            try:
                code = process.wait(0.1 if lasts else END_SECONDS)
            except subprocess.TimeoutExpired:
                code = _end(process)
            fault = _fault(code, _text(output), (0, 130, -signal.SIGINT, *((-signal.SIGKILL,) if lasts else ())))
            if fault:
                yield f"{typed.place}: {typed.command}\n{fault}"


def _written(page: str) -> dict[str, str]:
    """Return the files that a page shows: blocks of Python that begin with their name; run.yaml of docs/deploy.md."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    files = {
        found[1]: block
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if (found := re.match(r"# (\w+\.py)\n", block))
    }
    if page == "docs/deploy.md":
        found = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert found, "docs/deploy.md shows a file"
        files["run.yaml"] = found[1]
    return files


def _time_of(path: Path) -> float:
    return path.stat().st_mtime


def _fault(code: int, text: str, good: tuple[int, ...]) -> str:
    if "Traceback (most recent call last)" in text:
        return f"a traceback\n{text}"
    return "" if code in good else f"exit code {code}\n{text}"


def _text(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace")[-4000:]


def _end(process: subprocess.Popen[bytes]) -> int:
    """Type Ctrl-C; end what is still there by force."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def type_page(page: str, bin: Path, note: Callable[[str], None]) -> list[str]:
    """Type the commands of a page in a fresh folder; return what went wrong."""
    with tempfile.TemporaryDirectory(prefix="typed-") as name:
        return Newcomer(page, Path(name), bin, note).type_all()


def main(arguments: list[str]) -> int:
    """Type the pages with the commands of a folder; return 1 where something went wrong."""
    bin, *pages = arguments
    with tempfile.TemporaryDirectory(prefix="fresh-") as name:
        fresh = FreshInstalls(Path(name))
        wrong = [
            fault
            for page in pages or PAGES
            for fault in type_page(page, fresh.bin(extras_of(page)) if bin == "fresh" else Path(bin).absolute(), print)
        ]
    print("\n\n".join(["", *wrong]) if wrong else "all of them work")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or not (sys.argv[1] == "fresh" or shutil.which("dppo", path=sys.argv[1])):
        sys.exit("usage: python tests/typed_commands.py BIN [PAGE ...]: BIN is the folder that has `dppo`, or `fresh`")
    sys.exit(main(sys.argv[1:]))
