"""Thin actors: step environments with the newest policy and ship rollouts. No torch, no model code."""
