"""Describe how a process ended. Knows exit codes as Python reports them: negative ones are signals."""

import signal


def how_it_ended(code: int) -> str:
    """Describe an exit code: "was killed by SIGSEGV", "ended with code 7"."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
