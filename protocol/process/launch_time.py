"""Launch of the user's command: the moment from which people count."""

import os
import time

LAUNCHED_VARIABLE = "DPPO_LAUNCHED_AT"  # monotonic seconds; a local run hands it to its children


def launched_at() -> float:
    """On this machine's monotonic clock: as the local run says, else when this process started."""
    told = os.environ.get(LAUNCHED_VARIABLE, "")
    if told:
        return float(told)
    import psutil

    age: float = time.time() - psutil.Process().create_time()
    return time.monotonic() - max(0.0, age)
