"""Run one of our modules as a program, whatever files the user has: python -P run_module.py -m MODULE ARGUMENT...

Imports our packages by their place on the disk before anything else can be imported by their names. The working
directory comes last on the path of modules (`-P`, and appended here).
"""

import contextlib
import importlib.util
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OWN_NAMES = ("protocol", "actor", "learner", "scripts", "dppo")  # as in protocol.own_names, which is not imported yet


START = ("-P", os.path.abspath(__file__))  # what the interpreter is given before `-m MODULE ARGUMENT...`


def claim() -> None:
    """Import our packages: from now on `import actor` is ours, whatever lies in the working directory or PYTHONPATH."""
    for name in OWN_NAMES:
        folder = os.path.join(ROOT, name)
        init = os.path.join(folder, "__init__.py")
        if name in sys.modules or not os.path.isfile(init):
            continue
        spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[folder])
        if spec is None or spec.loader is None:
            raise ImportError(f"{init} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def main() -> None:
    """Run the module that the command line names."""
    import runpy

    _, flag, module, *arguments = sys.argv
    if flag != "-m":
        raise SystemExit(f"usage: {sys.argv[0]} -m MODULE ARGUMENT...")
    sys.argv = [module, *arguments]
    with contextlib.suppress(OSError):  # deleted meanwhile
        sys.path.append(os.getcwd())  # last: where a user's environment is
    runpy.run_module(module, run_name="__main__", alter_sys=False)


# a child that multiprocessing spawns runs this file too, by another name: our packages must be ours in it as well
claim()

if __name__ == "__main__":
    main()
