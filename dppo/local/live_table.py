"""A Status as a rich table. Knows how it looks; knows neither when it is drawn nor where the status comes from."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dppo.learner.telemetry.status import OWN_METRICS, Status
from dppo.local.host_rows import HostRow, rows_of
from dppo.local.return_curve import ReturnCurve
from dppo.local.status_text import batch_text, is_whole, ledger_word, left_out_text
from dppo.local.verdict import verdict
from dppo.number_text import absurd_text, return_number

ACTOR_ROWS = 16
OTHER_ROWS = 15  # header, column names, next batch, ledger, metrics
METRICS = 10
FIRST_METRICS = (  # what tells most about the health of a run; others follow while there is room
    "kl",
    "clip_fraction",
    "entropy",
    "policy_std",
    "explained_variance",
    "learning_rate",
    "grad_norm",
    "first_pass_ratio_error",
    "collect_seconds",
    "update_seconds",
)
NARROW_COLUMNS = 72
STATE_STYLES = {"running": "green", "done": "green", "joining": "cyan", "silent": "red", "gone": "red"}
PART_STYLES = {"collect": "green", "update": "blue", "stop": "magenta", "publish": "cyan"}
OVER = ("DRAINING", "LEAVING", "STOPPED")  # phases in which it is well that actors go
BAR_COLUMNS = 24
FEWEST_COLUMNS = 6  # of a bar
MOST_SPARKS = 48
GAP = 2  # columns between two texts
MINUTE = 60
SHARES = ("env_share", "policy_share", "send_share", "idle_share")
QUIET_SECONDS = 2.0  # silence that is worth showing
_BLOCKS = "▁▂▃▄▅▆▇█"


def table(status: Status, returns: ReturnCurve, times: Mapping[str, float], width: int, height: int) -> RenderableType:
    """Return all that is worth watching, for a terminal of that size. times: shares of the learner's, by part."""
    rows = max(1, min(ACTOR_ROWS, height - OTHER_ROWS))
    parts: list[RenderableType] = [_header(status, returns, width), *_times(times, width), _actors(status, width, rows)]
    if batch := batch_text(status):
        parts.append(Text(f"next {batch}", style="dim"))
    if absurd := absurd_text(status.outliers, status.steps_left_out):
        parts.append(Text(absurd, style="yellow"))
    if status.waiting_for:
        parts.append(Text(f"waiting for {status.waiting_for}", style="yellow"))
    elif line := verdict(status, times):
        parts.append(Text(line, style="cyan"))
    parts.append(Text(ledger_word(status.ledger), style="dim" if is_whole(status.ledger) else "red"))
    if status.metrics:
        parts.append(_metrics(status.metrics))
    return Group(*parts)


def _header(status: Status, returns: ReturnCurve, width: int) -> RenderableType:
    length = status.metrics.get("mean_length")
    of = "" if length is None or not math.isfinite(length) else f" of {length:,.0f} steps"
    right = (
        f"update {status.updates}   {clock_text(status.elapsed_seconds)}{_left(status)}",
        f"{status.steps_per_second:,.0f} steps/s",
        f"{status.episodes:,} episodes{of}",
    )
    columns = width - GAP - max(map(len, right))
    steps = Table.grid(padding=(0, 1))
    steps.add_column()
    steps.add_column(no_wrap=True)
    text = f"{status.steps:,} of {status.total_steps:,} steps"
    bar_columns = max(4, min(width // 3 - 10, columns - len(text) - 1))
    bar = ProgressBar(total=max(status.total_steps, 1), completed=status.steps, width=bar_columns)
    steps.add_row(bar, text)
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    name = Text.assemble((status.env, "bold"), "  ", (status.phase.lower(), "cyan"))
    left: tuple[RenderableType, ...] = (name, steps, _return(status, returns, columns))
    for what, number in zip(left, right, strict=True):
        grid.add_row(what, number)
    return grid


def _left(status: Status) -> str:
    """Return the time that is left at this speed; "" where it is not known."""
    steps = status.total_steps - status.steps
    if steps <= 0 or status.steps_per_second <= 0 or not status.updates or status.phase in OVER:
        return ""
    seconds = math.ceil(steps / status.steps_per_second)
    return f", {f'{seconds} s' if seconds < MINUTE else clock_text(seconds)} left"


def _times(times: Mapping[str, float], width: int) -> list[RenderableType]:
    """Return a bar in which each part of the learner's time has its share, with their names."""
    if not times:
        return []
    legend = Text()
    for part, share in times.items():
        legend.append(" ■ ", style=PART_STYLES[part]).append(f"{part} {share:.0%}")
    columns = min(BAR_COLUMNS, width - len(legend) - GAP)
    bar, filled, passed = Text(), 0, 0.0
    for part, share in times.items() if columns >= FEWEST_COLUMNS else ():
        passed += share
        bar.append("█" * (round(passed * columns) - filled), style=PART_STYLES[part])
        filled = round(passed * columns)
    return [bar.append(legend)]


def _return(status: Status, returns: ReturnCurve, columns: int) -> Text:
    if status.mean_return is None:
        return Text("no episode has ended yet", style="dim")
    solved = status.target_return is not None and status.mean_return >= status.target_return
    text = Text.assemble("return ", (return_number(status.mean_return), "bold green" if solved else "bold"))
    if status.target_return is not None:
        text.append(f" of {status.target_return:g}")
    if returns.best is not None and returns.best > status.mean_return:
        text.append(f", best {return_number(returns.best)}")
    if status.success_rate is not None:
        text.append(f"  success {status.success_rate:.0%}")
    text.append(left_out_text(status), style="yellow")
    columns = min(MOST_SPARKS, columns - GAP - len(text))
    return text.append(f"  {sparkline(returns.condensed(columns))}", style="cyan") if columns >= 2 else text


def _actors(status: Status, width: int, most: int) -> RenderableType:
    actors = status.actors
    if not actors:
        return Text("no actor is connected" if status.steps else "no actor has joined yet", style="dim")
    wide = width >= NARROW_COLUMNS
    rows = Table(box=None, expand=True, padding=(0, 1), header_style="dim", pad_edge=False)
    rows.add_column("actor", no_wrap=True, overflow="ellipsis", ratio=1, min_width=6)
    rows.add_column("state", no_wrap=True)
    for name in ("envs", "steps", "env", "policy", "send", "idle") if wide else ("steps", "env", "idle"):
        rows.add_column(name, justify="right", no_wrap=True)
    groups = rows_of(actors, most)
    for row in groups[:most]:
        env, policy, send, idle = (f"{row.mean(share):.0%}" for share in SHARES)
        steps = row.total("steps") + row.total("open_steps")
        cells = [str(row.total("envs")), f"{steps:,}", env, policy, send, idle]
        state = _state(row, is_over=status.phase in OVER)
        rows.add_row(Text(row.name), state, *(cells if wide else [cells[1], env, idle]))
    if len(groups) <= most:
        return rows
    return Group(rows, Text(f"+ {len(groups) - most} more", style="dim"))


def _state(row: HostRow, *, is_over: bool) -> Text:
    """Return the state of a row's actors; those of a host by number, the rarest first."""
    text = Text()
    for state, actors in row.states:
        word = "done" if state == "gone" and is_over else state
        text.append(f"{', ' if text else ''}{f'{actors} ' if row.is_host else ''}{word}", STATE_STYLES.get(word, ""))
    quiet = max(actor.heard_seconds_ago for actor in row.actors)
    if quiet >= QUIET_SECONDS:
        text.append(f" {quiet:.0f} s")
    if crashed := row.total("env_restarts"):
        text.append(f" {crashed:,} crashed", style="red")
    return text


def _metrics(metrics: dict[str, float]) -> Text:
    text = Text(overflow="fold")
    known = {name: value for name, value in metrics.items() if math.isfinite(value)}
    own = [name for name in known if name.startswith(OWN_METRICS)]
    first = [*own, *(name for name in FIRST_METRICS if name in known)]
    names = [*first, *(name for name in known if name not in first)]
    for name in names[:METRICS]:
        text.append("   " if text else "")
        text.append(f"{name.removeprefix(OWN_METRICS)}=", style="dim")
        text.append(f"{known[name]:.3g}")
    return text


def sparkline(values: Sequence[float]) -> str:
    """The values as a row of block characters, lowest to highest."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[int((value - low) * scale + 0.5)] for value in values)


def clock_text(seconds: float) -> str:
    """Elapsed time: 12.3 s, 4:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
