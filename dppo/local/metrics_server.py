"""An address where Prometheus scrapes a run: its newest Status, rendered once however often it is asked for."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from dppo.learner.telemetry.status import Status
from dppo.required_packages import METRICS, need

LOOK_SECONDS = 0.2  # between looks at whether it is to end


@contextlib.contextmanager
def serving_metrics(address: str) -> Iterator[Callable[[Status], None]]:
    """Serve the newest of the statuses that the yielded function is given; it returns at once, however many ask.

    address: host:port; "": serve nothing. Raises UsageError where the address cannot be used.
    """
    if not address:
        yield lambda status: None
        return
    need(METRICS)
    from dppo.local.metrics_http import TIMEOUT_SECONDS, bound  # no import for runs that serve none

    server = bound(address)
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_SECONDS,), name="metrics", daemon=True)
    thread.start()
    try:
        yield server.take
    finally:
        server.shutdown()
        thread.join(TIMEOUT_SECONDS)
        server.server_close()
