"""Errors of several learners that depend on each other."""

from dppo.protocol.errors import DppoError


class GroupError(DppoError):
    """Another learner of the group is gone, or did not come: all start again from the checkpoint."""

    exit_code = 75  # EX_TEMPFAIL: the group's supervisor starts it again


class PartedError(DppoError):
    """Learners that must be equal are not."""
