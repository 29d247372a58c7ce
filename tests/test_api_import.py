"""`import dppo`: light, with all names, and typed."""

import subprocess
import sys
from pathlib import Path

import pytest

import dppo

HEAVY = ("torch", "onnxruntime", "gymnasium", "numpy", "zmq", "yaml", "matplotlib", "dppo.api")
MOST_SECONDS = 0.05


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_importing_it_imports_nothing_else() -> None:
    assert printed(f"import sys, dppo; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_importing_it_takes_no_time() -> None:
    program = "import time; t = time.process_time(); import dppo; print(time.process_time() - t)"
    assert min(float(printed(program)) for _ in range(3)) < MOST_SECONDS


def test_every_public_name_is_there() -> None:
    assert sorted(dppo.__all__) == dppo.__all__
    for name in dppo.__all__:
        assert getattr(dppo, name).__doc__
        assert name in dir(dppo)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        dppo.trian  # noqa: B018


def test_error_classes_are_those_of_the_command() -> None:
    assert issubclass(dppo.UsageError, dppo.DppoError)
    assert issubclass(dppo.RefusedError, dppo.DppoError)
    assert issubclass(dppo.CheckpointError, dppo.DppoError)
    assert not issubclass(dppo.DppoError, SystemExit)


def test_it_says_that_it_is_typed() -> None:
    assert Path(dppo.__file__).with_name("py.typed").is_file()
