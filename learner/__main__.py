"""`python -m learner` is `dppo learner`: a command line, and so the one place here that may import scripts."""

if __name__ == "__main__":
    import sys

    from dppo.cli import process

    process(["learner", *sys.argv[1:]])
