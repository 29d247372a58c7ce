"""Start the command line: `python -m dppo`, and the entry point of `dppo`."""

import importlib.util
import os
import sys
from typing import NoReturn

_RUN_MODULE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts", "run_module.py")


def _claim() -> None:
    """Import our packages by their place on the disk (scripts.run_module.claim), before one of the same name."""
    spec = importlib.util.spec_from_file_location("_dppo_run_module", _RUN_MODULE)
    if spec is None or spec.loader is None:
        raise ImportError(f"{_RUN_MODULE} cannot be imported")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


_claim()  # in the children that multiprocessing spawns too, which run this file by another name


def main() -> NoReturn:
    """Run one command and exit."""
    from scripts.cli import main as run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
