"""The rules of the layout, read from the source: who may import whom, who may read the clock."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("protocol", "actor", "learner", "scripts", "dppo")
MAX_LINES = 300

TEST_MODULES = {path.stem for path in (REPOSITORY / "tests").glob("*.py")} | {"tests"}
LEARNING_LIBRARIES = {"torch", "onnx", "tensorboard", "matplotlib", "safetensors"}  # not installed on an actor's host

NOT_IMPORTED_BY = {
    "protocol": {"actor", "learner", "scripts"} | LEARNING_LIBRARIES | TEST_MODULES,
    "actor": {"learner", "scripts"} | LEARNING_LIBRARIES | TEST_MODULES,
    "learner": {"actor", "scripts"} | TEST_MODULES,
    "scripts": TEST_MODULES,
    "dppo": TEST_MODULES,
}
MAY_IMPORT_ZMQ = {
    "protocol/sockets.py",
    "protocol/dealer.py",
    "protocol/security.py",  # keys
    "protocol/zap.py",  # who may come in, which libzmq asks over a socket
    "protocol/monitor.py",  # what becomes of a connection, which libzmq says over a socket
    "protocol/intruder.py",  # the learner's test of its own door
}
VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}

CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"}
MAY_READ_THE_CLOCK = {
    "actor/shell.py": "a shell",
    "actor/driver.py": "measures where an actor's time goes; the clock can be handed in",
    "actor/collector.py": "measures environments and policy in every step; decides nothing by it",
    "actor/watchdog.py": "the shell's thread that watches the main one; what it sees is judged in watching.py",
    "learner/shell.py": "a shell",
    "learner/farewell.py": "a shell: how long it listens",
    "learner/door.py": "the shell's part that opens the port: tokens expire by the time of day",
    "learner/network.py": "the shell's thread that owns the socket",
    "learner/metrics.py": "TensorBoard's events carry the time of day",
    "protocol/sweeper.py": "a program of its own: the grace of what a killed process has left",
    "protocol/launch.py": "when the command was launched",
    "scripts/inline.py": "the shell of a run in one process",
    "scripts/process_end.py": "a shell: how long the end of a process may take",
    "scripts/probe.py": "a shell: the deadline of a child process",
    "scripts/processes.py": "a shell: delays and deadlines of child processes",
    "scripts/progress.py": "how often to draw; the clock can be handed in",
    "scripts/chaos/crowd.py": "measures processes from outside",
    "scripts/chaos/holder.py": "the shell of a hostile peer",
    "scripts/chaos/herding.py": "measures processes from outside",
    "scripts/chaos/slow_reader.py": "measures processes from outside",
    "scripts/chaos/herd.py": "the shells of a learner and of many actors, without environments and training",
    "scripts/doctor/command.py": "a command of its own: how long a handshake takes, which tokens have expired",
    "scripts/evaluate_command.py": "a command of its own: how long it takes",
    "scripts/evaluate.py": "how long an evaluation may go on",
    "scripts/final_evaluation.py": "a shell: the deadline of a process",
    "scripts/filming.py": "how long an episode may be filmed",
    "scripts/health.py": "a command of its own: how old the sign of life is",
    "scripts/closing.py": "how much of the time for the evaluation is left",
    "scripts/run_list.py": "how old runs are",
    "scripts/tokens.py": "a command of its own: tokens are made and expire by the time of day",
    "scripts/record.py": "TensorBoard's events carry the time of day",
    "scripts/observing.py": "measures runs from outside",
    "scripts/chaos/bench.py": "how long a fault took",
    "scripts/chaos/cluster.py": "a shell: processes under faults",
    "scripts/chaos/relays.py": "a shell: how fast bytes are passed on",
    "scripts/chaos/workers.py": "a shell: when a process was started",
}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((REPOSITORY / package).rglob("*.py"))]


def tree_of(path: Path) -> ast.Module:
    """The module; of a `__main__.py` without what runs only as a command."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "__main__.py":
        tree.body = [node for node in tree.body if not is_main_block(node)]
    return tree


def is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module imported anywhere, in functions and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import, of which this test cannot tell the module"
            yield node.module or ""


def clock_readings(tree: ast.AST) -> Iterator[str]:
    """Every mention of a clock, called or handed on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "time" and node.attr in CLOCKS:
                yield f"time.{node.attr}"
            if node.value.id in ("datetime", "date") and node.attr in ("now", "utcnow", "today"):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names if alias.name in CLOCKS)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_is_below_them(package: str) -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in sources(package)
        for module in imports(tree_of(path))
        if module.split(".")[0] in NOT_IMPORTED_BY[package]
    ]
    assert not wrong


def test_only_the_commands_of_learner_and_actor_import_scripts() -> None:
    for package in ("learner", "actor"):
        path = REPOSITORY / package / "__main__.py"
        whole = ast.parse(path.read_text(encoding="utf-8"))
        assert "scripts.cli" in imports(whole)
        assert "scripts.cli" not in imports(tree_of(path))


def test_only_the_modules_around_sockets_know_zmq() -> None:
    found = {name_of(p) for p in sources(*PACKAGES) for module in imports(tree_of(p)) if module.split(".")[0] == "zmq"}
    assert "protocol/sockets.py" in found
    assert found <= MAY_IMPORT_ZMQ


def test_only_shells_and_named_exceptions_read_the_clock() -> None:
    readers = {name_of(path): sorted(set(clock_readings(tree_of(path)))) for path in sources(*PACKAGES)}
    readers = {name: clocks for name, clocks in readers.items() if clocks}
    assert {name: clocks for name, clocks in readers.items() if name not in MAY_READ_THE_CLOCK} == {}
    assert MAY_READ_THE_CLOCK.keys() - readers.keys() == set(), "these no longer need the exception"


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*PACKAGES)}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    stems = {name_of(path): path.relative_to(REPOSITORY).with_suffix("").parts for path in sources(*PACKAGES, "tests")}
    parts = {name: {part for stem in stem_parts for part in stem.split("_")} for name, stem_parts in stems.items()}
    assert [name for name, words in parts.items() if words & VAGUE_NAMES] == []


@pytest.mark.parametrize("package", ["protocol", "actor"])
def test_importing_what_an_actor_needs_imports_nothing_of_the_learner(package: str) -> None:
    modules = [name_of(path).removesuffix(".py").replace("/", ".") for path in sources(package)]
    assert len(modules) > 5
    program = "\n".join(
        [
            "import importlib, sys",
            f"for module in {modules}: importlib.import_module(module)",
            f"print(sorted({LEARNING_LIBRARIES | {'learner', 'scripts'}} & sys.modules.keys()))",
        ]
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert printed.stderr == ""
    assert printed.stdout.strip() == "[]"
