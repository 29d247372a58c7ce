"""A virtual environment in which dppo is installed as users install it: the wheel, and the packages that it asks for.

Needs no network: third-party packages are links to those of the current interpreter, and only those that the chosen
extras ask for are there, as far as this interpreter has them. Knows no pytest, so that
`python tests/fresh_install.py FOLDER [EXTRA ...]` makes one by hand.
"""

import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parent.parent
LEARNER = ("learner",)  # extras of the README's install line
SECONDS = 120.0


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this tree into a folder; return its path."""
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=REPOSITORY)
    return next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path, extras: tuple[str, ...] = LEARNER) -> Path:
    """Make the virtual environment there; return its folder of commands."""
    venv.create(folder, symlinks=True)
    bin = folder / "bin"
    # the fresh interpreter runs this one's pip
    pip = [sys.executable, "-m", "pip", "--python", str(bin / "python"), "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", str(wheel)])
    (packages,) = folder.glob("lib/python*/site-packages")
    (own,) = metadata.distributions(name="dppo", path=[str(packages)])
    unknown = {*extras} - {*(own.metadata.get_all("Provides-Extra") or ())}
    if unknown:
        raise ValueError(f"dppo has no extras {sorted(unknown)}")
    for found in _asked_for(own, extras):
        _borrow(found, packages, bin)
    return bin


class FreshInstalls:
    """Virtual environments below one folder, one for each choice of extras; made when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._wheel: Path | None = None
        self._bins: dict[tuple[str, ...], Path] = {}

    def bin(self, extras: tuple[str, ...] = LEARNER) -> Path:
        """Return the folder of commands of the one with these extras."""
        if self._wheel is None:
            self._wheel = build_wheel(self.folder / "dist")
        if extras not in self._bins:
            self._bins[extras] = install(self._wheel, self.folder / "-".join(extras), extras)
        return self._bins[extras]


def _asked_for(own: metadata.Distribution, extras: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """Yield what a distribution with these extras requires, and what that requires, each once.

    Raises PackageNotFoundError for what all need; of other extras the development environment lacks some packages.
    """
    seen: set[tuple[str, tuple[str, ...]]] = set()
    there: set[str] = set()
    todo = [(own, extras)]
    while todo:
        distribution, chosen = todo.pop()
        for text in distribution.requires or ():
            wanted = Requirement(text)
            key = canonicalize_name(wanted.name), tuple(sorted(wanted.extras))
            if key in seen or not _is_asked_for(wanted, chosen):
                continue
            seen.add(key)
            try:
                found = metadata.distribution(wanted.name)
            except metadata.PackageNotFoundError:
                if _is_asked_for(wanted, LEARNER):
                    raise
                continue
            if key[0] not in there:
                there.add(key[0])
                yield found
            todo.append((found, key[1]))


def _is_asked_for(wanted: Requirement, extras: tuple[str, ...]) -> bool:
    """Whether a distribution with these extras needs that."""
    return wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _borrow(found: metadata.Distribution, packages: Path, bin: Path) -> None:
    """Link what a distribution has brought into this interpreter; write its commands for the fresh one."""
    for file in found.files or ():
        if file.parts[0] == "..":
            if file.parent.name == "bin":
                _write_command(Path(str(found.locate_file(file))), bin)
            continue
        link = packages / file.parts[0]
        if not link.exists() and file.parts[0] != "__pycache__":
            link.symlink_to(str(found.locate_file(file.parts[0])))


def _write_command(command: Path, bin: Path) -> None:
    if command.is_file() and command.read_bytes().startswith(b"#!"):
        _, _, program = command.read_text(encoding="utf-8").partition("\n")
        (bin / command.name).write_text(f"#!{bin / 'python'}\n{program}", encoding="utf-8")
        (bin / command.name).chmod(0o755)


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def main(arguments: list[str]) -> int:
    """Make one below a new folder, with those extras or the README's; print its folder of commands."""
    folder, *extras = arguments
    print(FreshInstalls(Path(folder).absolute()).bin(tuple(extras) or LEARNER))
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or Path(sys.argv[1]).exists():
        sys.exit("usage: python tests/fresh_install.py FOLDER [EXTRA ...]: FOLDER is new")
    sys.exit(main(sys.argv[1:]))
