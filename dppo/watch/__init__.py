"""Looking at policies and runs: evaluation, windows and videos, learning curves, lists of runs."""
