"""`dppo report`: one HTML file about a run, to keep or to send: results, pictures, findings, settings, a film."""

import base64
import datetime
import html
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dppo.learner.atomic_files import replace_file
from dppo.learner.config import LearnerConfig, settings_by_path
from dppo.number_text import return_number
from dppo.ops.diagnose.command import examine
from dppo.ops.diagnose.history import History, read_history
from dppo.ops.doctor.finding import Finding
from dppo.protocol.errors import UsageError
from dppo.protocol.release import RELEASE
from dppo.watch.report_pictures import is_number, returns_picture, updates_picture
from dppo.watch.run_list import check_run, look_at
from dppo.watch.timeline.command import section_of_report

MOST_FILM_BYTES = 12 * 2**20
FILMS = {".mp4": "video/mp4", ".gif": "image/gif"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff }
body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top }
pre { overflow-x: auto; font-size: .8rem }
svg, video, img { max-width: 100%; height: auto } td:last-child { overflow-wrap: anywhere }
.error { color: #b00020; font-weight: 600 } .warning { color: #9a6700; font-weight: 600 } .ok { color: #1a7f37 }
"""


@dataclass(frozen=True)
class ReportArguments:
    """Write one HTML file about a run: results, curves, findings, ledger, settings, and its newest film."""

    run: str
    """Run directory."""
    output: str = ""
    """File to write; empty: report.html in the run directory."""


def report(chosen: ReportArguments) -> int:
    """Write the file; returns the exit code. Raises UsageError where there is no run, or no way to write."""
    directory = check_run(chosen.run)
    output = Path(chosen.output) if chosen.output else directory / "report.html"
    if output.suffix not in (".html", ".htm"):
        raise UsageError(f"output {output} is no web page: choose a name that ends in .html")
    text = page(directory, read_history(directory))
    try:
        replace_file(output, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from None
    print(f"wrote {output}")
    return 0


def page(directory: Path, history: History) -> str:
    """Return the whole page."""
    env = history.config.env.id
    parts = [
        f"<h1>{html.escape(env)}</h1>",
        _table(_results(directory, history)),
        _section("Returns", returns_picture(history.rows, history.config.run.target_return)),
        _section("What to change", _findings(examine(history))),
        _section("Updates", updates_picture(history.rows)),
        _section("Timeline of the last updates", section_of_report(directory)),
        _section("Film", _film(directory / "videos")),
        _section("Where every step went", _table(_ledger(history.ledger.get("total", {})))),
        _section("Settings that are not the defaults", _table(_changed(history.config))),
        _section("All settings", f"<details><summary>show</summary>{_table(_all(history.config))}</details>"),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(env)}</title>'
    made = f"<p>dppo {RELEASE}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC</p>"
    body = "".join(parts) + made
    return f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n"


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>{content}" if content else ""


def _table(rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><th>{html.escape(what)}</th><td>{html.escape(value)}</td></tr>" for what, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _results(directory: Path, history: History) -> dict[str, str]:
    last, run = history.rows[-1], look_at(directory)
    seconds = f", {last['elapsed_seconds']:,.0f} s" if is_number(last.get("elapsed_seconds")) else ""
    rows = {
        "run": str(directory.absolute()),
        "state": str(history.summary.get("reason") or run.state),
        "seed": str(history.config.run.seed),
        "trained": f"{last['steps']:,} steps in {last['update']:,} updates{seconds}",
    }
    if is_number(last.get("mean_return")):
        target = history.config.run.target_return
        best = max(row["mean_return"] for row in history.rows if is_number(row.get("mean_return")))
        of = "" if target is None else f" (target {target:g})"
        rows["return"] = f"{return_number(last['mean_return'])} in the newest episodes, best {return_number(best)}{of}"
    if solved := history.summary.get("solved_steps"):
        rows["solved"] = f"after {solved:,} steps, {history.summary.get('solved_seconds') or 0:,.1f} s"
    with suppress(OSError, ValueError, KeyError, TypeError):
        evaluation = json.loads((directory / "evaluation.json").read_bytes())
        mean, std = evaluation["return_mean"], evaluation["return_std"]
        rows["evaluation"] = f"{return_number(mean)} +- {return_number(std)} over {evaluation['episodes']} episodes"
    return rows


def _findings(findings: Sequence[Finding]) -> str:
    rows = (
        f'<tr><td class="{finding.level}">{finding.level}</td><td>{html.escape(finding.what)}</td>'
        f"<td>{html.escape(finding.means)}{html.escape('. ' + finding.do if finding.do else '')}</td></tr>"
        for finding in findings
    )
    return f"<table>{''.join(rows)}</table>"


def _ledger(total: Mapping[str, Any]) -> dict[str, str]:
    rows = {what: f"{total[what]:,}" for what in ("sealed", "trained", "pending", "in_flight") if what in total}
    dropped = {f"dropped: {reason}": f"{steps:,}" for reason, steps in total.get("dropped", {}).items() if steps}
    return {**rows, **dropped}


def _changed(config: LearnerConfig) -> dict[str, str]:
    defaults = settings_by_path(LearnerConfig())
    return {path: str(value) for path, value in settings_by_path(config).items() if value != defaults[path]}


def _all(config: LearnerConfig) -> dict[str, str]:
    return {path: str(value) for path, value in settings_by_path(config).items()}


def _film(folder: Path) -> str:
    """Return the newest film within the page; "" without one, or where it is too large."""
    films = sorted((path for path in folder.glob("*") if path.suffix in FILMS), key=lambda path: path.stat().st_mtime)
    if not films or films[-1].stat().st_size > MOST_FILM_BYTES:
        return ""
    kind = FILMS[films[-1].suffix]
    source = f"data:{kind};base64,{base64.b64encode(films[-1].read_bytes()).decode()}"
    if kind.startswith("image"):
        return f'<img src="{source}" alt="an episode">'
    return f'<video src="{source}" controls loop muted></video>'
