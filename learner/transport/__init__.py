"""The learner's port: the thread that owns the socket, its limits, and the check of tokens."""
