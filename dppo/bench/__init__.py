"""Benchmarks that measure real runs from outside."""
