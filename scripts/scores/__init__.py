"""Scores of the presets that are found by the environment's id: measured, and put beside published ones."""
