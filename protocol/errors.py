"""The error tree. A class is a decision for the code that catches it, and carries its exit code."""


class DppoError(Exception):
    """A failed run; its text is one line: what, why, what to do."""

    exit_code = 1


class UsageError(DppoError):
    """The command, a setting or a file that the user named is wrong."""

    exit_code = 2


class RefusedError(DppoError):
    """Another process refused us, for good (wrong version, wrong spec, other run, a name or a run directory taken)."""

    exit_code = 3


class CheckpointError(DppoError):
    """A checkpoint cannot be read or does not belong to this run."""


class ProtocolError(DppoError):
    """A peer sent something that the protocol does not allow: drop it, count it, strike the peer."""


class HostileError(ProtocolError):
    """A message that no peer of ours can have sent, whatever its release or fate: end its connection."""
