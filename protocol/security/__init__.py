"""CURVE keys, the join line, the authentication handler and its self-test."""
