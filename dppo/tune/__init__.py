"""`dppo tune`: looks for settings that learn faster, by Optuna. Imported when the command runs, and by nothing else."""
