"""`dppo doctor`: whether this machine, a run's files and the way to a learner are as they must be."""
