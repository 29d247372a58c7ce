"""A timeline in words: shares of time by host, the slowest actor, waits after STOP, losses and restarts. Pure."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

from dppo.learner.telemetry.status import ActorStatus
from dppo.local.verdict import verdict_on
from dppo.watch.timeline.lanes import TASKS, Board, Doing, Happening, Lane, StopWait
from dppo.watch.timeline.rows import ALIKE, ALONE, Row, hosts_of, in_order_of_hosts, slowest_of

MOST_ACTORS = 12  # a line each; with more, only hosts have one
MOST_HOST_LINES = 20
MOST_STOPS = 10
MOST_NAMES = 4
ALIKE_ANSWERS = 0.8  # of a wait: where the last but one answers so late, the last one did not cause it
QUIET_SECONDS = 0.05  # a wait after STOP that is not worth a line
PARTS = {Doing.WORKING: "collect", Doing.UPDATING: "update", Doing.STOPPING: "stop", Doing.PUBLISHING: "publish"}
COLUMNS = (
    (Doing.WORKING, "stepping"),
    (Doing.SENDING, "sending"),
    (Doing.STOPPING, "STOP"),
    (Doing.PUBLISHING, "policy"),
    (Doing.WAITING, "waiting"),
    (Doing.JOINING, "joining"),
)


def summary(board: Board) -> list[str]:
    """Return the lines."""
    return [*_learners(board), *_table(board), *_slowest(board.actors), *_stops(board.stops), *_happenings(board)]


def shares_of(learner: Lane) -> dict[str, float]:
    """Return the shares of a learner's time by part, of the time in which it trained; {} where it did not."""
    total = sum(learner.seconds[doing] for doing in PARTS)
    return {part: learner.seconds[doing] / total for doing, part in PARTS.items()} if total else {}


def verdict_of(board: Board) -> str:
    """Return the line of the live screen on what the run waits for most; "" where there is not enough to judge."""
    actors = []
    for lane in board.actors:
        total = sum(lane.task_seconds.values())
        if total:
            env, policy, send, idle = (lane.task_seconds[task] / total for task in TASKS)
            actors.append(ActorStatus(lane.name, "running", lane.envs, lane.steps, env, policy, send, idle, 0.0))
    return verdict_on(board.updates, actors, shares_of(board.learners[0]) if board.learners else {})


def _learners(board: Board) -> list[str]:
    lines = []
    for learner in board.learners:
        shares = shares_of(learner)
        if shares:
            text = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
            lines.append(f"{learner.name}: {text}")
    line = verdict_of(board)
    return [*lines, line] if line else lines


def _table(board: Board) -> list[str]:
    """Return shares of the actors' time, as the learner saw it, and beside them what they measured themselves."""
    actors = board.actors
    if not actors:
        return ["no actor was there"]
    hosts = hosts_of(actors)
    rows = hosts[:MOST_HOST_LINES]
    if len(actors) <= MOST_ACTORS and len(hosts) < len(actors):
        rows = [row for host in hosts for row in (host, *_members(host))]
    seconds = board.window[1] - board.window[0]
    head = ["", *(title for _, title in COLUMNS), "steps/s", "env", "policy", "send", "idle"]
    cells = [head, *(_cells(row, seconds) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(head))]
    lines = ["  ".join([line[0].ljust(widths[0]), *(map(str.rjust, line[1:], widths[1:]))]).rstrip() for line in cells]
    return ["", *lines, *([f"and {len(hosts) - len(rows)} more hosts"] if len(hosts) > MOST_HOST_LINES else []), ""]


def _members(host: Row) -> list[Row]:
    if len(host.lanes) == 1:
        return []
    return [Row(f"  {lane.name}", host.group, (lane,)) for lane in in_order_of_hosts(host.lanes)]


def _cells(row: Row, seconds: float) -> list[str]:
    tasks = {task: sum(lane.task_seconds[task] for lane in row.lanes) for task in TASKS}
    total = sum(tasks.values())
    own = [f"{tasks[task] / total:.0%}" if total else "-" for task in TASKS]
    shares = [f"{row.share(doing):.0%}" for doing, _ in COLUMNS]
    return [row.name, *shares, f"{row.steps / seconds:,.0f}", *own]


def _slowest(actors: Sequence[Lane]) -> list[str]:
    found = slowest_of(actors)
    if found is None:
        return []
    lane, times = found
    rate = f"{lane.speed:,.0f}" if lane.speed >= 100 else f"{lane.speed:.3g}"
    speed = f"{lane.name}, {rate} steps/s in each environment"
    if times < ALIKE:
        return [f"no actor is slow: the slowest is {speed}, {times:.2f}x slower than the median"]
    return [f"slowest: {speed}, {times:.1f}x slower than the median actor"]


def _stops(stops: Sequence[StopWait]) -> list[str]:
    if not stops:
        return []
    waits = sorted(stop.seconds for stop in stops)
    longest = max(stops, key=lambda stop: stop.seconds)
    lines = [
        f"STOP: {len(stops)}, answered by all within {_seconds(median(waits))} in the median, at most "
        f"{_seconds(waits[-1])} (policy {longest.version})"
    ]
    if any(stop.actors > 1 for stop in stops):
        lines.append(_last_to_stop(stops))
    worth = [stop for stop in stops if stop.seconds > QUIET_SECONDS]
    shown = heapq.nlargest(MOST_STOPS, worth, key=lambda stop: stop.seconds)
    lines += [f"  {_stop(stop)}" for stop in sorted(shown, key=lambda stop: stop.began)]
    if len(worth) > len(shown):
        lines.append(f"  and {len(worth) - len(shown)} shorter")
    return lines


def _last_to_stop(stops: Sequence[StopWait]) -> str:
    """Return for whom the learner waited after all others had answered, the longest first."""
    counts = Counter(name for stop in stops for name in stop.waited_for)
    lost = dict.fromkeys(counts, 0.0)
    for stop in stops:
        for name in stop.waited_for:
            lost[name] += stop.lost_seconds / len(stop.waited_for)
    worth = [name for name, seconds in lost.items() if seconds > ALONE * sum(stop.seconds for stop in stops)]
    if not worth:
        return "no actor alone kept it waiting: all answer at about the same time"
    first = sorted(worth, key=lambda name: -lost[name])[:MOST_NAMES]
    named = [f"{name} {counts[name]} times, by {_seconds(lost[name])} in all" for name in first]
    return f"last to stop: {'; '.join(named)}"


def _stop(stop: StopWait) -> str:
    names = stop.waited_for
    if stop.is_answered and stop.others_seconds > ALIKE_ANSWERS * stop.seconds:
        return f"policy {stop.version}: {_seconds(stop.seconds)} for all alike"
    whom = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
    others = f"; the others within {_seconds(stop.others_seconds)}" if stop.others_seconds else ""
    end = "" if stop.is_answered else ", without an answer"
    return f"policy {stop.version}: {_seconds(stop.seconds)} for {whom or 'no actor'}{end}{others}"


def _happenings(board: Board) -> list[str]:
    lines = [
        f"{start.name} was started again at {start.seconds:.1f} s, {_seconds(start.away_seconds)} after its last sign"
        for start in board.starts[:MOST_STOPS]
    ]
    for happening in Happening:
        marks = [mark for mark in board.marks if mark.happening is happening]
        if marks and happening is not Happening.JOINED:
            shown = ", ".join(f"{mark.lane} at {mark.seconds:.1f} s" for mark in marks[:MOST_NAMES])
            more = f" and {len(marks) - MOST_NAMES} more" if len(marks) > MOST_NAMES else ""
            lines.append(f"{happening.value}: {shown}{more}")
    late = [lane for lane in in_order_of_hosts(board.actors) if lane.late_answers]
    if late:
        shown = ", ".join(f"{lane.name} {lane.late_answers}" for lane in late[:MOST_NAMES])
        lines.append(f"answers to STOP that came too late: {shown}")
    if board.left_out:
        lines.append(f"the trace lacks {board.left_out:,} records, which the disk was too slow for: shares are rough")
    return lines


def _seconds(value: float) -> str:
    """Return 3 ms, 0.41 s, 12 s."""
    if not math.isfinite(value) or value <= 0:
        return "0 s"
    return f"{1000 * value:.2g} ms" if value < 0.1 else f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"
