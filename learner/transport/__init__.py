"""The learner's port: the thread that owns the socket, its limits, and who is let in."""
