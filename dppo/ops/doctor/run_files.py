"""Whether a run's files can be used: keys and tokens, and who else can read them."""

from pathlib import Path

from dppo.learner.transport.credentials import DIRECTORY, Access
from dppo.ops.doctor.finding import Finding, from_error
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import fingerprint, public_key


def run_files(run: Path, now: float) -> list[Finding]:
    """now: seconds since 1970."""
    if not run.is_dir():
        return [Finding("error", "run", f"{run} is not a directory", "Name a run directory, such as runs/CartPole-v1")]
    if not (run / DIRECTORY).exists():
        means = f"{run} has no {DIRECTORY}/, so nobody joins it over tcp"
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
        return [*findings, Finding("warning", "tokens", f"{means}: nobody can join", f"dppo token add {run} NAME")]
    return [*findings, Finding("ok", "tokens", means)]
