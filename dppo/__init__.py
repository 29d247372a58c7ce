"""Distributed PPO: what people type. `python -m dppo` and the command `dppo` start here."""
