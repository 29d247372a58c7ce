"""Named places at which a test can have the learner killed: DPPO_FAILPOINT=name, or name:count for the count-th time.

For testing only. SIGKILL runs no clean-up, as a crash of the machine's memory would not. Unset, each place costs one
comparison.
"""

import os
import signal

from dppo.protocol.errors import UsageError

VARIABLE = "DPPO_FAILPOINT"

POINTS = (
    "after-accept",  # the rollout is in the batch and in the journal, its ACK is not sent
    "mid-update",  # the gradient steps are done, their result is nowhere but in memory
    "before-publish",  # policy.onnx is written, no actor has the version
    "after-publish",  # all actors act under a version that no checkpoint knows
    "before-checkpoint-rename",  # all bytes of the checkpoint are written, under a temporary name
    "after-checkpoint-rename",  # it is in its place, and nothing has been logged
)

_armed, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count) if _count.isdecimal() else 1


def check() -> None:
    """Raises UsageError where the variable names no place: a test would pass because nothing happened."""
    if _armed and (_armed not in POINTS or not (_count or "1").isdecimal()):
        raise UsageError(f"{VARIABLE}={_armed}{':' if _count else ''}{_count} is none of {', '.join(POINTS)}[:count]")


def reach(point: str) -> None:
    """The place of that name: end here if this is the time."""
    global _left
    if point != _armed:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
