"""Sizes that both sides and their settings know. Numbers only."""

MAX_ENVS = 2**16  # of one actor: slots cost memory
SEGMENT_BYTES = 8192  # of a rollout in the learner besides its blob: the records and arrays around it
LARGEST_NUMBER = 1e18  # of an action or a reward: its square is a float32 with room to spare
