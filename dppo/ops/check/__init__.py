"""The command `dppo check`: plays an environment at random and names what keeps PPO from learning it."""
