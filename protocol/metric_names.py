"""Names of numbers that users have in the infos of their environments: few, short, printable. Imports nothing heavy."""

import re
from collections.abc import Sequence

from dppo.protocol.errors import ProtocolError

METRIC = re.compile(r"[!-~]([ -~]{0,62}[!-~])?")  # of a metric: a key of the environment's info
MAX_METRICS = 16


def check_metrics(names: Sequence[str]) -> None:
    """Raise ProtocolError for names of metrics that no honest peer sends."""
    if len(names) > MAX_METRICS:
        raise ProtocolError(f"there are {len(names)} metrics; at most {MAX_METRICS} are allowed")
    for name in names:
        if not METRIC.fullmatch(name):
            raise ProtocolError(f"{name[:64]!r} is no name of a metric: 1 to 64 printable ASCII characters are")
    if len(set(names)) != len(names):
        raise ProtocolError("a metric is named twice")
