"""`dppo actor`: one actor, or those of a host."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from dppo.actor.config import ActorConfig
from dppo.local.background import BackgroundHandler
from dppo.local.log_files import tracing
from dppo.local.surroundings import kept_surroundings
from dppo.protocol.process.household import leaves_nothing, logged_if_killed
from dppo.protocol.process.lifeline import LIFELINE_VARIABLE
from dppo.settings.join_sources import join_options
from dppo.settings.layers import Resolved

GRACE_SECONDS = 0.5  # for what a killed actor's environments have started
GROUP_GRACE_SECONDS = 7.0  # for the actors of a killed group to deliver and end


def run(resolved: Resolved[ActorConfig], entry: Callable[[str, str], Callable[..., Any]]) -> None:
    """Step environments until the run is over. Raises DppoError where that cannot be.

    entry: returns the function of a module that is imported now, by their names.
    """
    logging.getLogger("dppo").setLevel(logging.INFO)  # others: warnings
    logging.basicConfig(format="%(message)s", handlers=[BackgroundHandler(sys.stderr)])
    settings = resolved.config
    way = join_options(settings, resolved.sources)
    is_alone = LIFELINE_VARIABLE not in os.environ  # else our parent has a sweeper
    if settings.count != 1:
        way.find()  # a line that cannot be used is said once, and before anything is started
        with leaves_nothing(GROUP_GRACE_SECONDS, sweeper=True):
            entry("dppo.local.actor_group", "run")(way, settings)
        return
    bounds = {"allow_env": settings.allow_env} if settings.allow_env else {}
    stay = {"stay_seconds": settings.stay_seconds} if settings.stay_seconds else {}
    swept = leaves_nothing(GRACE_SECONDS, sweeper=is_alone)
    with tracing(settings.trace, "actor") as trace, swept, logged_if_killed("its work"), kept_surroundings():
        entry("dppo.actor.service", "run")(way, name=settings.name, envs=settings.envs, trace=trace, **bounds, **stay)
