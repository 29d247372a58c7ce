"""Ctrl-C while modules are imported is heard once they are: extension modules do not all bear an exception."""

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from local_runs import start
from processes import REPOSITORY, Place

SLOW = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.1)\nis_whole = True\n"
PROGRAM = """
import signal, time
from dppo.local.interrupts import interrupt_between_imports
interrupt_between_imports()
try:
    import slow_module
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted", slow_module.is_whole)
signal.signal(signal.SIGINT, signal.SIG_IGN)
interrupt_between_imports()
print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
"""


def test_an_import_is_not_interrupted_and_what_follows_it_is(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text(SLOW)
    command = [sys.executable, "-c", PROGRAM]
    path = {"PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=path, cwd=tmp_path)
    assert done.stdout.split("\n") == ["interrupted True", "True", ""], done.stderr


@pytest.mark.slow
def test_ctrl_c_at_any_moment_of_a_start_is_an_interruption() -> None:
    moments = random.Random(1)
    for _ in range(12):
        with Place() as place:
            command = start(place)
            place.until(lambda command=command: psutil.Process(command.pid).children(), "a child", during=command)
            time.sleep(moments.uniform(0, 0.15))
            command.signal(2)
            place.ends(command, code=130)
            place.leaves_nothing()
            assert "Traceback" not in command.complained()
