"""What people run: the command line, the local run, evaluation, plots, benchmarks."""
