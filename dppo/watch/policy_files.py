"""File of the policy that a user names: a run, its best policy, or a file in it. Knows names of files only."""

from pathlib import Path
from typing import Literal

from dppo.protocol.errors import UsageError
from dppo.watch.run_list import check_run

Which = Literal["newest", "best"]
POLICY_FILE = "policy.onnx"
BEST_POLICY_FILE = "policy-best.onnx"


def locate_policy(run: str, which: Which = "newest") -> tuple[Path, Path]:
    """Return run directory and policy file. Raises UsageError, with what to name instead."""
    path = check_run(run)
    owner = _run_of_checkpoint(path)
    if owner is not None:
        raise UsageError(
            f"{run} is for going on with training, and no policy to play: name the run, {owner} "
            f"(its newest policy; with --best its best one)"
        )
    if path.is_dir():
        name = BEST_POLICY_FILE if which == "best" else POLICY_FILE
        policy = path / name
        if not policy.is_file():
            raise UsageError(_without_policy(path, which))
        return path, policy
    if path.suffix != ".onnx":
        raise UsageError(f"{run} is no policy: name the run, {path.parent}, or a policy.onnx in one")
    if which == "best" and path.name != BEST_POLICY_FILE:
        raise UsageError(f"{run} is one policy already: give the run directory to --best, or leave --best out")
    return path.parent, path


def _without_policy(directory: Path, which: Which) -> str:
    if which == "best" and (directory / POLICY_FILE).is_file():
        return (
            f"{directory} has no {BEST_POLICY_FILE}: the best policy is kept from when run.return_window episodes are "
            "over, or with run.evaluate_seconds from its first evaluation on; without --best its newest one is played"
        )
    if any((child / POLICY_FILE).is_file() for child in directory.iterdir() if child.is_dir()):
        runs = sorted(str(child) for child in directory.iterdir() if (child / POLICY_FILE).is_file())
        return f"{directory} is no run, but has some in it: name one, for example {runs[0]}"
    return f"{directory} has no {POLICY_FILE}: train first (dppo train), or wait for its first policy"


def _run_of_checkpoint(path: Path) -> Path | None:
    """Return the run that a checkpoint, or a part of one, is of; None where the path is neither."""
    for directory in (path, *path.parents[:2]):
        if directory.name == "checkpoints" and directory.is_dir():
            return directory.parent
    return None
