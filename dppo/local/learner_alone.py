"""One learner with its table and its notes, started by a user: all that a local run does for one of its own."""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from dppo.learner.group.membership import Membership
from dppo.learner.session.run_spaces import SpacesHere
from dppo.learner.telemetry.status import Status
from dppo.learner.transport.listener import Listening, check_address
from dppo.local.host_view import host_view
from dppo.local.known_spaces import known_spaces
from dppo.local.launch_texts import FirstLine, again_text
from dppo.local.launching import NEW, check_hooks_of_finished, checked, in_new_directory, placed, show_finished
from dppo.local.metrics_server import serving_metrics
from dppo.local.misfits import check_spaces_before_start
from dppo.local.preflight import env_settings
from dppo.local.run_comparison import kept_settings
from dppo.local.spaces_here import check_same_spaces, looking_for_spaces
from dppo.protocol.errors import DppoError
from dppo.protocol.trace import Trace
from dppo.settings.commands import LearnerProcessConfig
from dppo.settings.layers import Resolved


def run_alone(
    resolved: Resolved[LearnerProcessConfig], listening: Listening, trace: Trace | None, place: Membership | None
) -> int:
    """Train as the command of a user's; returns the exit code. Raises DppoError where it cannot start, or fails."""
    config = placed(resolved.config)
    config = in_new_directory(config) if NEW in resolved.switches else config
    standing = checked(config)
    if standing.over:
        check_hooks_of_finished(config.learner.run.hooks)
        show_finished(standing)
        _tell_actors(config, listening, standing.over)
        return 0
    collect, env = config.learner.collect, env_settings(config.learner)
    known = known_spaces(env)
    if known is not None:
        check_spaces_before_start(config.learner, known)
    with (
        serving_metrics(config.learner.run.metrics_address) as publish,
        looking_for_spaces(env, collect.envs_per_actor) as spaces_here,
    ):
        first_line = FirstLine(resolved.first_line)
        first_line.show()
        check_address(listening)
        if places := host_view().places(standing.directory):
            first_line.note(places)
        again = again_text("learner", resolved.arguments, config.learner.run_directory)
        _train_alone(config, listening, standing.directory, spaces_here, trace, again, place, publish)
    return 0


def _train_alone(
    config: LearnerProcessConfig,
    listening: Listening,
    directory: Path,
    spaces_here: Future[SpacesHere],
    trace: Trace | None,
    again: str,
    place: Membership | None,
    publish: Callable[[Status], None],
) -> None:
    import dppo.learner.service
    from dppo.local.drawing_thread import Screen
    from dppo.local.failed_starts import removed_where_it_fails
    from dppo.local.progress import NoteHandler
    from dppo.local.run_summary import (
        check_that_episodes_ended,
        close_run,
        evaluate_the_last_policy,
        film,
        say_what_is_next,
    )
    from dppo.watch.side_processes import SideProcesses

    check_same_spaces(directory, spaces_here)
    with (
        removed_where_it_fails(directory),
        contextlib.ExitStack() as children,
        contextlib.ExitStack() as screen,
    ):
        progress = Screen(look=lambda status: sides.look(status), publish=publish)
        sides = children.enter_context(SideProcesses(config, directory, progress.note))
        screen.enter_context(progress)
        logging.getLogger("dppo").setLevel(logging.INFO)  # others: warnings
        logging.basicConfig(format="%(message)s", handlers=[NoteHandler(progress)])

        def afterwards(interrupted: bool) -> None:
            screen.close()
            sides.evaluator.stop()
            episodes = 0 if interrupted else config.evaluation_episodes
            envs, max_seconds = config.learner.collect.envs_per_actor, config.evaluation_seconds
            if not close_run(directory, episodes, envs=envs, max_seconds=max_seconds) and not interrupted:
                check_that_episodes_ended(directory)
                if evaluate_the_last_policy(directory, sides.evaluator):
                    return
                film(directory, sides.recorder)
                say_what_is_next(directory, seeds="")
            elif interrupted and again:
                print(f"\n{again}", flush=True)

        dppo.learner.service.run(
            config.learner,
            listening=listening,
            settings=functools.partial(kept_settings, config),
            observe=progress.show,
            afterwards=afterwards,
            spaces_here=spaces_here,
            trace=trace,
            place=place,
        )


def _tell_actors(config: LearnerProcessConfig, listening: Listening, reason: str) -> None:
    """Send BYE to actors that wait for a run that is over, as at its end."""
    from dppo.learner.farewell import say_that_it_is_over

    sys.stdout.flush()
    try:
        say_that_it_is_over(config.learner, listening, reason)
    except DppoError as error:
        print(f"actors that wait are not told that the run is over: {error}", file=sys.stderr)
