"""Spaces of the run's environment on the learner's own host, which no holder of a token can choose.

The environment is made once, in a process of its own, while the learner opens its port and imports torch. Where it
cannot be made, or others may have other spaces, the spaces are those of the actors.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec

from dppo.learner.session.run_spaces import SpacesHere
from dppo.local.env_probe import probe
from dppo.local.expected_spaces import refuse_changed, trained_spaces
from dppo.protocol.env_wrappers import differ_by_environment, read_wrappers
from dppo.protocol.errors import DppoError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.placeholders import has_placeholder
from dppo.watch.evaluation_slots import beyond

MAX_SECONDS = 30.0  # for a making and a reset: actors that have joined wait for it
RESUME_SECONDS = 5.0
MAX_REASON = 300  # characters


@contextlib.contextmanager
def looking_for_spaces(env: EnvSettings, training_slots: int) -> Iterator[Future[SpacesHere]]:
    """Make the environment beside what the block does; the result comes within its deadline. Leaves no process.

    training_slots: environments of training, whose slots this one must not have.
    """
    future: Future[SpacesHere] = Future()
    given_up = threading.Event()
    slot = beyond(training_slots) + 2
    thread = threading.Thread(target=_look, args=(env, slot, future, given_up), name="spaces", daemon=True)
    thread.start()
    try:
        yield future
    finally:
        given_up.set()
        thread.join()


def check_same_spaces(directory: Path, here: Future[SpacesHere]) -> None:
    """Raise UsageError where the run in `directory` was trained on other spaces than the environment has here.

    Waits for the result only where there is such a run, and only for a moment: its actors wait for this learner.
    """
    trained = trained_spaces(directory)
    if trained is None:
        return
    try:
        spec = here.result(RESUME_SECONDS).spec
    except TimeoutError:
        return  # the run keeps its spaces, and refuses actors that have others
    if spec is not None:
        refuse_changed(directory, spec, trained)


def _look(env: EnvSettings, slot: int, future: Future[SpacesHere], given_up: threading.Event) -> None:
    of_kwargs = has_placeholder(json.loads(env.kwargs_json))
    if of_kwargs or differ_by_environment(read_wrappers(env.wrappers_json)):
        setting = "env.kwargs" if of_kwargs else "env.wrappers"
        why = f"{setting} has placeholders, so one environment does not show the spaces of all"
        future.set_result(SpacesHere(why_unknown=why))
        return
    limit = min(env.step_timeout_seconds or MAX_SECONDS, MAX_SECONDS)
    try:
        probe(
            msgspec.structs.replace(env, step_timeout_seconds=limit),
            lambda text: None,
            slot=slot,
            found=lambda spec: future.set_result(SpacesHere(spec)),
            given_up=given_up,
        )
    except DppoError as error:
        future.set_result(SpacesHere(why_unknown=_shortened(str(error))))
    except BaseException as error:  # noqa: BLE001 -- a bug here must end the process that waits for the result
        if not future.done():
            future.set_exception(error)


def _shortened(text: str) -> str:
    text = text.partition("; to allow more")[0]  # the limit is ours
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} ..."
