"""Engines by name. Imports the one that is asked for, when it is."""

import importlib
from typing import TYPE_CHECKING, cast

from dppo.deploy.config import EngineName
from dppo.deploy.engine import Engine

MODULES: dict[EngineName, str] = {
    "local": "dppo.deploy.local_engine",
    "docker": "dppo.deploy.docker_engine",
    "ssh": "dppo.deploy.ssh_engine",
    "slurm": "dppo.deploy.slurm_engine",
    "k8s": "dppo.deploy.k8s_engine",
    "ray": "dppo.deploy.ray_engine",
}

if TYPE_CHECKING:  # each of them has the five functions
    from dppo.deploy import docker_engine, k8s_engine, local_engine, ray_engine, slurm_engine, ssh_engine

    _ENGINES: tuple[Engine, ...] = (local_engine, docker_engine, ssh_engine, slurm_engine, k8s_engine, ray_engine)


def engine_of(name: EngineName) -> Engine:
    """Return the engine of that name."""
    return cast("Engine", importlib.import_module(MODULES[name]))
