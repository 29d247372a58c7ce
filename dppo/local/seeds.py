"""`dppo train --seeds`: one run a seed, one after the other, each a command of its own; a table and the median."""

import re
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from dppo.learner.storage.settings_history import has_begun
from dppo.learner.telemetry.json_lines import read_object
from dppo.learner.telemetry.status import SUMMARY
from dppo.local.child_process import ChildProcess
from dppo.local.launch_texts import FirstLine, LaunchTexts
from dppo.local.launching import checked, with_run
from dppo.local.run_comparison import SEED_DIRECTORY, free_directory
from dppo.local.run_summary import saved_evaluation
from dppo.number_text import return_number
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.lifeline import Lifeline
from dppo.settings.commands import TrainConfig
from dppo.settings.layers import dump_yaml

INTERRUPTED = 130
MAX_SEEDS = 1000
COLUMNS = ("seed", "steps", "solved after", "solved at step", "return", "evaluation")


@dataclass(frozen=True)
class Row:
    """Result of the run of one seed; None where a number is not known."""

    seed: str
    steps: float | None = None
    solved_seconds: float | None = None
    solved_steps: float | None = None
    mean_return: float | None = None
    evaluation: float | None = None  # mean return
    note: str = ""  # what is to be known besides: failed, interrupted


def parse_seeds(text: str) -> list[int]:
    """Seeds from `5` (1..5), `3..7` or `1,3,7`. Raises UsageError."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:\.\.\s*(\d+)\s*)?", part)
        if match is None:
            raise UsageError(f"--seeds {text!r} is not understood: write 5 (seeds 1 to 5), 3..7, or 1,3,7")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if match[2] is None and "," not in text:
            first, last = 1, first
            if last < 1:
                raise UsageError("--seeds 0 is no run at all: write 5 for seeds 1 to 5, or --seed 0 for that one")
        if last < first:
            raise UsageError(f"--seeds {text}: {part.strip()} runs backwards: write {last}..{first}")
        if len(seeds) + last + 1 - first > MAX_SEEDS:
            raise UsageError(f"--seeds {text}: at most {MAX_SEEDS} at once")
        seeds += range(first, last + 1)
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise UsageError(f"--seeds {text}: seed {twice[0]} is there twice")
    return seeds


def train_seeds(
    config: TrainConfig,
    seeds: Sequence[int],
    *,
    new: bool,
    switches: Sequence[str] = (),
    texts: Callable[[Path], LaunchTexts] = lambda folder: LaunchTexts(),
) -> int:
    """Train every seed that is not finished yet; return the exit code: 1 where one failed.

    switches: of every command. texts: of this one, for the folder that it trains in.
    Raises UsageError, before anything is started, where one of them cannot start.
    """
    folder = folder_of(config)
    if new:
        folder = free_directory(folder)
    if has_begun(folder):
        raise UsageError(f"{folder} holds a run: choose another --run.directory for a folder of seeds")
    runs = {seed: with_run(config, seed=seed, directory=str(folder / f"{SEED_DIRECTORY}{seed}")) for seed in seeds}
    said = texts(folder)
    first_line = FirstLine(said.first_line)
    finished = {seed for seed, run in runs.items() if checked(run).over}
    notes: dict[int, str] = {}
    code = 0
    with _Children(switches) as children:
        for number, (seed, run) in enumerate(runs.items(), start=1):
            what = "finished already" if seed in finished else str(run.learner.run_directory)
            first_line.note(f"seed {seed} ({number} of {len(runs)}): {what}")
            ended = 0 if seed in finished else children.train(run)
            if ended == UsageError.exit_code and number == 1:
                return ended  # the command's line says why, and the others would end alike
            if ended or children.interrupted:
                notes[seed] = "interrupted" if children.interrupted else f"failed: it {how_it_ended(ended)}"
                code = INTERRUPTED if children.interrupted else 1
            if children.interrupted:
                break
    print(f"\n{table([_row(seed, run, notes.get(seed, '')) for seed, run in runs.items()])}")
    _draw(folder)
    if code == INTERRUPTED and said.again:
        print(said.again)
    failed = [seed for seed in notes if not notes[seed].startswith("interrupted")]
    if failed and code != INTERRUPTED:
        raise DppoError(f"seed {', '.join(map(str, failed))} failed; the others are done. The same command tries again")
    return code


def folder_of(config: TrainConfig) -> Path:
    """Return the folder of the runs of all seeds: as set, else named after the environment."""
    directory = config.learner.run_directory
    return directory if config.learner.run.directory else directory.with_name(f"{directory.name}-seeds")


def table(rows: Sequence[Row]) -> str:
    """A line a seed, and the median of every column: of solving only if every seed has solved."""
    shown = [_cells(row) for row in (*rows, _median(rows))]
    widths = [max(len(cells[i]) for cells in (COLUMNS, *shown)) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) for cells in (COLUMNS, *shown)
    ]
    notes = ["", *(row.note for row in rows), ""]
    return "\n".join(f"{line}  {note}".rstrip() for line, note in zip(lines, notes, strict=True))


class _Children:
    """Runs one command after the other; hands on what interrupts this one."""

    def __init__(self, switches: Sequence[str]) -> None:
        self._switches = switches
        self.interrupted = False
        self._process: ChildProcess | None = None
        self._lifeline = Lifeline()
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Children":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._hand_on)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._lifeline.close()

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        if self._process is not None:
            self._process.send_signal(number)

    def train(self, config: TrainConfig) -> int:
        """Train this one to its end; returns the exit code of its command."""
        with tempfile.TemporaryDirectory(prefix="dppo-seeds-") as private:
            file = Path(private) / "config.yaml"
            file.write_text(dump_yaml(config))
            run = config.learner.run
            arguments = ["train", "--config", str(file), "--preset", "none"]
            arguments += [
                "--run.directory",
                run.directory,
                "--seed",
                str(run.seed),
                *self._switches,
            ]  # variables would win over the file
            if self.interrupted:
                return INTERRUPTED
            # in a session of its own: Ctrl-C reaches this process only, which hands it on once
            self._process = ChildProcess(["-m", "dppo.cli", *arguments], self._lifeline, is_command=True)
            return self._process.wait()


def _row(seed: int, config: TrainConfig, note: str) -> Row:
    directory = config.learner.run_directory
    summary = read_object(directory / SUMMARY)
    if not summary:
        return Row(str(seed), note=note or "not trained")
    evaluation = saved_evaluation(directory)
    return Row(
        str(seed),
        steps=summary.get("steps"),
        solved_seconds=summary.get("solved_seconds"),
        solved_steps=summary.get("solved_steps"),
        mean_return=summary.get("mean_return"),
        evaluation=None if evaluation is None else evaluation.mean,
        note=note,
    )


def _median(rows: Sequence[Row]) -> Row:
    def of(name: str) -> float | None:
        values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
        complete = len(values) == len(rows) or not name.startswith("solved")
        return median(values) if values and complete else None

    return Row(
        "median",
        steps=of("steps"),
        solved_seconds=of("solved_seconds"),
        solved_steps=of("solved_steps"),
        mean_return=of("mean_return"),
        evaluation=of("evaluation"),
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.seed,
        _number(row.steps, ",.0f"),
        _number(row.solved_seconds, ".1f", " s"),
        _number(row.solved_steps, ",.0f"),
        "-" if row.mean_return is None else return_number(row.mean_return),
        "-" if row.evaluation is None else return_number(row.evaluation),
    )


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _draw(folder: Path) -> None:
    from dppo.watch.plot import plot

    try:
        print(f"  {plot((str(folder),))}")
    except (DppoError, OSError, ModuleNotFoundError) as error:
        print(f"no learning curve: {error}")
