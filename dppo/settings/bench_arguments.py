"""Arguments of `dppo bench`. Knows names, ranges and defaults; knows no command line and no file.

The text below a field is its help.
"""

from dataclasses import dataclass, field

from dppo.protocol.errors import UsageError
from dppo.settings.commands import at_least
from dppo.settings.fields import REST


@dataclass(frozen=True)
class BenchSolve:
    """Train until solved with several seeds; report every seed, the median, cores and load."""

    env: str
    """Gymnasium id, for example CartPole-v1."""
    seeds: int = 5
    """Runs, with run.seed 1, 2, ..."""
    actors: int = 2
    """Actor processes of each run."""
    output: str = ""
    """JSON file to write besides the table."""
    overrides: tuple[str, ...] = field(default=(), metadata=REST)
    """Arguments behind `--`, handed to every `dppo train`."""

    def __post_init__(self) -> None:
        at_least(self, 1, "seeds")
        at_least(self, 0, "actors")


@dataclass(frozen=True)
class BenchPreset:
    """Train a preset to the end of its budget with several seeds; report every seed and keep the curves."""

    preset: str
    """A preset's name, for example tutorial-tuned/dppo."""
    seeds: int = 5
    """Runs, with run.seed 1, 2, ..."""
    output: str = ""
    """JSON file to write besides the table."""
    overrides: tuple[str, ...] = field(default=(), metadata=REST)
    """Arguments behind `--`, handed to every `dppo train`."""

    def __post_init__(self) -> None:
        at_least(self, 1, "seeds")


@dataclass(frozen=True)
class BenchThroughput:
    """Measure steps per second, memory and latencies of a run that goes on for a fixed time."""

    env: str
    """Gymnasium id, for example CartPole-v1."""
    seconds: float = 20.0
    """Seconds to measure for."""
    actors: int = 2
    """Actor processes."""
    output: str = ""
    """JSON file to write besides the table."""
    overrides: tuple[str, ...] = field(default=(), metadata=REST)
    """Arguments behind `--`, handed to `dppo train`."""

    def __post_init__(self) -> None:
        at_least(self, 0, "actors")
        if self.seconds <= 0:
            raise UsageError(f"seconds={self.seconds} must be above 0")


@dataclass(frozen=True)
class BenchSlow:
    """Train with simulators slowed down; report steps and minutes to the target, and how long the learner was idle."""

    env: str
    """Gymnasium id, for example CartPole-v1."""
    milliseconds: tuple[float, ...] = (1.0, 10.0, 100.0)
    """Milliseconds that a step of the simulators takes, one after the other: a wrapper sleeps, which takes no CPU."""
    reuse: tuple[int, ...] = (1,)
    """Values of ppo.reuse to compare, for example 1,4; with M the batch is 1/M of what it is without."""
    simulators: int = 16
    """Environments in all, of all actors."""
    actors: int = 2
    """Actor processes of each run; the simulators of one step at the same time."""
    seeds: int = 1
    """Runs of each speed, with run.seed 1, 2, ..."""
    at_once: int = 1
    """Runs at the same time; for simulators that mostly sleep."""
    output: str = ""
    """JSON file to write besides the table."""
    overrides: tuple[str, ...] = field(default=(), metadata=REST)
    """Arguments behind `--`, handed to every `dppo train`."""

    def __post_init__(self) -> None:
        at_least(self, 1, "seeds", "actors", "at_once", "simulators")
        if min(self.reuse, default=0) < 1:
            raise UsageError(f"reuse={','.join(map(str, self.reuse))} must be at least 1 each: 1 is none")
        if not self.milliseconds or min(self.milliseconds) < 0:
            raise UsageError(f"milliseconds={','.join(f'{ms:g}' for ms in self.milliseconds)} must be at least 0 each")
        if self.simulators % self.actors:
            raise UsageError(
                f"simulators={self.simulators} cannot be divided among actors={self.actors} evenly: choose a multiple"
            )


@dataclass(frozen=True)
class BenchUpdate:
    """Time updates of a network with a memory, with a layer in its place, and with neither, by turns."""

    env: str
    """Gymnasium id, for example CartPole-v1: its first steps are the batch."""
    pairs: int = 10
    """Updates of each network that count."""
    output: str = ""
    """JSON file to write besides the table."""
    overrides: tuple[str, ...] = field(default=(), metadata=REST)
    """Settings of `dppo train` behind `--`, for example --network.memory lstm; a GRU where they name no memory."""

    def __post_init__(self) -> None:
        at_least(self, 1, "pairs")


@dataclass(frozen=True)
class BenchChaos:
    """Kill, stop, cut off and attack real learners and actors on this machine, and check every promise.

    Exits 1 where one does not hold. What needs root or tools that are missing is skipped, with the reason.
    """

    only: tuple[str, ...] = ()
    """Names of faults, for example kill-actors,kill-learner; empty: all of them."""
    short: bool = False
    """Some seconds for each fault: what is done without --full."""
    full: bool = False
    """As long for each fault as its figures need: about an hour and a half in all."""
    seed: int = 1
    """Chooses victims and moments."""
    output: str = ""
    """JSON file to write besides the table."""

    def __post_init__(self) -> None:
        at_least(self, 0, "seed")
        if self.short and self.full:
            raise UsageError("--short and --full exclude each other: choose one")
