"""The command `dppo diagnose`: reads what a run has written and names what kept it from learning."""
