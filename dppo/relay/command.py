"""`dppo relay`: settings, log and process around the service."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from dppo.local.background import BackgroundHandler
from dppo.relay.config import RelayConfig
from dppo.settings.join_sources import join_options
from dppo.settings.layers import Resolved


def run(resolved: Resolved[RelayConfig], entry: Callable[[str, str], Callable[..., Any]]) -> None:
    """Hand on messages until the run is over. Raises DppoError where that cannot be.

    entry: returns the function of a module that is imported now, by their names.
    """
    logging.getLogger("dppo").setLevel(logging.INFO)  # others: warnings
    logging.basicConfig(format="%(message)s", handlers=[BackgroundHandler(sys.stderr)])
    way = join_options(resolved.config, resolved.sources)
    entry("dppo.relay.service", "run")(way, resolved.config)
