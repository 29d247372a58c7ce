"""Needs of 10,000 and 100,000 actors in bandwidth, relays and learners, from costs that were measured on one machine.

    python -m scripts.scaling --measure --output benchmarks/scaling.json    some four minutes on two cores
    python -m scripts.scaling benchmarks/scaling.json                       the tables of docs/scaling.md

Unit costs are differences between runs with 25 and 100 actors. They are checked against runs with 1,000, which are in
no unit cost. What cannot be measured on one machine is not in here: other networks than loopback, training itself.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dppo.bench.checkout import add_checkout
from dppo.bench.observed_run import conditions
from dppo.protocol.rollout import Counts, blob_bytes
from scripts.chaos.load_generator import SPEC
from scripts.experiments.row_files import write_rows
from scripts.scaling_runs import Load, measure, row

SECONDS = 10.0  # of each run
ACTORS_OF_HOST = 64
BUSY = 0.7  # of a core, that each of two threads of a learner may take: the network thread, and libzmq's
LINK_BYTES = 1.18e9  # a second, of 10 Gbit/s
SIZES = (1_000, 10_000, 100_000)
LOADS = {
    "few": Load(25, 1),
    "base": Load(100, 1),
    "rollouts": Load(100, 1, pause_seconds=0.2),
    "versions": Load(100, 1, pause_seconds=0.2, version_seconds=0.4),
    "bytes": Load(100, 1, rows=1024),
    "direct few": Load(25, 0),
    "direct base": Load(100, 0),
    "direct rollouts": Load(100, 0, pause_seconds=0.2),
    "direct versions": Load(100, 0, pause_seconds=0.2, version_seconds=0.4),
    "thousand": Load(1000, 4),
    "direct thousand": Load(1000, 0),
}

CHECKS = ("direct thousand", "thousand")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Units:
    """CPU seconds, of the learner's network thread or of relays."""

    fixed: float  # a second, whatever there is to do; of a relay: each
    actor: float  # a second, of an actor that is connected: PING and PONG
    rollout: float  # each, with its ACK
    version: float  # of each actor: POLICY, HAVE, STOP, STOPPED

    def a_second(self, *, processes: float, actors: float, rollouts: float, versions: float) -> float:
        """Return the CPU seconds of a second. rollouts: a second; versions: a second, times the actors."""
        return processes * self.fixed + actors * self.actor + rollouts * self.rollout + versions * self.version


@dataclass(frozen=True)
class Workload:
    """Pace of one actor."""

    name: str
    rollouts: float  # a second
    rollout_bytes: float
    policy_bytes: float
    version_seconds: float


WORKLOADS = (
    Workload("slow simulator: 400 steps/s of 110 bytes, policy of 0.3 MB", 0.4, 110e3, 0.3e6, 10.0),
    Workload("control: 2,000 steps/s of 110 bytes, policy of 0.3 MB", 2.0, 110e3, 0.3e6, 2.0),
    Workload("images: 200 steps/s of 7.1 kB, policy of 6.8 MB", 0.4, 3.55e6, 6.8e6, 10.0),
)


def units(rows: Mapping[str, Row], cpu: str, prefix: str = "") -> Units:
    """Return unit costs of what the rows call `cpu`: four of them, out of four runs that differ in one thing each."""
    runs = [rows[prefix + name] for name in ("few", "base", "rollouts", "versions")]
    counts = [[1, run["actors"], rate(run, "rollouts"), run["actors"] * rate(run, "versions")] for run in runs]
    costs = np.linalg.solve(np.array(counts, float), np.array([rate(run, cpu) for run in runs]))
    return Units(*(max(0.0, float(cost)) for cost in costs))  # below 0 by noise alone


def rate(row: Row, name: str) -> float:
    """Return a figure of a run per second."""
    return float(row[name] / row["seconds"])


def predicted(row: Row, costs: Units, *, processes: int) -> float:
    """Return the CPU seconds a second that the unit costs give for a run."""
    return costs.a_second(
        processes=processes,
        actors=row["actors"],
        rollouts=rate(row, "rollouts"),
        versions=row["actors"] * rate(row, "versions"),
    )


def byte_costs(rows: Mapping[str, Row]) -> tuple[float, float]:
    """Return CPU seconds of the learner for a byte that comes, and for one that goes: kernel and encryption."""

    def elsewhere(row: Row) -> float:
        return rate(row, "learner_cpu") - rate(row, "network_cpu")

    many, base = rows["bytes"], rows["base"]
    up = (rate(many, "learner_cpu") - rate(base, "learner_cpu")) / (arriving(many) - arriving(base))
    often, seldom = rows["direct versions"], rows["direct rollouts"]
    down = (elsewhere(often) - elsewhere(seldom)) / (leaving(often) - leaving(seldom))
    return max(0.0, up), max(0.0, down)


def arriving(row: Row) -> float:
    """Return bytes of rollouts a second."""
    return rate(row, "rollouts") * blob_bytes(SPEC, Counts(row["rows"], 1, finals=0, episodes=0))


def leaving(row: Row) -> float:
    """Return bytes of policies a second."""
    return float(row["policy_bytes_per_version"]) * rate(row, "versions")


@dataclass(frozen=True)
class Need:
    """Needs of so many actors."""

    relays: int
    up_gbit: float
    down_gbit: float
    network_cores: float
    byte_cores: float
    learners: int


def need(work: Workload, actors: int, rows: Mapping[str, Row], *, is_relayed: bool) -> Need:
    """Return what so many actors need, as the unit costs have it."""
    costs, (up_cost, down_cost) = units(rows, "network_cpu", "" if is_relayed else "direct "), byte_costs(rows)
    relays = math.ceil(actors / ACTORS_OF_HOST) if is_relayed else 0
    up, down = (
        actors * work.rollouts * work.rollout_bytes,
        (relays or actors) * work.policy_bytes / work.version_seconds,
    )
    cores = costs.a_second(
        processes=0, actors=actors, rollouts=actors * work.rollouts, versions=actors / work.version_seconds
    )
    byte_cores = up * up_cost + down * down_cost
    bounds = (cores / BUSY, byte_cores / BUSY, up / LINK_BYTES, down / LINK_BYTES)
    return Need(relays, 8e-9 * up, 8e-9 * down, cores, byte_cores, max(1, *map(math.ceil, bounds)))


def runs(rows: Mapping[str, Row]) -> Iterator[str]:
    """Yield a table of what the runs were like."""
    yield from (
        "| run | policy bytes a version | network thread, us a rollout | learner, us a rollout | STOP to last |",
    )
    yield "|---|--:|--:|--:|--:|"
    for name in ("direct base", "base", *CHECKS):
        one = rows.get(name)
        if one is None:
            continue
        way = f"{one['relays']} relays" if one["relays"] > 1 else "1 relay" if one["relays"] else "direct"
        network, learner = (1e6 * one[cpu] / one["rollouts"] for cpu in ("network_cpu", "learner_cpu"))
        stop = f"{one['stop_milliseconds']:.0f} ms ({one['stop_milliseconds_worst']:.0f} ms)"
        sent = f"{one['policy_bytes_per_version']:,.0f}"
        yield f"| {one['actors']:,} actors, {way} | {sent} | {network:.0f} | {learner:.0f} | {stop} |"


def links() -> Iterator[str]:
    """Yield the tables of what crosses the network: arithmetic, without any measured cost."""
    for work in WORKLOADS:
        yield from ("", f"**{work.name}, a version every {work.version_seconds:g} s**", "")
        yield "| actors | relays | up, Gbit/s | down, direct, Gbit/s | down, relays, Gbit/s |"
        yield "|--:|--:|--:|--:|--:|"
        for actors in SIZES:
            relays, up = math.ceil(actors / ACTORS_OF_HOST), 8e-9 * actors * work.rollouts * work.rollout_bytes
            down = [8e-9 * copies * work.policy_bytes / work.version_seconds for copies in (actors, relays)]
            yield f"| {actors:,} | {relays:,} | {up:,.2f} | {down[0]:,.2f} | {down[1]:,.2f} |"


def tables(rows: Mapping[str, Row]) -> Iterator[str]:
    """Yield all tables."""
    yield from runs(rows)
    yield from links()
    yield ""
    yield "| unit cost, us of CPU | fixed, a second | actor, a second | rollout | version of an actor |"
    yield "|---|--:|--:|--:|--:|"
    for title, cpu, prefix in UNITS:
        costs = units(rows, cpu, prefix)
        parts = (costs.fixed, costs.actor, costs.rollout, costs.version)
        yield f"| {title} | " + " | ".join(f"{1e6 * part:,.0f}" for part in parts) + " |"
    up, down = byte_costs(rows)
    yield ""
    yield f"A byte that comes costs the learner {1e9 * up:.1f} ns of CPU, one that goes {1e9 * down:.1f} ns."
    if any(name in rows for name in CHECKS):
        yield from ("", "| 1,000 actors | predicted | measured | |", "|---|--:|--:|--:|")
    for title, cpu, prefix in UNITS:
        if f"{prefix}thousand" not in rows:
            continue
        one = rows[f"{prefix}thousand"]
        guess, found = predicted(one, units(rows, cpu, prefix), processes=processes_of(one, cpu)), rate(one, cpu)
        yield f"| {title}, cores | {guess:.3f} | {found:.3f} | {100 * (guess / found - 1):+.0f} % |"
    yield from _needs(rows)


def processes_of(row: Row, cpu: str) -> int:
    """Return how many processes that figure is of."""
    return int(row["relays"]) if cpu == "relay_cpu" else 1


def _needs(rows: Mapping[str, Row]) -> Iterator[str]:
    for work in WORKLOADS:
        yield ""
        yield f"**{work.name}, a version every {work.version_seconds:g} s**"
        yield ""
        yield "| actors | way | relays | up, Gbit/s | down, Gbit/s | network thread, cores | bytes, cores | learners |"
        yield "|--:|---|--:|--:|--:|--:|--:|--:|"
        for actors in SIZES:
            for way, is_relayed in (("direct", False), ("relays", True)):
                of = need(work, actors, rows, is_relayed=is_relayed)
                cores = f"{of.network_cores:.2f} | {of.byte_cores:.1f}"
                gbit = f"{of.up_gbit:,.2f} | {of.down_gbit:,.2f}"
                yield f"| {actors:,} | {way} | {of.relays:,} | {gbit} | {cores} | {of.learners} |"


UNITS = (
    ("network thread, direct", "network_cpu", "direct "),
    ("network thread, relays", "network_cpu", ""),
    ("relay", "relay_cpu", ""),
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", default="benchmarks/scaling.json", help="figures of an earlier --measure")
    parser.add_argument("--measure", action="store_true", help="run it all anew first")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each run")
    parser.add_argument("--only", nargs="*", choices=tuple(LOADS), help="of the runs; the others stay in the file")
    parser.add_argument("--output", default="", help="file for the figures of --measure")
    given = parser.parse_args()
    if not given.measure:
        result = json.loads(Path(given.file).read_bytes())
    else:
        add_checkout()
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        about = {"experiment": "scaling", **conditions(), "memory_bytes": memory, "seconds": given.seconds}
        rows = {}
        for name in given.only or LOADS:
            load = LOADS[name]
            rows[name] = {**row(load, measure(load, given.seconds)), "load_after": os.getloadavg()[0]}
            print(f"{name}: {rows[name]}", flush=True)
            write_rows(given.output, about, rows)
        result = json.loads(Path(given.output).read_bytes()) if given.output else {"rows": rows}
    missing = [name for name in LOADS if name not in result["rows"] and name not in CHECKS]
    print("\n".join(tables(result["rows"])) if not missing else f"to be measured: {', '.join(missing)}")


if __name__ == "__main__":
    main()
