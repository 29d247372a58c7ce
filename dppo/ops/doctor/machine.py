"""Needs of a machine: releases of libraries, file descriptors, a long enough queue for connections, room.

The judgements are pure; `machine` reads what they judge.
"""

import importlib.metadata
import os
import platform
import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from dppo.ops.doctor.finding import Finding, from_error
from dppo.protocol.errors import UsageError
from dppo.protocol.security.curve import check_library, libzmq_version
from dppo.protocol.transport.fd_limits import RESERVE, actors_that_fit
from dppo.protocol.transport.router import BACKLOG

OPTIONAL = ("torch", "onnx", "safetensors", "tensorboard", "matplotlib")  # a learner's: an actor's host needs none
NEEDED = ("msgpack", "msgspec", "pyzmq", "onnxruntime", "numpy", "gymnasium")
FEW_ACTORS = 500
SHARED_MEMORY_BYTES = 128 * 2**20  # docker gives 64 MiB
LITTLE_BYTES, NOTHING_BYTES = 2 * 2**30, 200 * 2**20

Installed = Callable[[str], str]  # a distribution's release; raises PackageNotFoundError


def machine(directory: Path) -> list[Finding]:
    """Examine the machine. directory: where runs are written, or the nearest one above it that exists."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    findings = [python(platform.python_version_tuple()), libzmq()]
    findings += releases(importlib.metadata.requires("dppo") or [], importlib.metadata.version)
    findings.append(open_files(soft, hard))
    waiting = Path("/proc/sys/net/core/somaxconn")
    if waiting.exists():
        findings.append(somaxconn(int(waiting.read_text())))
    shared = Path("/dev/shm")  # noqa: S108  only asked how large it is
    if shared.exists():
        findings.append(shared_memory(shutil.disk_usage(shared).free))
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    findings.append(disk(directory, shutil.disk_usage(directory).free, is_writable=os.access(directory, os.W_OK)))
    return findings


def python(version: Sequence[str]) -> Finding:
    """Examine this interpreter."""
    text = ".".join(version)
    if (int(version[0]), int(version[1])) < (3, 11):
        return Finding("error", "Python", f"{text} is too old", "Install Python 3.11 or newer")
    return Finding("ok", "Python", text)


def libzmq() -> Finding:
    """The library below pyzmq, which pip's version does not tell."""
    try:
        check_library()
    except UsageError as error:
        return from_error("libzmq", error)
    return Finding("ok", "libzmq", f"{libzmq_version()}, with CURVE")


def releases(requirements: Sequence[str], installed: Installed) -> list[Finding]:
    """Whether what is installed lies in the ranges that this distribution asks for."""
    findings = []
    for name, wanted in _ranges(requirements).items():
        try:
            release = installed(name)
        except importlib.metadata.PackageNotFoundError:
            if name in OPTIONAL:
                findings.append(Finding("ok", name, "is not installed: a learner needs it, an actor's host does not"))
            else:
                findings.append(Finding("error", name, "is not installed", f"pip install '{wanted}'"))
            continue
        if wanted.specifier.contains(release, prereleases=True):
            findings.append(Finding("ok", name, release))
        else:
            do = f"pip install '{name}{wanted.specifier}'"
            findings.append(Finding("error", name, f"{release} is outside {wanted.specifier}", do))
    return findings


def _ranges(requirements: Sequence[str]) -> dict[str, Requirement]:
    ranges: dict[str, Requirement] = {}
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name in (*NEEDED, *OPTIONAL):
            ranges.setdefault(requirement.name, requirement)
    return ranges


def open_files(soft: int, hard: int) -> Finding:
    """RLIMIT_NOFILE: every connection is a file. A learner raises its soft limit itself."""
    fits = actors_that_fit(hard if hard != resource.RLIM_INFINITY else 2**30)
    means = f"{soft} now, {hard} at most: a learner has room for {fits:,} actors"
    if fits < FEW_ACTORS:
        do = f"For N actors allow 1.2 N + {RESERVE}: ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of docker"
        return Finding("warning", "file descriptors", means, do)
    return Finding("ok", "file descriptors", means)


def somaxconn(most: int) -> Finding:
    """Examine how many connections the kernel keeps waiting to be accepted."""
    if most < BACKLOG:
        means = f"{most} connections may wait: when hundreds of actors start at once, some try again after a second"
        return Finding("warning", "net.core.somaxconn", means, f"sysctl -w net.core.somaxconn={BACKLOG}")
    return Finding("ok", "net.core.somaxconn", str(most))


def shared_memory(free_bytes: int) -> Finding:
    """Examine what environments in processes of their own need (env.vectorization=async)."""
    means = f"{free_bytes / 2**20:,.0f} MiB free in /dev/shm"
    if free_bytes < SHARED_MEMORY_BYTES:
        means += ", which may be too little for --env.vectorization async with images"
        return Finding("warning", "shared memory", means, "In docker: --shm-size 1g")
    return Finding("ok", "shared memory", means)


def disk(directory: Path, free_bytes: int, *, is_writable: bool) -> Finding:
    """Examine the disk of checkpoints and metrics."""
    means = f"{free_bytes / 2**30:,.1f} GiB free in {directory}"
    if not is_writable:
        return Finding("error", "disk", f"{directory} cannot be written", "Choose another --run.directory")
    if free_bytes < NOTHING_BYTES:
        return Finding("error", "disk", means, "Free some, or choose another --run.directory")
    if free_bytes < LITTLE_BYTES:
        return Finding("warning", "disk", means, "Free some, or lower --run.keep-checkpoints")
    return Finding("ok", "disk", means)
