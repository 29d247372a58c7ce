"""Start the command line: `python -m dppo`, and the entry point of `dppo`."""

from typing import NoReturn


def main() -> NoReturn:
    """Run one command, as what this process is for, and exit."""
    from dppo.cli import main as run

    run()


if __name__ == "__main__":
    main()
