"""`python -m dppo.learner` is `dppo learner`: the one place here that may import the command line."""

if __name__ == "__main__":
    import sys

    from dppo.cli import process

    process(["learner", *sys.argv[1:]])
