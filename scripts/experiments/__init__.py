"""Experiments of docs/experiments.md: run from a checkout, in simulated time."""
