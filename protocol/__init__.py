"""Agreement of actors and learner, and the plumbing of their processes. Imports neither side, and no torch."""

PROTOCOL_VERSION = 5
