"""Per-host timelines of a run, out of the traces of its learners: `dppo plot RUN --timeline`."""
