"""`python -m dppo.actor` is `dppo actor`: the one place here that may import the command line."""

if __name__ == "__main__":
    import sys

    from dppo.cli import process

    process(["actor", *sys.argv[1:]])
