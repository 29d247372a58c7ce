"""The rules of the layout, read from the source: who may import whom, who may read the clock."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("protocol", "actor", "learner", "scripts", "dppo")
MAX_LINES = 300

TEST_MODULES = {path.stem for path in (REPOSITORY / "tests").rglob("*.py")} | {"tests"}
LEARNING_LIBRARIES = {"torch", "onnx", "tensorboard", "matplotlib", "safetensors"}  # not installed on an actor's host

MAY_IMPORT = {  # of our own packages; `dppo` is the command line and the API
    "protocol": {"dppo.protocol"},
    "actor": {"dppo.protocol", "dppo.actor"},
    "learner": {"dppo.protocol", "dppo.learner"},
    "dppo": {"dppo"},
    "scripts": {"dppo", "scripts"},
}
NOT_IMPORTED_BY = {
    "protocol": LEARNING_LIBRARIES | TEST_MODULES,
    "actor": LEARNING_LIBRARIES | TEST_MODULES,
    "learner": TEST_MODULES,
    "scripts": TEST_MODULES,
    "dppo": TEST_MODULES,
}
ROOMS = ("models", "ppo", "telemetry", "storage", "session", "transport")  # of the learner: lower never imports higher
MAY_IMPORT_ZMQ = {
    "protocol/transport/router.py",
    "protocol/transport/dealer.py",
    "protocol/security/curve.py",  # keys
    "protocol/security/zap_handler.py",  # who may come in, which libzmq asks over a socket
    "protocol/transport/monitor.py",  # what becomes of a connection, which libzmq says over a socket
    "protocol/security/self_test.py",  # the learner's test of its own door
}
VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}

CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"}
MAY_READ_THE_CLOCK = {
    "actor/service.py": "a shell",
    "actor/joining.py": "a shell",
    "actor/driver.py": "measures where an actor's time goes; the clock can be handed in",
    "actor/sampling/collector.py": "measures environments and policy in every step; decides nothing by it",
    "actor/watchdog/thread.py": "the shell's thread that watches the main one; stall_detector.py judges what it sees",
    "learner/service.py": "a shell",
    "learner/first_actors.py": "a shell: how long to wait for the first actors",
    "learner/group/store.py": "the shell's part that waits for other learners to be started",
    "learner/group/together.py": "how long actors that were sent on are counted; around the session",
    "learner/hooks.py": "measures how long a user's code takes; the clock can be handed in",
    "learner/farewell.py": "a shell: how long it listens",
    "learner/transport/listener.py": "the shell's part that opens the port: tokens expire by the time of day",
    "learner/transport/network_thread.py": "the shell's thread that owns the socket",
    "learner/telemetry/metrics.py": "TensorBoard's events carry the time of day",
    "protocol/process/sweeper.py": "a program of its own: the grace of what a killed process has left",
    "protocol/process/trace_file.py": "times of the lines of a trace",
    "protocol/process/launch_time.py": "when the command was launched",
    "dppo/api/run_here.py": "when the call came",
    "dppo/api/run_process.py": "a shell: the deadline of a child process",
    "dppo/deploy/supervised_actors.py": "how long an actor may take to leave; the clock can be handed in",
    "dppo/deploy/commands.py": "how long a deployment has been up",
    "dppo/deploy/doing.py": "how old the news of a run is",
    "dppo/deploy/docker_engine.py": "when a deployment was submitted",
    "dppo/deploy/guest.py": "a shell: how long the other side has been silent",
    "dppo/deploy/k8s_engine.py": "when a deployment was submitted; tokens are made by the time of day",
    "dppo/deploy/local_engine.py": "a shell: deadlines of a child process",
    "dppo/deploy/ray_driver.py": "a shell: how long a learner may take to listen",
    "dppo/deploy/ray_engine.py": "when a deployment was submitted",
    "dppo/deploy/ray_workers.py": "a shell: how long others may take to leave, and to come back",
    "dppo/deploy/slurm_engine.py": "a shell: when jobs were submitted, how long they may take to end",
    "dppo/deploy/ssh_engine.py": "when a deployment was submitted",
    "dppo/deploy/supervisor.py": "a shell: how long actors may take to end",
    "dppo/relay/service.py": "a shell",
    "dppo/local/inline.py": "the shell of a run in one process",
    "dppo/local/process_end.py": "a shell: how long the end of a process may take",
    "dppo/local/env_probe.py": "a shell: the deadline of a child process",
    "dppo/local/actor_group.py": "a shell: the sign of life of a host's actors",
    "dppo/local/child_process.py": "a shell: deadlines of child processes",
    "dppo/local/processes.py": "a shell: delays before child processes are started again",
    "dppo/local/actor_processes.py": "how long others come first; the clock can be handed in",
    "dppo/local/progress.py": "how often to draw; the clock can be handed in",
    "scripts/chaos/crowd.py": "measures processes from outside",
    "scripts/chaos/holder.py": "the shell of a hostile peer",
    "scripts/chaos/load_processes.py": "measures processes from outside",
    "scripts/experiments/learning.py": "CPU time of updates, a figure beside; no run depends on it",
    "scripts/experiments/rule_costs.py": "CPU time of collecting, a figure beside; no run depends on it",
    "scripts/experiments/row_files.py": "when to begin no further run",
    "scripts/chaos/slow_reader.py": "measures processes from outside",
    "scripts/chaos/load_generator.py": "the shells of a learner and of many actors, without environments and training",
    "dppo/ops/check/command.py": "a command of its own: how long it may take",
    "dppo/ops/check/deadline.py": "a shell: the deadline of a call into an environment",
    "dppo/ops/check/random_play.py": "CPU time of steps; the clock can be handed in",
    "dppo/ops/doctor/command.py": "a command of its own: how long a handshake takes, which tokens have expired",
    "dppo/watch/evaluate_command.py": "a command of its own: how long it takes",
    "dppo/watch/evaluate.py": "how long an evaluation may go on",
    "dppo/local/final_evaluation.py": "a shell: the deadline of a process",
    "dppo/watch/evaluator.py": "a shell: the deadline of a process",
    "dppo/watch/rendering.py": "how long an episode may be filmed",
    "dppo/ops/healthcheck.py": "a command of its own: how old the sign of life is",
    "dppo/local/run_summary.py": "how much of the time for the evaluation is left",
    "dppo/watch/run_list.py": "how old runs are",
    "dppo/watch/runs_command.py": "how old runs are",
    "dppo/watch/status_file.py": "how often to write, and when it was",
    "dppo/watch/watch_command.py": "a command of its own: how old the news is",
    "dppo/ops/tokens.py": "a command of its own: tokens are made and expire by the time of day",
    "dppo/watch/evaluate_newest.py": "TensorBoard's events carry the time of day",
    "dppo/watch/record_episode.py": "TensorBoard's events carry the time of day",
    "dppo/bench/observed_run.py": "measures runs from outside",
    "dppo/bench/update.py": "measures updates",
    "scripts/chaos/bench.py": "how long a fault took",
    "scripts/chaos/cluster.py": "a shell: processes under faults",
    "scripts/chaos/relays.py": "a shell: how fast bytes are passed on",
    "scripts/chaos/workers.py": "a shell: when a process was started",
}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def sources(*packages: str) -> list[Path]:
    found = [path for package in packages for path in sorted((REPOSITORY / package).rglob("*.py"))]
    return [path for path in found if path.resolve() == path]  # not through the links in dppo/


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The module; of a `__main__.py` without what runs only as a command."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "__main__.py":
        tree.body = [node for node in tree.body if not is_main_block(node)]
    return tree


def is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


@functools.cache
def imports(tree: ast.AST) -> tuple[str, ...]:
    """Every module imported anywhere, in functions and for types too."""
    return tuple(find_imports(tree))


def find_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import, of which this test cannot tell the module"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
        if not may_import(package, module)
    ]
    assert not wrong


def may_import(package: str, module: str) -> bool:
    """Whether modules of the package may import that one."""
    root = module.split(".")[0]
    if root in PACKAGES:  # as `learner` instead of `dppo.learner`: a second copy of the module
        return any(module == name or module.startswith(f"{name}.") for name in MAY_IMPORT[package])
    return root not in NOT_IMPORTED_BY[package]


def test_rooms_of_the_learner_import_only_rooms_below_them() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for number, room in enumerate(ROOMS)
        for path in sources(f"learner/{room}")
        for module in imports(tree_of(path))
        if module.split(".")[:2] == ["dppo", "learner"] and module.split(".")[2] in ROOMS[number + 1 :]
    ]
    assert not wrong


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    modules = {dotted(path): path for path in sources(*PACKAGES)}
    below = {
        name: {module for module in imports(tree_of(path)) if module in modules} - {name}
        for name, path in modules.items()
    }
    while True:
        leaves = {name for name, others in below.items() if not others}
        if not leaves:
            break
        below = {name: others - leaves for name, others in below.items() if name not in leaves}
    assert below == {}


def dotted(path: Path) -> str:
    """The name by which the module is imported."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    package = parts if parts[0] in ("dppo", "scripts") else ("dppo", *parts)
    return ".".join(package[:-1] if package[-1] == "__init__" else package)


def test_only_the_commands_of_learner_and_actor_import_the_command_line() -> None:
    for package in ("learner", "actor"):
        path = REPOSITORY / package / "__main__.py"
        whole = ast.parse(path.read_text(encoding="utf-8"))
        assert "dppo.cli" in imports(whole)
        assert "dppo.cli" not in imports(tree_of(path))


def test_only_the_modules_around_sockets_know_zmq() -> None:
    found = {name_of(p) for p in sources(*PACKAGES) for module in imports(tree_of(p)) if module.split(".")[0] == "zmq"}
    assert "protocol/transport/router.py" in found
    assert found <= MAY_IMPORT_ZMQ


def test_only_shells_and_named_exceptions_read_the_clock() -> None:
    readers = {name_of(path): sorted(set(clock_readings(tree_of(path)))) for path in sources(*PACKAGES)}
    readers = {name: clocks for name, clocks in readers.items() if clocks}
    assert {name: clocks for name, clocks in readers.items() if name not in MAY_READ_THE_CLOCK} == {}
    assert MAY_READ_THE_CLOCK.keys() - readers.keys() == set(), "these no longer need the exception"


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*PACKAGES, "tests")
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    stems = {name_of(path): path.relative_to(REPOSITORY).with_suffix("").parts for path in sources(*PACKAGES, "tests")}
    parts = {name: {part for stem in stem_parts for part in stem.split("_")} for name, stem_parts in stems.items()}
    assert [name for name, words in parts.items() if words & VAGUE_NAMES] == []


@pytest.mark.parametrize("package", ["protocol", "actor"])
def test_importing_what_an_actor_needs_imports_nothing_of_the_learner(package: str) -> None:
    modules = [dotted(path) for path in sources(package) if path.name != "__main__.py"]
    assert len(modules) > 5
    assert imported_with(modules, LEARNING_LIBRARIES | {"dppo.learner", "dppo.cli"}) == []


def test_a_learner_listens_before_it_imports_pytorch() -> None:
    """For which it takes seconds: its actors make their environments meanwhile."""
    modules = ["dppo.cli", "dppo.local.train", "dppo.local.learner_alone", "dppo.learner.service"]
    assert imported_with(modules, LEARNING_LIBRARIES - {"safetensors"}) == []


LATE = {"asyncio", "http.server", "psutil", "matplotlib", "dppo.settings.bench_arguments"}  # tens of milliseconds each


@pytest.mark.fast(2)
@pytest.mark.parametrize(
    ("modules", "late"),
    [
        (["dppo.cli", "dppo.local.train_command", "dppo.local.train"], LATE),
        (["dppo.cli", "dppo.local.learner_alone", "dppo.learner.service"], LATE),
        (["dppo.cli", "dppo.local.learner_command", "dppo.learner.service"], {"dppo.local.launching"}),
        (["dppo.cli", "dppo.local.actor_command", "dppo.actor.service"], {*LATE, "dppo.settings.commands"}),
    ],
)
def test_a_process_of_a_run_starts_without_what_it_may_never_need(modules: list[str], late: set[str]) -> None:
    assert imported_with(modules, late) == []


def imported_with(modules: list[str], names: set[str]) -> list[str]:
    """Return those of the names that a process has imported with these modules."""
    program = "\n".join(
        [
            "import importlib, sys",
            f"for module in {modules}: importlib.import_module(module)",
            f"print(*sorted({names} & sys.modules.keys()))",
        ]
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert printed.stderr == ""
    return printed.stdout.split()
