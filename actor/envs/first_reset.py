"""The first reset of an environment that was just made, to see whether it keeps what its spaces promise."""

from dppo.actor.envs.finite import Finite
from dppo.actor.envs.interface import Crash, Environments
from dppo.protocol.errors import DppoError, UsageError

TRIAL_SEED = 1


def try_reset(environments: Environments, env_id: str) -> None:
    """Reset. Raises UsageError in one line where that fails, or returns what it must not."""
    finite = Finite(environments.spec, environments.envs, indivisible=environments.indivisible)
    try:
        observations = environments.reset([TRIAL_SEED + column for column in range(environments.envs)])
        finite.refuse_first(observations, environments.given)
    except (DppoError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a simulator raises
        raise UsageError(f"{env_id}: {Crash(environments.column, 'reset', error)}") from error
