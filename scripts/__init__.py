"""What people run: the command line, the local run, evaluation, plots, benchmarks."""

from scripts.run_module import claim

claim()  # whichever way this package was found: from now on `import protocol` and the others are ours
