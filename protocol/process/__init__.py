"""Plumbing that processes of both sides share: parents, heartbeats, clean ends, resources of the machine."""
