"""Words between commands and engines: the plan, its rendering, the deployment, its processes, and the five functions.

    render    the files and commands that start the plan; pure, and all that --dry-run prints
    submit    write the files, run the commands; where it fails, nothing is left behind
    status    the processes, as the engine sees them
    scale     another number of actors
    stop      the end of all processes; what was trained stays

Knows no engine.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from dppo.deploy.config import DeployConfig, EngineName

FOLDER = "deploy"  # in the run directory: what was rendered, and an engine's notes
State = Literal["running", "waiting", "ended"]


@dataclass(frozen=True)
class Plan:
    """One deployment that is wanted."""

    name: str  # of the project, job or objects
    run: Path  # run directory, absolute
    settings: str  # of `dppo learner`, all of them, as YAML
    actors: int
    learners: int
    bind: str  # "": as the engine needs
    advertise: str  # host or host:port in the join line; "": found out
    init_from: str  # run with the weights to begin with; "": none
    directory: Path  # where the command was given: modules of environments are looked for there
    deploy: DeployConfig

    @property
    def folder(self) -> Path:
        """Directory of the rendered files."""
        return self.run / FOLDER


@dataclass(frozen=True)
class Rendered:
    """All that a plan's submission writes and runs."""

    files: Mapping[str, str]  # text by name below the plan's folder; 0600, without secrets
    commands: Sequence[Sequence[str]]  # in order

    def text(self, folder: Path) -> str:
        """Return it as people read it."""
        parts = [f"# {folder / name}\n{text.rstrip()}\n" for name, text in self.files.items()]
        return "\n".join([*parts, *(f"$ {shlex.join(command)}" for command in self.commands)])


class Deployment(msgspec.Struct, frozen=True):
    """A plan that was submitted, as deploy.json in the run directory has it."""

    engine: EngineName
    name: str
    run: str  # directory, absolute
    actors: int  # wanted
    learners: int
    submitted: float  # seconds since 1970
    ended: bool = False  # by `dppo down`
    handle: dict[str, str] = {}  # whatever the engine needs to find it again
    logs: list[str] = []  # the command that shows them, with {lines} in it; []: files in logs/
    logs_of_one: list[str] = []  # likewise those of one process, with {process} in it

    @property
    def path(self) -> Path:
        """Run directory."""
        return Path(self.run)

    @property
    def folder(self) -> Path:
        """Directory of the rendered files."""
        return self.path / FOLDER


class Process(msgspec.Struct, frozen=True):
    """One process of a deployment."""

    name: str
    state: State
    host: str = ""
    restarts: int = 0
    note: str = ""  # why it is not running, or what it does


@dataclass(frozen=True)
class Report:
    """Status of a deployment."""

    processes: Sequence[Process] = ()
    over: str = ""  # why nothing runs any more; "" while something does
    wanted: int = 0  # how many there are where all run; 0: each learner and actor is one of them
    notes: Sequence[str] = field(default_factory=tuple)


class Engine(Protocol):
    """Five functions; a module has them. All raise UsageError, in one line, for what the user can change."""

    def render(self, plan: Plan) -> Rendered:
        """Return the files and commands of the plan. Writes and asks nothing."""

    def submit(self, plan: Plan, rendered: Rendered) -> Deployment:
        """Start it. Raises DppoError where it cannot, with nothing left behind."""

    def status(self, deployment: Deployment) -> Report:
        """Ask for its processes."""

    def scale(self, deployment: Deployment, actors: int) -> None:
        """Have so many actors from now on."""

    def stop(self, deployment: Deployment) -> None:
        """End it. Returns when nothing runs any more; no error where nothing did."""
