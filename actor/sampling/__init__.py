"""Sampling: the policy's graph, its noise, and the segments that steps become."""
