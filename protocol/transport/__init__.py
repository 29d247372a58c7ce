"""ZeroMQ sockets of both sides, and the connections below them."""
