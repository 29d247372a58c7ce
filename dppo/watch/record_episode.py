"""One episode of a run's newest policy as a picture that moves: the process that a run starts to film itself.

Usage: python -m dppo.watch.record_episode RUN_DIRECTORY EVENTS PACE. The file is videos/step-<steps trained>.gif; with
EVENTS "events" TensorBoard shows it among the images. PACE "gently": it takes what time no other process wants.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dppo.learner.telemetry.json_lines import read_objects
from dppo.learner.telemetry.metrics import METRICS_FILE
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import watch_parent
from dppo.protocol.texts import MAX_ERROR, printable

VIDEOS_DIRECTORY = "videos"
EVENTS_DIRECTORY = Path("tb", VIDEOS_DIRECTORY)  # not tb itself: its readers go on to the newest file for good
TAG = "policy/episode"
FILMING_SECONDS = 40.0  # at the end of a run: then the episode is cut, and what there is becomes the film
MOST_FRAMES = 600  # 20 seconds at 30 a second: enough to see what it does
LOWEST_PRIORITY = 19


def main(arguments: Sequence[str]) -> int:
    """Film, and write an event; returns the exit code."""
    append_working_directory()
    watch_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leaves no half of a film
    directory, events, gently = Path(arguments[0]), arguments[1] == "events", arguments[2] == "gently"
    if gently:
        yield_to_everybody()
    try:
        steps, path = film_policy(directory, most_seconds=math.inf if gently else FILMING_SECONDS)
        if events:
            write_event(directory, steps, path.read_bytes())
    except (DppoError, OSError, ModuleNotFoundError) as error:
        print(f"dppo: error: {printable(str(error), MAX_ERROR)}", file=sys.stderr)
        return UsageError.exit_code
    return 0


def yield_to_everybody() -> None:
    """Lowest priority, among sessions too: Linux shares cores between them first, whatever their processes' nice.

    A session that others began is left alone: all that its shell runs would get no time on a busy machine.
    """
    os.nice(LOWEST_PRIORITY)
    if os.getsid(0) != os.getpid():
        return
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LOWEST_PRIORITY))


def film_policy(directory: Path, most_seconds: float = math.inf) -> tuple[int, Path]:
    """The first evaluation episode, played by the policy that is there now: (steps it was trained for, file).

    Raises DppoError, OSError.
    """
    from dppo.watch.evaluate import ViewOptions, evaluate

    steps = steps_trained(directory)  # read right before the policy, after seconds of imports: the two belong together
    path = directory / VIDEOS_DIRECTORY / f"step-{steps:09d}.gif"
    path.parent.mkdir(exist_ok=True)
    evaluate(
        str(directory),
        episodes=1,
        watching=ViewOptions(str(path), most_frames=MOST_FRAMES, most_seconds=most_seconds, by_run=True),
    )
    return steps, path


def steps_trained(directory: Path) -> int:
    """Return the steps of the newest update in the curve; 0 before the first one."""
    rows = read_objects(directory / METRICS_FILE, ("steps",))
    return int(rows[-1]["steps"]) if rows else 0


def write_event(directory: Path, steps: int, gif: bytes) -> None:
    """A TensorBoard file of its own with the picture."""
    from dppo.learner.telemetry.tensorboard_records import gif_record

    now = time.time()
    write_event_file(directory / EVENTS_DIRECTORY, now, steps, gif_record(now, steps, TAG, gif))


def write_event_file(events: Path, now: float, steps: int, record: bytes) -> None:
    """Write a TensorBoard file with one record. now: time of day."""
    from dppo.learner.regular_files import write_own
    from dppo.learner.telemetry.tensorboard_records import first_records

    events.mkdir(parents=True, exist_ok=True)
    content = first_records(now, from_step=steps) + record
    unfinished = events / "unfinished"  # by this name no reader takes it for one of its files
    write_own(unfinished, content)
    # readers go through the files by name
    unfinished.replace(events / f"events.out.tfevents.{int(now):010d}.{int(now % 1 * 1e6):06d}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
