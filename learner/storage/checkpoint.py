"""Checkpoints on disk: written whole or not at all, checked byte by byte when read. Knows nothing of what is in them.

A lasting checkpoint is a directory named after its update, with `state.safetensors` (tensors) and `state.json`
(everything else, and the digests of both files), and survives a power failure. Between two of them there is `recent`,
one file with all of it, which survives the death of the process only and is cheap enough for every update. Each comes
into being by one rename, so it exists completely or not at all.
"""

import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError

from dppo.learner.atomic_files import remove_unfinished, replace_file_durably, sync_directory, write_durably
from dppo.learner.failpoints import reach
from dppo.learner.regular_files import write_own
from dppo.learner.storage.checkpoint_format import (
    RECENT_FILE,
    STATE_FILE,
    TENSORS_FILE,
    check_tensors,
    document_of,
    listed,
    none_readable,
    read_document,
    readable_first,
    update_of,
)
from dppo.protocol.errors import CheckpointError

BEST_FILE = "best.json"
# tensors of bytes beside the trainer's: covered by the same digest, renamed at the same moment
IN_HAND, PAST = "in_hand", "past"

# dtypes that NumPy has as well: bfloat16 and the like it has not
_OF_NUMPY = frozenset({torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool})
_TEMPORARY = re.compile(r"\.writing-([0-9a-f]+)-\d+")
# random, not the pid: in a container a restarted learner gets the pid of the dead one
_WRITER = secrets.token_hex(8)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read."""

    path: Path
    update: int
    tensors: dict[str, torch.Tensor]  # on the CPU, bit-exact as saved
    state: dict[str, Any]  # plain JSON values, as saved
    in_hand: bytes = b""  # batches, as learner/ppo/packed_rollouts.py packs them
    past: bytes = b""  # rollouts that were trained on, as learner/ppo/past.py packs them


def blob_of(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the tensors as safetensors writes them."""
    own = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    if any(tensor.dtype not in _OF_NUMPY for tensor in own.values()):
        return safetensors.torch.save(own)
    # the same bytes in a quarter of the time, which training waits for after every update
    return safetensors.numpy.save({name: tensor.numpy() for name, tensor in own.items()})


def with_rollouts(
    tensors: Mapping[str, torch.Tensor], *, in_hand: bytes = b"", past: bytes = b""
) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint that also keeps batches: in hand, and those that updates look back to."""
    kept = {name: content for name, content in ((IN_HAND, in_hand), (PAST, past)) if content}
    return {**tensors, **{name: torch.frombuffer(bytearray(of), dtype=torch.uint8) for name, of in kept.items()}}


def save(directory: Path, update: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> Path:
    """Write checkpoint `update` below `directory`; when this returns, it survives a power failure.

    `state` holds plain JSON values only (string keys, finite numbers), anything else is a TypeError or ValueError.
    Raises CheckpointError where the file system refuses (full, read-only): nothing is left behind, older checkpoints
    stay as they are, and the caller may go on, loudly.
    """
    blob = blob_of(tensors)
    document = document_of(update, blob, state)
    target = directory / f"{update:08d}"
    temporary = directory / f".writing-{_WRITER}-{update}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        write_durably(temporary / TENSORS_FILE, blob)
        write_durably(temporary / STATE_FILE, document)
        sync_directory(temporary)
        _move_into_place(temporary, target)
        _set_aside_newer(directory, update)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"checkpoint {update} could not be written to {directory}: {error.strerror or error}. Older ones are "
            "untouched; free disk space or permissions before the run ends, or its last updates are lost."
        ) from error
    return target


def save_recent(directory: Path, update: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
    """Replace `recent`: when this returns, it survives the death of this process. Raises as `save` does."""
    blob = blob_of(tensors)
    temporary = directory / f".{RECENT_FILE}.new"
    try:
        write_own(temporary, document_of(update, blob, state) + b"\n" + blob)
        reach("before-checkpoint-rename")
        temporary.replace(directory / RECENT_FILE)
        reach("after-checkpoint-rename")
    except OSError as error:
        remove_unfinished(temporary)
        raise CheckpointError(
            f"recent checkpoint {update} could not be written to {directory}: {error.strerror or error}. Free disk "
            "space or permissions: a learner that is killed before that loses more than its last update."
        ) from error


def read(path: Path) -> Checkpoint:
    """The checkpoint at `path`.

    Raises CheckpointError where a byte of it is missing or wrong, UsageError where it is of another release's format.
    """
    try:
        document, blob = read_document(path)
        if blob is None:
            blob = (path / TENSORS_FILE).read_bytes()
        check_tensors(blob, document["tensors"])
        tensors = safetensors.torch.load(blob)
    except (OSError, ValueError, SafetensorError) as error:
        why = (
            f"{error.strerror}: {Path(error.filename).name}" if isinstance(error, OSError) and error.filename else error
        )
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {why}. Restore it from a copy or delete it."
        ) from error
    in_hand, past = (
        b"" if (kept := tensors.pop(name, None)) is None else kept.numpy().tobytes() for name in (IN_HAND, PAST)
    )
    return Checkpoint(path, document["update"], tensors, document["state"], in_hand, past)


def newest(directory: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest readable checkpoint below `directory`; None where there has never been one.

    Each unreadable one passed over is reported through `warn`. Raises CheckpointError where there are checkpoints and
    none is readable (training from scratch over them would be worse than stopping), UsageError as `read` does.
    """
    try:
        paths = readable_first(directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(
            f"checkpoints in {directory} cannot be listed: {error.strerror}. Make it a readable directory."
        ) from error
    for path in paths:
        try:
            return read(path)
        except CheckpointError as error:
            warn(f"{error} Falling back to the one before.")
    if paths:
        raise CheckpointError(none_readable(directory, paths))
    return None


def offer_best(directory: Path, update: int, mean_return: float | None) -> int | None:
    """Record checkpoint `update` as the best so far if its mean return is; return which one is the best, if any.

    Kept in `best.json`. A record whose checkpoint is gone does not count. Raises CheckpointError as `save` does.
    """
    best_update, best_return = _recorded_best(directory)
    if mean_return is None or (best_return is not None and not mean_return > best_return):
        return best_update
    record = json.dumps({"update": update, "mean_return": mean_return}, allow_nan=False).encode()
    try:
        replace_file_durably(directory / BEST_FILE, record)
    except OSError as error:
        raise CheckpointError(
            f"{directory / BEST_FILE} could not be written: {error.strerror or error}. Free disk space or permissions."
        ) from error
    return update


def prune(directory: Path, keep: int, best: int | None) -> None:
    """Delete all checkpoints but the newest `keep` and `best`, and what writers that died left behind.

    Call it under the run directory's lock. What cannot be deleted is left for the next call.
    """
    if keep < 1:
        raise ValueError(f"keep={keep}: at least the newest checkpoint must stay")
    with contextlib.suppress(OSError):
        paths = listed(directory)
        updates = list(dict.fromkeys(update_of(path) for path in paths))
        kept = {*updates[:keep], best}
        for path in paths:
            replaced = path.suffix == ".old" and path.with_suffix("").exists()
            if replaced or update_of(path) not in kept:
                shutil.rmtree(path, ignore_errors=True)
        for path in directory.iterdir():
            if (match := _TEMPORARY.fullmatch(path.name)) and match[1] != _WRITER:
                shutil.rmtree(path, ignore_errors=True)


def _move_into_place(temporary: Path, target: Path) -> None:
    """Rename, keeping a checkpoint of the same update readable (as `.old`) until the new one is in its place."""
    old = target.with_name(f"{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    reach("before-checkpoint-rename")
    temporary.rename(target)
    reach("after-checkpoint-rename")
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _set_aside_newer(directory: Path, update: int) -> None:
    """Checkpoints newer than the one just saved are those that could not be read at the resume.

    They must neither be the newest at the next start nor take a place in `prune`; they are kept as `.damaged`.
    """
    for path in listed(directory):
        if update_of(path) > update:
            damaged = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(damaged, ignore_errors=True)
            path.rename(damaged)


def _recorded_best(directory: Path) -> tuple[int | None, float | None]:
    try:
        record = json.loads((directory / BEST_FILE).read_bytes())
        update, mean_return = int(record["update"]), float(record["mean_return"])
    except (OSError, ValueError, TypeError, KeyError):
        return None, None  # none yet, or damaged: the next checkpoint is the best known
    return (update, mean_return) if (directory / f"{update:08d}").is_dir() else (None, None)
