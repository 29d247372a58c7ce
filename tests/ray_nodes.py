"""Nodes of a Ray cluster for tests, all on this machine: `python ray_nodes.py FOLDER COUNT CPUS` until its input ends.

A cluster beside any other, with a token of its own: Ray asks for one where ~/.ray/auth_token happens to exist.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

VARIABLES = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_raylet_start_wait_time_s": "120",  # on a busy machine
}


def serve(folder: str, count: int, cpus: int) -> None:
    """Start the nodes, print the address, and end them with the input."""
    from ray.cluster_utils import Cluster

    Path(folder, "ray").mkdir()  # where RAY_TMPDIR is, Ray expects that
    options = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    for _ in range(count - 1):
        cluster.add_node(**options)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


class Nodes:
    """The process that serves the nodes, and what commands need to reach them."""

    def __init__(self, folder: str, count: int, cpus: int = 2) -> None:
        self.variables = {**VARIABLES, "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": folder}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, folder, str(count), str(cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.variables},
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the nodes have not started"

    def close(self) -> None:
        self._process.communicate(timeout=60)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
