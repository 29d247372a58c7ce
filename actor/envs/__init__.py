"""Environments: made, stepped in columns, checked against their spaces, made again after a crash."""
