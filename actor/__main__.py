"""`python -m actor` is `dppo actor`: a command line, and so the one place here that may import scripts."""

if __name__ == "__main__":
    import sys

    from dppo.cli import process

    process(["actor", *sys.argv[1:]])
