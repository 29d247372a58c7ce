"""The weights of another run to begin with: where they are, whether they fit, and how they are taken over.

Only what was learnt is taken: networks and the moments of the normalisers. Counters, optimizer and schedules begin
anew. Imports no torch before weights are read.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dppo.learner.storage.checkpoint_format import RECENT_FILE, STATE_FILE, read_document, readable_first
from dppo.learner.storage.network_record import remark_other
from dppo.protocol.errors import CheckpointError, UsageError
from dppo.protocol.specs import Leaf, Spec

if TYPE_CHECKING:
    from dppo.learner.ppo.trainer import Trainer

log = logging.getLogger("dppo.learner")

CHECKPOINTS = "checkpoints"
BEST_FILE = "best.json"
LEARNT_IF_USED = "reward_scale."  # where both runs normalise rewards
LEARNT = ("policy.", "critic.", "observations.", "values.")  # groups of a checkpoint's tensors


@dataclass(frozen=True)
class Source:
    """A checkpoint to begin from."""

    run: Path  # its run directory
    checkpoint: Path


def find_source(init_from: str, which: Literal["newest", "best"]) -> Source:
    """The checkpoint that the settings name. Raises UsageError where there is none."""
    path = Path(init_from)
    if path.name == CHECKPOINTS:
        path = path.parent
    if (path / STATE_FILE).is_file() or (path.name == RECENT_FILE and path.is_file()):
        if which == "best":
            raise UsageError(
                f"run.init_checkpoint=best, and run.init_from={init_from} is one checkpoint already: name its run"
            )
        return Source(path.parent.parent, path)
    if not (path / CHECKPOINTS).is_dir():
        what = "is no run directory" if path.exists() else "does not exist"
        raise UsageError(f"run.init_from={init_from} {what}: give one such as runs/Pendulum-v1")
    return Source(path, _best(path) if which == "best" else _newest(path))


def _newest(run: Path) -> Path:
    for path in readable_first(run / CHECKPOINTS):
        try:
            read_document(path)
        except (OSError, ValueError):
            log.warning("checkpoint %s cannot be read; taking the one before", path)
        else:
            return path
    raise UsageError(f"run.init_from={run} has no checkpoint that can be read: let it train first")


def _best(run: Path) -> Path:
    try:
        update = int(json.loads((run / CHECKPOINTS / BEST_FILE).read_bytes())["update"])
        path = run / CHECKPOINTS / f"{update:08d}"
        read_document(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"run.init_from={run} has no best checkpoint yet (a mean return needs run.return_window episodes): "
            "take --run.init-checkpoint newest"
        ) from error
    return path


def begin_from(trainer: "Trainer", source: Source, spec: Spec) -> dict[str, Any]:
    """Give the trainer what the source has learnt; return where it comes from, as plain values.

    Raises UsageError where its spaces or networks are others, or where it cannot be read.
    """
    from dppo.learner.storage.checkpoint import read

    try:
        checkpoint = read(source.checkpoint)
    except CheckpointError as error:
        raise UsageError(f"run.init_from: {error}") from None
    state = checkpoint.state
    problem = difference(msgspec.convert(state["spec"], Spec), spec)
    if problem:
        raise UsageError(
            f"run.init_from={source.run} is a run with other spaces: {problem}. Its weights are of no use here."
        )
    learnt = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(LEARNT)}
    now = trainer.tensors()
    learnt |= {name: checkpoint.tensors.get(name, now[name]) for name in now if name.startswith(LEARNT_IF_USED)}
    try:
        trainer.load({**now, **learnt}, trainer.counters())
    except CheckpointError as error:
        raise UsageError(f"run.init_from={source.run}: {error}") from None
    remark_other(trainer, checkpoint, source.run)
    log.info("weights of %s after update %d", source.run, checkpoint.update)
    return {
        "run": str(source.run.resolve()),
        "run_id": _run_id(source.run),
        "env": state["env"],
        "checkpoint": source.checkpoint.name,
        "update": checkpoint.update,
        "steps": state["progress"]["steps"],
    }


def difference(theirs: Spec, ours: Spec) -> str:
    """Return the first leaf that is not the same, and how it differs; "" where all are."""
    pairs = (
        ("observations", theirs.observation, ours.observation),
        ("actions", theirs.action, ours.action),
        ("masks", theirs.mask, ours.mask),
        ("states", theirs.state, ours.state),
    )
    for what, old, new in pairs:
        if old != new:
            return f"{what} are {_described(old)} there and {_described(new)} here"
    return ""


def _described(leaves: tuple[Leaf, ...]) -> str:
    return ", ".join(map(_leaf, leaves)) or "none"


def _leaf(leaf: Leaf) -> str:
    name = f"{leaf.name} as " if "." in leaf.name else ""
    return name + _space(leaf)


def _space(leaf: Leaf) -> str:
    if leaf.kind == "multi_discrete":
        return f"MultiDiscrete{tuple(leaf.shape)} in {_short(leaf.low)}..{_short(leaf.high)}"
    if leaf.kind == "multi_binary":
        return f"MultiBinary{tuple(leaf.shape)}"
    if leaf.kind == "discrete":
        return f"Discrete({leaf.categories}, start={leaf.start})" if leaf.start else f"Discrete({leaf.categories})"
    bounds = f" in {_short(leaf.low)}..{_short(leaf.high)}" if leaf.low else ""
    return f"Box{tuple(leaf.shape)} of {leaf.dtype[1:]}{bounds}"


def _short(bounds: tuple[float, ...]) -> str:
    if len(set(bounds)) == 1:
        return f"{bounds[0]:g}"
    return f"({', '.join(f'{bound:g}' for bound in bounds[:4])}{', ...' if len(bounds) > 4 else ''})"


def _run_id(run: Path) -> str | None:
    try:
        return str(json.loads((run / "run.json").read_bytes())["run_id"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
