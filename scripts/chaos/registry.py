"""Every fault that the bench knows, in the order in which they are played."""

from scripts.chaos.faults import Fault


def known() -> dict[str, Fault]:
    """Every fault, by name, in the order in which they are played."""
    from scripts.chaos import (
        crowd,
        disks,
        environments,
        garbage,
        glitches,
        histories,
        hold_ups,
        kill_actors,
        kill_both,
        kill_learner,
        partitions,
        pauses,
        refused_peers,
        slow_reader,
        soak,
        terminations,
    )

    modules = (
        kill_actors,
        kill_learner,
        kill_both,
        partitions,
        pauses,
        environments,
        glitches,
        slow_reader,
        hold_ups,
        garbage,
        crowd,
        disks,
        histories,
        refused_peers,
        terminations,
        soak,
    )
    return {fault.name: fault for module in modules for fault in module.FAULTS}
