"""How many bytes actors may have under way: what credit allows, in bytes. Pure."""

import math

from protocol.codec import MAX_HEADER_BYTES
from protocol.rollout import Counts, blob_bytes
from protocol.specs import Spec

CREDIT = 8  # rollouts in flight; with SEGMENTS_PER_BATCH 4 this is two batches' share
STRANGER_BYTES = 65536  # HELLO, heartbeats, handshake
SEGMENT_BYTES = 8192  # of a rollout in the batch besides its blob: the records and arrays around it
SLACK_ROLLOUTS = 2  # beyond credit: one that STOP cuts, one half read
LEAST_TOTAL_BYTES = 2**28
MOST_UNDELIVERED = {"keep": CREDIT + 1, "drop": CREDIT + 2}  # rollouts: one more than credit is cut by STOP
SEGMENTS_PER_BATCH = 4  # an actor reports this often per batch, so that STOP comes soon after the batch is full


def rollout_bytes(spec: Spec, *, batch_steps: int, segment_steps: int, envs: int) -> int:
    """The largest honest rollout of so many environments: one actor alone, and every step truncated.

    segment_steps: 0 where it follows from the batch.
    """
    T = segment_steps or math.ceil(math.ceil(batch_steps / envs) / SEGMENTS_PER_BATCH)
    return blob_bytes(spec, Counts(T, envs, finals=T * envs, episodes=T * envs))


def allowed_bytes(largest_rollout: int, *, credit: int) -> int:
    """What one actor may have sent that was not read yet."""
    return STRANGER_BYTES + (credit + SLACK_ROLLOUTS) * (largest_rollout + MAX_HEADER_BYTES)


def total_bytes(chosen: int, allowed: int) -> int:
    """What all together may have sent that was not read yet, and what may wait for the next update.

    chosen: by the user, 0: derive. allowed: to one actor; shared among many, credit adds up to about as much.
    """
    return chosen or max(LEAST_TOTAL_BYTES, 2 * allowed)
