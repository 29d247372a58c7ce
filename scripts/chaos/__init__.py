"""`dppo bench chaos`: a learner and actors as real processes, faults injected from outside, every promise checked."""
