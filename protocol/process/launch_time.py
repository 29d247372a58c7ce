"""Launch of the user's command: the moment from which people count."""

import os
import sys
import time
from pathlib import Path

LAUNCHED_VARIABLE = "DPPO_LAUNCHED_AT"  # monotonic seconds; a local run hands it to its children


def launched_at() -> float:
    """On this machine's monotonic clock: as the local run says, else when this process started."""
    told = os.environ.get(LAUNCHED_VARIABLE, "")
    if told:
        return float(told)
    return time.monotonic() - max(0.0, _age())


def _age() -> float:
    """Return for how long this process has been there, in seconds."""
    if sys.platform == "linux":  # psutil knows whole seconds only, and takes 16 ms to import
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # before it: a name of any characters
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    import psutil

    age: float = time.time() - psutil.Process().create_time()
    return age
