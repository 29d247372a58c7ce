"""How commands begin and end in awkward surroundings: locales, and threads that environments leave behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dppo.__main__ import main as command
from dppo.protocol.errors import UsageError
from dppo.settings.fields import from_text, from_value

ROOT = Path(__file__).parent.parent
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def dppo(*arguments: str, cwd: Path, **environ: str) -> "subprocess.CompletedProcess[bytes]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DPPO_", "LC_", "LANG"))}
    return subprocess.run(
        [sys.executable, "-m", "dppo.actor" if arguments[0] == "actor" else "dppo", *arguments],
        capture_output=True,
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), **environ},
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "environ",
    [
        C_LOCALE,
        pytest.param({"LC_ALL": "C"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}, marks=pytest.mark.slow),
    ],
)
def test_names_that_are_not_ascii_in_the_c_locale(tmp_path: Path, environ: dict[str, str]) -> None:
    done = dppo("evaluate", "läufe/東京", cwd=tmp_path, **environ)
    assert done.returncode == 2
    assert done.stderr.startswith(b"dppo: error: there is no run l")
    assert done.stderr.count(b"\n") == 1
    printed = dppo("train", "--run.directory", "läufe/ü", "--print-config", cwd=tmp_path, **environ)
    assert printed.returncode == 0, printed.stderr


def test_the_installed_command_is_what_its_process_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text encoding, Ctrl-C and threads that environments leave are looked after."""
    calls: list[list[str]] = []
    monkeypatch.setattr("sys.argv", ["/bin/dppo", "runs", "there"])

    def process(arguments: list[str]) -> None:
        calls.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr("dppo.cli.process", process)
    with pytest.raises(SystemExit):
        command()
    assert calls == [["runs", "there"]]


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dppo.cli", "train", b"--run.directory", b"runs/\xff"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == b"dppo: error: --run.directory: 'runs/\\udcff' has control characters, or is no UTF-8\n"


@pytest.mark.parametrize("text", ["a\nb", "\x00", "x\x1b[31m", "\udcff"])
def test_text_that_would_break_files_or_terminals_is_refused(text: str) -> None:
    for convert in (from_text, from_value):
        with pytest.raises(ValueError, match="control characters"):
            convert(str, text)


WRITES = """
import os, socket, sys
import dppo.local.process_end
dppo.local.process_end.use_utf8()
taken = socket.socket()
print("a line for nobody")
print("another", file=sys.stderr)
os.write(1, b"and one from C")
with open("result", "w") as file:
    print(taken.fileno(), sys.stdin.read() == "", os.get_inheritable(0), os.get_inheritable(2), file=file)
sys.stdout.flush()
dppo.local.process_end.leave(7)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_lead_nowhere_and_no_socket_gets_their_numbers(tmp_path: Path, closed: str) -> None:
    command = f'"$0" -c "$1" {closed}'
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, WRITES],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env=environ,
        check=False,
        timeout=60,
    )
    number, *others = (tmp_path / "result").read_text().split()
    assert (done.returncode, others) == (7, ["True"] * 3)
    assert int(number) > 2


CALLS = """
import os, sys
from dppo.api import run_process, training
def run(*arguments, **rest):
    with open("result", "w") as file:
        print(*os.pipe(), sys.stdout, file=file)
    return 130
run_process.run_process = run
training.train("CartPole-v1", actors=1, directory="run", preset="none")
"""


def test_a_run_that_a_program_without_streams_starts_has_pipes_of_other_numbers(tmp_path: Path) -> None:
    command = ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, CALLS]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environ, check=False, timeout=60)
    reading, writing, stream = (tmp_path / "result").read_text().split()
    assert min(int(reading), int(writing)) > 2
    assert stream == "None"  # the program's own stay as they are


@pytest.mark.parametrize("arguments", [("runs",), ("train", "--print-config"), ("--help",)], ids=" ".join)
def test_an_output_that_takes_nothing_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "runs/a").mkdir(parents=True)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dppo", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            timeout=60,
        )
    assert done.stderr.splitlines()[-1:] == ["dppo: error: the output cannot be written: No space left on device"]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


LEFT_BEHIND = """
import sys, threading, time, multiprocessing
sys.path.insert(0, {root!r})
import dppo.local.process_end
dppo.local.process_end.LEAVE_SECONDS = 0.3
def left():
    time.sleep(100)
if __name__ == "__main__":
    if "thread" in sys.argv: threading.Thread(target=left, name="simulator").start()
    if "process" in sys.argv: multiprocessing.get_context("fork").Process(target=left, name="simulator").start()
    if "pool" in sys.argv:
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2); pool.submit(len, "x").result()
    print("results")
    dppo.local.process_end.leave(7)
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("thread", "not waiting for what an environment left running: thread simulator\n"),
        ("process", "not waiting for what an environment left running: process simulator\n"),
        ("pool", ""),
        ("nothing", ""),
    ],
)
def test_what_an_environment_leaves_running_does_not_hold_the_end_up(tmp_path: Path, what: str, said: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(LEFT_BEHIND.format(root=str(ROOT)))
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(program), what], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "results\n", said)
    assert time.monotonic() - began < 30  # and not 100


def test_text_of_an_error_is_usage(tmp_path: Path) -> None:
    from dppo.settings.layers import load_config_file

    file = tmp_path / "c.yaml"
    file.write_text('run: {directory: "a\\0b"}\n')
    with pytest.raises(UsageError, match=r"run.directory: 'a\\x00b' has control characters"):
        load_config_file(file)
