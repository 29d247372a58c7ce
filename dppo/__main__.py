"""Start the command line: `python -m dppo`, and the entry point of `dppo`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run one command and exit."""
    from dppo.cli import main as run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
