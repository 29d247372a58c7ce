"""Sizes: of rollouts, of a batch, of what actors may have under way. Pure."""

import bisect
import math

from dppo.protocol.codec import MAX_HEADER_BYTES
from dppo.protocol.errors import UsageError
from dppo.protocol.limits import SEGMENT_BYTES
from dppo.protocol.rollout import MAX_EPISODES, MAX_STEPS, MAX_TOLD_LATER, Counts, blob_bytes, most_rows, most_steps
from dppo.protocol.specs import Spec

CREDIT = 8  # rollouts in flight; with SEGMENTS_PER_BATCH 4 this is two batches' share
ENCRYPTION_BYTES = 64  # that CURVE adds to a frame: libzmq measures what is on the wire
CREDIT_GOING_ON = 2  # the same where actors go on during updates: what they make beyond a full batch is in it as well
UNKNOWN_PEER_BYTES = 65536  # HELLO, heartbeats, handshake
SLACK_ROLLOUTS = 2  # beyond credit: one that STOP cuts, one half read
LEAST_TOTAL_BYTES = 2**28
MOST_UNDELIVERED = {"keep": CREDIT + 1, "drop": CREDIT + 2}  # rollouts: one more than credit is cut by STOP
SEGMENTS_PER_BATCH = 4  # an actor reports this often per batch, so that STOP comes soon after the batch is full


def largest_rollout_bytes(spec: Spec, *, segment_steps: int, envs: int) -> int:
    """Bytes of the largest honest rollout: as many rows as a segment may have, every step truncated."""
    steps = most_steps(segment_steps, envs)
    return blob_bytes(spec, Counts(most_rows(segment_steps), envs, finals=steps, episodes=steps + MAX_TOLD_LATER))


def most_segment_steps(spec: Spec, *, envs: int, max_rollout_bytes: int) -> int:
    """The largest T whose rollouts always fit into a message; 0 where not even one row does."""
    bound = min(MAX_STEPS // 2, MAX_EPISODES - MAX_TOLD_LATER - envs) // envs
    return bisect.bisect_right(
        range(1, max(1, bound) + 1),
        max_rollout_bytes - ENCRYPTION_BYTES,
        key=lambda T: largest_rollout_bytes(spec, segment_steps=T, envs=envs),
    )


def segment_steps_of(share: int, chosen: int = 0) -> int:
    """T for actors with a share of that many rows, by the rule alone. chosen: by the user, 0: derive."""
    return min(chosen, share) or math.ceil(share / SEGMENTS_PER_BATCH)


def batch_bytes(spec: Spec, *, batch_steps: int, segment_steps: int, envs: int, actors: int = 1) -> int:
    """Bytes of an ordinary batch while it waits: every row a step, one rollout of each actor cut at STOP."""
    rollouts = math.ceil(batch_steps / (segment_steps * envs)) + actors
    row = blob_bytes(spec, Counts(2, envs, 0, 0)) - blob_bytes(spec, Counts(1, envs, 0, 0))
    return math.ceil(batch_steps / envs) * row + rollouts * (SEGMENT_BYTES + blob_bytes(spec, Counts(0, envs, 0, 0)))


def allowed_bytes(largest_rollout: int, *, credit: int) -> int:
    """Return the bytes that one actor may have sent and that were not read yet."""
    return UNKNOWN_PEER_BYTES + (credit + SLACK_ROLLOUTS) * (largest_rollout + MAX_HEADER_BYTES)


def total_bytes(chosen: int, *, allowed: int, batch: int, batches: int = 1) -> int:
    """Return the bytes that all together may have sent unread, and that may wait for the next update.

    chosen: by the user, 0: derive. allowed: to one actor; shared among many, credit adds up to about as much.
    batch: of an ordinary one; twice that leaves room for final observations and resets. batches: in hand at once.
    """
    return chosen or max(LEAST_TOTAL_BYTES, 2 * allowed, 2 * batches * batch)


def check_sizes(
    spec: Spec, *, batch_steps: int, segment_steps: int, envs: int, max_rollout_bytes: int, max_ingress_bytes: int
) -> None:
    """Raise UsageError, with a value that works, where a run of these spaces and settings cannot collect a batch."""
    most = most_segment_steps(spec, envs=envs, max_rollout_bytes=max_rollout_bytes)
    if not most:
        raise UsageError(_no_row_fits(spec, envs, max_rollout_bytes))
    if segment_steps > most:
        needed = largest_rollout_bytes(spec, segment_steps=segment_steps, envs=envs) + ENCRYPTION_BYTES
        raise UsageError(
            f"collect.segment_steps={segment_steps} with {envs} environments makes rollouts of up to {needed:,} bytes "
            f"in these spaces, and collect.max_rollout_bytes={max_rollout_bytes} is the largest that is accepted: "
            f"lower segment_steps to {most}, or raise max_rollout_bytes to {needed}"
        )
    T = min(segment_steps_of(math.ceil(batch_steps / envs), segment_steps), most)
    batch = batch_bytes(spec, batch_steps=batch_steps, segment_steps=T, envs=envs)
    if 0 < max_ingress_bytes < batch:
        raise UsageError(
            f"collect.max_ingress_bytes={max_ingress_bytes} holds less than one batch: "
            f"collect.batch_steps={batch_steps} in these spaces take some {batch:,} bytes. Raise it to {2 * batch} "
            "(0 derives it), or lower batch_steps"
        )


def why_no_row_fits(spec: Spec, *, envs: int, max_rollout_bytes: int) -> str:
    """Return why an actor of that many environments cannot take part, "" where it can."""
    fits = most_segment_steps(spec, envs=envs, max_rollout_bytes=max_rollout_bytes)
    return "" if fits else _no_row_fits(spec, envs, max_rollout_bytes)


def _no_row_fits(spec: Spec, envs: int, max_rollout_bytes: int) -> str:
    needed = largest_rollout_bytes(spec, segment_steps=1, envs=envs) + ENCRYPTION_BYTES
    fewer = envs
    while fewer and not most_segment_steps(spec, envs=fewer, max_rollout_bytes=max_rollout_bytes):
        fewer //= 2
    lower = f", or lower collect.envs_per_actor (actor --envs) to {fewer}" if fewer else ""
    return (
        f"a rollout of one row of {envs} environments takes up to {needed:,} bytes in these spaces, and "
        f"collect.max_rollout_bytes={max_rollout_bytes} is the largest that is accepted: raise it to {needed}{lower}"
    )


def cut_short(steps: int, wanted: int, size: int, most: int) -> str:
    """Return the note on a batch of fewer steps than wanted, since its bytes are the most that may wait."""
    return (
        f"a batch was taken with {steps} of {wanted} steps: {size:,} bytes wait, and {most:,} may "
        "(collect.max_ingress_bytes; 0 derives it from the batch)"
    )
