"""Whether a run's files can be used: keys and tokens, and who else can read them; and what traces of it show."""

from pathlib import Path

from dppo.learner.transport.credentials import DIRECTORY, Access
from dppo.local.log_files import SUFFIX
from dppo.ops.doctor.finding import Finding, from_error
from dppo.ops.trace_reader import TraceFigures, figures_of
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import fingerprint, public_key


def run_files(run: Path, now: float) -> list[Finding]:
    """now: seconds since 1970."""
    if not run.is_dir():
        return [Finding("error", "run", f"{run} is not a directory", "Name a run directory, such as runs/CartPole-v1")]
    return [*_access(run, now), *traces(run / "logs")]


def _access(run: Path, now: float) -> list[Finding]:
    if not (run / DIRECTORY).exists():
        means = f"{run} has no {DIRECTORY}/, so no actor joins it over tcp"
        return [Finding("ok", "keys", f"{means}; dppo learner --bind tcp://... makes it")]
    access = Access(run)
    findings = []
    try:
        key = access.secret_key()
        findings.append(Finding("ok", "learner's key", f"{fingerprint(public_key(key))}, readable by its owner only"))
    except FileNotFoundError:
        means = f"{run / DIRECTORY}/server.key is gone: the join lines made so far are void"
        findings.append(Finding("error", "learner's key", means, "Restore it; the next start makes a new one"))
    except UsageError as error:
        findings.append(from_error("learner's key", error))
    try:
        book = access.book()
    except UsageError as error:
        return [*findings, from_error("tokens", error)]
    valid = book.valid(now)
    means = f"{len(valid)} of {len(book.tokens)} are valid"
    if not valid:
        return [*findings, Finding("warning", "tokens", f"{means}: no actor can join", f"dppo token add {run} NAME")]
    return [*findings, Finding("ok", "tokens", means)]


def traces(logs: Path) -> list[Finding]:
    """Return a line for each side that was traced; none where nothing was."""
    try:
        found = [figures_of(path) for path in sorted(logs.glob(f"*{SUFFIX}"))]
    except OSError as error:
        means = f"{error.filename} cannot be read: {error.strerror}"
        return [Finding("error", "trace", means, "Run the doctor as the user that ran the run")]
    learners = [figures for figures in found if figures.side == "learner"]
    actors = [figures for figures in found if figures.side == "actor"]
    return [Finding("ok", "trace", text) for text in (*map(_of_learner, learners), *_of_actors(actors))]


def _of_learner(figures: TraceFigures) -> str:
    return (
        f"{figures.name}: {figures.lost} connections lost, {figures.rejects} actors rejected, "
        f"{figures.refused_rollouts} rollouts refused, {figures.violations} violations"
    )


def _of_actors(actors: list[TraceFigures]) -> list[str]:
    if not actors:
        return []
    longest = max(actors, key=lambda figures: figures.longest_credit_wait_seconds)
    again = [f"{figures.name} {figures.reconnects}" for figures in actors if figures.reconnects]
    text = f"{len(actors)} traced: {sum(figures.reconnects for figures in actors)} reconnects"
    text += f" ({', '.join(again[:5])})" if again else ""
    text += f", longest wait for credit {longest.longest_credit_wait_seconds:.1f} s"
    text += f" ({longest.name})" if longest.longest_credit_wait_seconds else ""
    return [f"actors, {text}, rejects {sum(figures.rejects for figures in actors)}"]
