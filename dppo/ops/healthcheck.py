"""The containers' healthcheck: is the heartbeat file fresh? Knows one path and one age.

It starts every few seconds, so it imports nothing but the standard library. A learner and an actor touch the file named
by DPPO_HEALTH_FILE at least every 2 s from the loop that does their work: a process that is there but hangs turns
unhealthy too.
"""

import os
import sys
import time
from pathlib import Path

FRESH_SECONDS = 15.0  # seven missed touches: an update of a large batch must not look like a hang


def verdict(heartbeat: Path, now_seconds: float) -> tuple[bool, str]:
    """Whether the heartbeat file is fresh, and the line that says so.

    Args:
        heartbeat: the file whose modification time is the newest sign of life.
        now_seconds: the wall clock, seconds since the epoch.
    """
    try:
        age_seconds = now_seconds - heartbeat.stat().st_mtime
    except FileNotFoundError:
        return False, f"no heartbeat yet: {heartbeat} does not exist"
    # A file from the future is a clock set back, not a hang: negative ages are fresh.
    word = "alive" if age_seconds < FRESH_SECONDS else "hung"
    return word == "alive", f"{word}: last heartbeat {age_seconds:.1f} s ago, the limit is {FRESH_SECONDS:.0f} s"


def main() -> int:
    """Exit status 0 healthy, 1 unhealthy; docker keeps the printed line in `docker inspect`."""
    path = os.environ.get("DPPO_HEALTH_FILE", "")
    if not path:
        print("DPPO_HEALTH_FILE is not set: name the file that the learner or actor touches")
        return 1
    healthy, line = verdict(Path(path), time.time())
    print(line)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
