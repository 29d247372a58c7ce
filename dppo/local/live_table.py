"""A Status as a rich table. Knows how it looks; knows neither when it is drawn nor where the status comes from."""

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dppo.learner.telemetry.status import OWN_METRICS, Status
from dppo.local.status_text import batch_text, ledger_line, left_out_text
from dppo.number_text import absurd_text, return_number

ACTOR_ROWS = 16
OTHER_ROWS = 13  # header, column names, next batch, ledger, metrics
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
STATE_STYLES = {"running": "green", "stopped": "yellow", "joining": "cyan", "silent": "red", "gone": "red"}
QUIET_SECONDS = 2.0  # silence that is worth showing
_BLOCKS = "▁▂▃▄▅▆▇█"


def table(status: Status, returns: Sequence[float], width: int, height: int) -> RenderableType:
    """Return all that is worth watching, for a terminal of that size. `returns`: the mean return after each update."""
    rows = max(1, min(ACTOR_ROWS, height - OTHER_ROWS))
    parts: list[RenderableType] = [_header(status, returns, width), _actors(status, width, rows)]
    if batch := batch_text(status):
        parts.append(Text(f"next {batch}", style="dim"))
    if absurd := absurd_text(status.outliers, status.steps_left_out):
        parts.append(Text(absurd, style="yellow"))
    if status.waiting_for:
        parts.append(Text(f"waiting for {status.waiting_for}", style="yellow"))
    parts.append(Text(ledger_line(status.ledger), style="dim"))
    if status.metrics:
        parts.append(_metrics(status.metrics))
    return Group(*parts)


def _header(status: Status, returns: Sequence[float], width: int) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    name = Text.assemble((status.env, "bold"), "  ", (status.phase.lower(), "cyan"))
    grid.add_row(name, f"update {status.updates}   {clock_text(status.elapsed_seconds)}")
    bar = ProgressBar(total=max(status.total_steps, 1), completed=status.steps, width=max(4, width // 3 - 10))
    steps = Table.grid(padding=(0, 1))
    steps.add_column()
    steps.add_column(no_wrap=True)
    steps.add_row(bar, f"{status.steps:,} of {status.total_steps:,} steps")
    grid.add_row(steps, f"{status.steps_per_second:,.0f} steps/s")
    grid.add_row(_return(status, returns, width), f"{status.episodes:,} episodes")
    return grid


def _return(status: Status, returns: Sequence[float], width: int) -> Text:
    if status.mean_return is None:
        return Text("no episode has ended yet", style="dim")
    solved = status.target_return is not None and status.mean_return >= status.target_return
    text = Text.assemble("return ", (return_number(status.mean_return), "bold green" if solved else "bold"))
    if status.target_return is not None:
        text.append(f" of {status.target_return:g}")
    if status.success_rate is not None:
        text.append(f"  success {status.success_rate:.0%}")
    text.append(left_out_text(status), style="yellow")
    return text.append(f"  {sparkline(list(returns)[-max(2, width - 23 - len(text)) :])}", style="cyan")


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
    for actor in actors[:most]:
        state = Text(actor.state, style=STATE_STYLES.get(actor.state, ""))
        if actor.heard_seconds_ago >= QUIET_SECONDS:
            state.append(f" {actor.heard_seconds_ago:.0f} s")
        if actor.env_restarts:
            state.append(f" {actor.env_restarts:,} crashed", style="red")
        env, policy, send, idle = (
            f"{share:.0%}" for share in (actor.env_share, actor.policy_share, actor.send_share, actor.idle_share)
        )
        cells = [str(actor.envs), f"{actor.steps + actor.open_steps:,}", env, policy, send, idle]
        rows.add_row(Text(actor.name), state, *(cells if wide else [cells[1], env, idle]))
    if len(actors) <= most:
        return rows
    return Group(rows, Text(f"+ {len(actors) - most} more", style="dim"))


def _metrics(metrics: dict[str, float]) -> Text:
    text = Text(overflow="fold")
    known = {name: value for name, value in metrics.items() if math.isfinite(value)}
    own = [name for name in known if name.startswith(OWN_METRICS)]
    first = [*own, *(name for name in FIRST_METRICS if name in known)]
    names = [*first, *(name for name in known if name not in first)]
    for name in names[:METRICS]:
        text.append("   " * bool(text))
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
