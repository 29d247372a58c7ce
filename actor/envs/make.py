"""Make environments that can be stepped from the run's settings. Knows Gymnasium's registry.

Which implementation steps them is chosen here and named in `description`: a native vector environment where the id has
one, else our loop over single environments, else processes if asked for.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dppo.actor.envs.env_numbers import Place
from dppo.actor.envs.factory import Maker
from dppo.actor.envs.interface import Environments, Step
from dppo.actor.envs.lookup import left_out, registered
from dppo.actor.envs.returned_values import Note
from dppo.actor.envs.sync_loop import SyncLoop
from dppo.actor.envs.vector_adapter import Seeding, VectorEnvironments
from dppo.actor.envs.wrapping import wrapper_class
from dppo.actor.watchdog.traceback_location import with_place
from dppo.protocol.env_wrappers import read_wrappers, refuse_native
from dppo.protocol.errors import DppoError, UsageError
from dppo.protocol.messages import EnvSettings
from dppo.protocol.placeholders import check_placeholders

__all__ = ["Environments", "Step", "make_environments", "registered"]

NATIVE_ADVICE = ". Vectorization 'sync' makes single environments, which may take other arguments."


def make_environments(
    settings: EnvSettings,
    envs: int,
    begin: Callable[[str], None] = lambda what: None,
    *,
    place: Place = Place(),
    note: Note = lambda text: None,
) -> Environments:
    """`envs` environments as the settings say. Raises UsageError saying what is wrong with which setting.

    begin: called before each thing that takes its time, for a thread that watches.
    place: whose they are, for their placeholders and variables.
    note: called once with each oddity in what they return that is no error.
    """
    begin(f"making {settings.id}")
    if envs < 1:
        raise UsageError(f"an actor needs at least 1 environment, not {envs}")
    kwargs = _kwargs(settings.kwargs_json)
    check_placeholders(kwargs)
    wrappers = read_wrappers(settings.wrappers_json)
    native = registered(settings.id).vector_entry_point is not None
    if lost := left_out(settings.id):
        note(lost)
    vectorization = settings.vectorization
    if vectorization == "auto":
        vectorization = "native" if native and not (wrappers or settings.step_metrics) else "sync"
    if vectorization == "native" and not native:
        raise UsageError(f"{settings.id} has no native vector environment: use vectorization 'sync' or 'async'")
    if wrappers:
        refuse_native(vectorization)
        for wrapper in wrappers:
            wrapper_class(wrapper)  # before anything is made that may take its time, or hold a port
    if settings.step_metrics and vectorization == "native":
        raise UsageError("run.step_metrics need single environments: take env.vectorization sync or async")
    metrics = (*settings.metrics, *settings.step_metrics)
    maker = Maker(settings.id, kwargs, place, wrappers, settings.step_metrics, settings.action_mask)
    if vectorization == "native":
        return _make_native(maker, envs, note, metrics, settings.action_mask)
    if vectorization == "async":
        return _make_async(maker, envs, note, metrics, settings.action_mask)
    environments = []
    for column in range(envs):
        if column:
            begin(f"making {settings.id}, environment {column}")
        environments.append(maker.first(functools.partial(maker.single, column)))
    again = maker.again(maker.single)
    with _spaces_read(settings.id):
        return SyncLoop(environments, again, note, metrics, settings.action_mask)


def _make_native(maker: Maker, envs: int, note: Note, metrics: tuple[str, ...], action_mask: str) -> Environments:
    vector = maker.first(lambda: maker.native(envs), of="the native vector environment of ", advice=NATIVE_ADVICE)
    # our own can give each column a generator; Gymnasium has no word for that
    is_own = isinstance(vector.metadata, Mapping) and vector.metadata.get("seed_per_column")
    seeding: Seeding = "per_column" if is_own else "first_column"
    again = maker.again(lambda: maker.native(envs))
    with _spaces_read(maker.env_id):
        return VectorEnvironments(vector, "native", seeding, again, note, metrics, action_mask)


def _make_async(maker: Maker, envs: int, note: Note, metrics: tuple[str, ...], action_mask: str) -> Environments:
    """One process an environment."""
    vector = maker.first(lambda: maker.processes(envs, metrics))
    again = maker.again(lambda: maker.processes(envs, metrics))
    with _spaces_read(maker.env_id):
        return VectorEnvironments(vector, "async", "per_column", again, note, metrics, action_mask)


@contextlib.contextmanager
def _spaces_read(env_id: str) -> Iterator[None]:
    """Raise UsageError where the spaces of an environment that was made are not there, or raise."""
    try:
        yield
    except (DppoError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise UsageError(
            f"{env_id} was made, and its observation_space and action_space cannot be read: {with_place(error)}; "
            "set both in __init__"
        ) from error


def _kwargs(kwargs_json: str) -> dict[str, Any]:
    try:
        kwargs = json.loads(kwargs_json)
    except ValueError as error:
        raise UsageError(f"the environment's keyword arguments are not JSON: {error} in {kwargs_json!r}") from None
    if not isinstance(kwargs, dict):
        raise UsageError(f"the environment's keyword arguments must be a JSON object, not {kwargs_json!r}")
    return kwargs
