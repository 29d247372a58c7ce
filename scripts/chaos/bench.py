"""`dppo bench chaos`: plays the faults one after the other, prints the table, writes the JSON file."""

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from dppo.bench.observed_run import conditions
from dppo.output_files import check_output
from dppo.protocol.errors import DppoError, UsageError
from dppo.settings.bench_arguments import BenchChaos
from scripts.chaos.faults import Fault, Form, Scene, Skip
from scripts.chaos.figures import Outcome
from scripts.chaos.registry import known
from scripts.chaos.report import show

LINE_CHARACTERS = 140  # of the table in a file


def chaos(arguments: BenchChaos) -> int:
    """Play the chosen faults; 0 where every promise held, 1 where one did not."""
    faults = chosen(arguments.only)
    check_output(arguments.output)
    form: Form = "full" if arguments.full else "short"
    about = {"bench": "chaos", "form": form, **conditions()}
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LINE_CHARACTERS)
    console.print(f"{form} form; {about['cores']} cores ({about['cpu']}), load {about['load_before']:.1f}")
    outcomes: list[Outcome] = []
    with _terminable():
        try:
            for fault in faults:
                console.print(f"{fault.name}: {fault.title} ...", end=" ")
                outcomes.append(play(fault, form, arguments.seed))
                console.print(f"{outcomes[-1].verdict} after {outcomes[-1].seconds:.0f} s")
        finally:  # also of a bench that was interrupted
            if outcomes:
                show(outcomes, console)
            if arguments.output:
                path = Path(arguments.output)
                path.parent.mkdir(parents=True, exist_ok=True)
                result = {**about, "outcomes": [outcome.to_state() for outcome in outcomes]}
                path.write_text(json.dumps(result, indent=1) + "\n")
                console.print(f"wrote {path}")
    return 1 if any(outcome.verdict == "failed" for outcome in outcomes) else 0


def chosen(names: tuple[str, ...]) -> list[Fault]:
    """The faults of these names, all for none. Raises UsageError for one that there is not."""
    faults = known()
    for name in names:
        if name not in faults:
            raise UsageError(f"only={name} is no fault: choose from {', '.join(faults)}")
    return [fault for name, fault in faults.items() if not names or name in names]


def play(fault: Fault, form: Form, seed: int) -> Outcome:
    """One fault in a directory of its own, which stays where the fault was not survived."""
    outcome = Outcome(fault.name, fault.title)
    directory = Path(tempfile.mkdtemp(prefix=f"dppo-chaos-{fault.name}-"))
    started = time.monotonic()
    try:
        outcome.figures = fault.play(Scene(directory, form, seed))
    except Skip as reason:
        outcome.skipped = str(reason)
    except DppoError as error:
        outcome.broken = str(error)
    finally:
        outcome.seconds = time.monotonic() - started
        if outcome.verdict == "failed":
            outcome.kept = str(directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return outcome


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the bench as Ctrl-C does: every process that it started is gone first."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
