"""Shards of the slow tests, by file: what `pytest -m slow --shard NAME` runs. Without `--shard`, all of them run.

`computing` and `processes` may run at once on two cores: the former trains in pytest's own process, or starts one
process after the other; the latter starts several and mostly waits. What `timed` runs is judged by the time that it
takes, takes all cores, or uses the container engine and network namespaces of the machine: alone.
"""

from collections import Counter
from pathlib import Path

import pytest

SHARDS = ("computing", "processes", "timed")
TESTS = Path(__file__).parent

PROCESSES = {
    "test_actor_group.py",
    "test_api_hooks.py",
    "test_api_nesting.py",
    "test_api_processes.py",
    "test_api_train.py",
    "test_both_die.py",
    "test_deploy_local.py",
    "test_docs_example_files.py",
    "test_docs_typed.py",
    "test_doctor.py",
    "test_envs_by_name.py",
    "test_evaluations.py",
    "test_hooks.py",
    "test_hooks_of_processes.py",
    "test_joining.py",
    "test_local_run.py",
    "test_local_run_environments.py",
    "test_local_run_killed.py",
    "test_messages_actors.py",
    "test_messages_process.py",
    "test_names_of_users.py",
    "test_notes_of_environments.py",
    "test_own_code_changed.py",
    "test_own_metrics.py",
    "test_relay_processes.py",
    "test_restarts.py",
    "test_revoked_actors.py",
    "test_rude_environments.py",
    "test_same_parameters.py",
    "test_scaling.py",
    "test_seeds.py",
    "test_several_learners.py",
    "test_slots_of_environments.py",
    "test_spaces_of_runs.py",
    "test_tcp_run.py",
    "test_timeline_of_run.py",
    "test_tune_fleet.py",
}
TIMED = {
    "chaos/test_faults.py",
    "chaos/test_harness.py",
    "test_bench.py",
    "test_bench_slow.py",
    "test_bench_update.py",
    "test_child_process.py",
    "test_compose.py",
    "test_compose_kills.py",
    "test_deploy_hosts.py",
    "test_deploy_ray.py",
    "test_deploy_slurm.py",
    "test_deploy_ssh.py",
    "test_endings_of_actors.py",
    "test_failing_environments.py",
    "test_fetches_real.py",
    "test_final_evaluation.py",
    "test_fuzz.py",
    "test_held_interpreter.py",
    "test_ingress.py",
    "test_interrupts.py",
    "test_messages_before_start.py",
    "test_overtime.py",
    "test_processes_left.py",
    "test_screen.py",
    "test_spaces_here.py",
    "test_threads.py",
    "test_watching.py",
}


def shard_of(path: Path) -> str:
    """Name of the shard that the tests of this file are of."""
    name = path.relative_to(TESTS).as_posix()
    return "timed" if name in TIMED else "processes" if name in PROCESSES else "computing"


def brief(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests that run with `--brief`, and cases that it leaves out: always the same ones, the first never."""
    kept, left_out = [], []
    cases: Counter[str] = Counter()
    for item in items:
        marker, family = item.get_closest_marker("thin"), item.nodeid.partition("[")[0]
        (left_out if marker and cases[family] % marker.args[0] else kept).append(item)
        cases[family] += 1
    return kept, left_out
