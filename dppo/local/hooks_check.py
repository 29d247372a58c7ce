"""Finds a run's hooks before anything is started, in a process of its own: a user's module may do anything.

Usage: python -m dppo.local.hooks_check MODULE:CLASS.
"""

import subprocess
import sys

from dppo.protocol.errors import UsageError
from dppo.protocol.process.exit_codes import how_it_ended
from dppo.protocol.process.interpreter import SAFE_PATH, append_working_directory

ERROR = "dppo: error: "
IMPORT_SECONDS = 60.0


def check_hooks(name: str) -> None:
    """Raise UsageError, in one line, where a process of ours would not find them."""
    command = [sys.executable, SAFE_PATH, "-m", "dppo.local.hooks_check", name]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"run.hooks={name}: importing it takes more than {IMPORT_SECONDS:g} s") from None
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").splitlines()
        errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
        raise UsageError(errors[-1] if errors else f"run.hooks={name}: importing it {how_it_ended(ended.returncode)}")


def main(name: str) -> int:
    """Find them; returns the exit code."""
    from dppo.learner.hooks import find

    append_working_directory()
    try:
        find(name)
    except UsageError as error:
        print(f"{ERROR}{error}", file=sys.stderr)
        return UsageError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
