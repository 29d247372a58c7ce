"""Files about a deployment in its run directory: deploy.json and the folder `deploy`, for their owner only."""

import os
import shutil
from pathlib import Path

import msgspec

from dppo.deploy.engine import FOLDER, Deployment
from dppo.protocol.errors import UsageError

RECORD = "deploy.json"
ROOT = Path("runs")


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole; only its owner can read it. Raises UsageError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None


def write_deployment(deployment: Deployment) -> None:
    """Record it. Raises UsageError."""
    write_private(deployment.path / RECORD, msgspec.json.format(msgspec.json.encode(deployment)) + b"\n")


def read_deployment(run: Path) -> Deployment | None:
    """Return the deployment of a run; None where it has none. Raises UsageError where the record is damaged."""
    path = run / RECORD
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Deployment)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}): restore it, or delete it and end its processes") from None
    return msgspec.structs.replace(found, run=str(run.absolute()))  # it may have been moved


def remove_records(run: Path) -> None:
    """Forget a deployment that never came to be."""
    (run / RECORD).unlink(missing_ok=True)
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def deployments(root: Path = ROOT) -> list[Deployment]:
    """Return those of the runs below a directory, the newest first."""
    found = [read_deployment(path.parent) for depth in ("*", "*/*") for path in sorted(root.glob(f"{depth}/{RECORD}"))]
    return sorted((one for one in found if one is not None), key=lambda one: -one.submitted)
