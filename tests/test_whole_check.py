"""`.ci/run` with commands that do nothing in the place of the real ones: which engines it brings up, and takes down."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "run"
TOOLS = ("slurm_up", "docker_up", "ssh_hosts")
TOOL = """\
name=$(basename "$0" .sh)
echo "$name $1" >>"$CALLS"
if [ "$1 $name" = "up $FAILS" ]; then echo "no such package"; exit 1; fi
if [ "$1 $name" = "up $HANGS" ]; then sleep 300; fi
"""
PYTEST = """\
if [ "$4" = "$HANGS" ]; then exec python3 -c "$UNTIL_INTERRUPTED" "$4"; fi
echo "shard $4: ${SLURM_CONF:-no Slurm}, ${SSH_HOSTS_TOOL:-no hosts}" >>"$CALLS"
"""
# a shell starts what it puts into the background with Ctrl-C ignored; pytest takes that back in conftest.py
UNTIL_INTERRUPTED = """\
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open(os.environ["CALLS"], "a") as calls:
    print("shard", sys.argv[1], file=calls)
time.sleep(300)
"""
DEADLINE_SECONDS = 60.0

pytestmark = pytest.mark.slow


@dataclass
class Check:
    """A checkout with the script and its stand-ins."""

    folder: Path
    process: subprocess.Popen[str] | None = None

    def start(self, *, user: int = 0, fails: str = "", hangs: str = "") -> "subprocess.Popen[str]":
        self._program("bin/id", f"echo {user}")
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(self.folder / "calls"),
            "FAILS": fails,
            "HANGS": hangs,
            "UNTIL_INTERRUPTED": UNTIL_INTERRUPTED,
            "TMPDIR": str(self.folder / "tmp"),
        }
        for name in ("SLURM_CONF", "SSH_HOSTS_TOOL", "SSH_HOSTS_STATE"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            ["bash", str(self.folder / "clone" / ".ci" / "run")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.process

    def make(self) -> None:
        (self.folder / "clone" / ".ci").mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        shutil.copy(SCRIPT, self.folder / "clone" / ".ci" / "run")
        for tool in TOOLS:
            self._program(f"shared/tools/{tool}.sh", TOOL)
        self._program("bin/make", 'echo "make $1" >>"$CALLS"')
        self._program("bin/docker", 'echo "docker $1" >>"$CALLS"')
        self._program("clone/.venv/bin/pytest", PYTEST)

    def _program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def calls(self) -> list[str]:
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def until_it_calls(self, line: str) -> None:
        eventually(lambda: any(call.startswith(line) for call in self.calls()), line)

    def leaves_no_files(self) -> bool:
        return not list((self.folder / "tmp").iterdir())


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    made = Check(tmp_path)
    made.make()
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()


def test_engines_come_up_before_the_slow_tests_and_go_down_after_them(check: Check) -> None:
    said, _ = check.start().communicate(timeout=DEADLINE_SECONDS)
    assert check.process is not None
    assert check.process.returncode == 0, said
    calls = check.calls()
    ups, downs = [f"{tool} up" for tool in TOOLS], [f"{tool} down" for tool in TOOLS]
    assert [call for call in calls if call in ups] == ups, "one after the other: each may install packages"
    assert calls[-len(TOOLS) :] == downs
    assert calls.index("docker compose") > calls.index("docker_up up")
    shards = {call.split(":")[0].removeprefix("shard "): call for call in calls if call.startswith("shard")}
    assert shards.keys() == {"untimed", "timed"}
    makes = [call for call in calls if call.startswith("make")]
    assert makes[0] == "make test", "as README.md says"
    assert calls.index("make ready") < min(map(calls.index, shards.values())), "pip replaces what tests start"
    timed = shards["timed"]
    assert "slurm.conf" in timed
    assert "/clone/../shared/tools/ssh_hosts.sh" in timed
    before = {*ups, "docker compose", "make lint", "make fuzz", *shards.values()} - {timed}
    assert calls.index(timed) > max(map(calls.index, before))
    assert check.leaves_no_files()


def test_an_engine_that_does_not_come_up_is_one_line_and_no_failure(check: Check) -> None:
    said, _ = check.start(fails="slurm_up").communicate(timeout=DEADLINE_SECONDS)
    assert check.process is not None
    assert check.process.returncode == 0, said
    assert "ci: no Slurm, its tests skip: no such package\n" in said
    (timed,) = [call for call in check.calls() if call.startswith("shard timed")]
    assert "no Slurm, /" in timed
    assert "slurm_up down" in check.calls(), "it may be there by half"


def test_without_root_no_engine_is_asked_for(check: Check) -> None:
    said, _ = check.start(user=1000).communicate(timeout=DEADLINE_SECONDS)
    assert check.process is not None
    assert check.process.returncode == 0, said
    assert not [call for call in check.calls() if call.split()[0] in TOOLS]
    assert all(call.endswith(": no Slurm, no hosts") for call in check.calls() if call.startswith("shard"))


@pytest.mark.parametrize(("hangs", "reached"), [("ssh_hosts", "ssh_hosts up"), ("untimed", "shard untimed")])
def test_a_signal_takes_down_what_is_up_and_what_comes_up(check: Check, hangs: str, reached: str) -> None:
    process = check.start(hangs=hangs)
    check.until_it_calls(reached)
    check.until_it_calls("make fuzz")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM, said
    calls = check.calls()
    asked = [call.split()[0] for call in calls if call.endswith(" up")]
    assert asked == list(TOOLS)
    assert [call for call in calls if call.endswith(" down")] == [f"{tool} down" for tool in asked]
    assert check.leaves_no_files()
