"""A run on this machine: its processes from the first check to the summary, and the table that shows it."""
