"""Sizes that both sides and their settings know. Numbers only."""

MAX_ENVS = 2**16  # of one actor: slots cost memory
SEGMENT_BYTES = 8192  # of a rollout in the learner besides its blob: the records and arrays around it
