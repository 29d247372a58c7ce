"""Finds a run's hooks before anything is started, in a process of its own: a user's module may do anything.

Usage: python -m dppo.local.hooks_check MODULE:CLASS.
"""

import subprocess
import sys
import tempfile

from dppo.local.child_process import ChildProcess
from dppo.protocol.errors import UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.interpreter import append_working_directory
from dppo.protocol.process.lifeline import Lifeline, watch_parent

ERROR = "dppo: error: "
IMPORT_SECONDS = 60.0


def check_hooks(name: str) -> None:
    """Raise UsageError, in one line, where a process of ours would not find them."""
    arguments = ["-m", "dppo.local.hooks_check", name]
    with tempfile.TemporaryFile() as log, Lifeline() as lifeline:
        process = ChildProcess(arguments, lifeline, stdout=subprocess.DEVNULL, stderr=log)
        try:
            code = process.wait_at_most(IMPORT_SECONDS)
        finally:
            process.kill()
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    if code is None:
        raise UsageError(f"run.hooks={name}: importing it takes more than {IMPORT_SECONDS:g} s")
    if code:
        errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        raise UsageError(errors[-1] if errors else f"run.hooks={name}: importing it {how_it_ended(code)}")


def main(name: str) -> int:
    """Find them; returns the exit code."""
    from dppo.learner.hooks import find

    append_working_directory()
    watch_parent()
    try:
        find(name)
    except UsageError as error:
        print(f"{ERROR}{error}", file=sys.stderr)
        return UsageError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
