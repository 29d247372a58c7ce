"""Release of dppo, the same as in pyproject.toml: looking it up costs each process 40 ms. Knows only that."""

RELEASE = "0.1.0"
