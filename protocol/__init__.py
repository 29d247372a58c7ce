"""What an actor and a learner must agree on, and nothing else. Imports neither side, and no torch."""

PROTOCOL_VERSION = 4
