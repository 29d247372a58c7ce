"""Settings that do not fit the spaces of the environment, before anything is started. Knows settings and specs."""

import math

from dppo.learner.config import LearnerConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.network_config import NetworkConfig
from dppo.learner.option_checks import check_fit
from dppo.learner.storage.settings_history import has_begun
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec

MOST_ITEM_BYTES = 8  # of any dtype
MOST_STEP_BYTES = 256  # of a step beside its leaves


def check_spaces_before_start(config: LearnerConfig, spec: Spec) -> None:
    """Raise UsageError where settings do not fit the spaces of the run's environment."""
    if has_begun(config.run_directory):  # with them; what is changed since is refused elsewhere
        return
    check_fit(spec, config.network, config.ppo)
    if _may_be_too_large(config, spec):
        from dppo.learner.session.settings import check_spaces  # late: NumPy takes a tenth of a second

        check_spaces(spec, config, lambda line: None)


def _may_be_too_large(config: LearnerConfig, spec: Spec) -> bool:
    """Return whether batches or rollouts come near the limits, by far more bytes than they can have."""
    collect, carried = config.collect, rollout_spec(spec, config.network)
    leaves = (*carried.observation, *carried.action, *carried.mask, *carried.state)
    step = 4 * sum(MOST_ITEM_BYTES * leaf.elements for leaf in leaves) + MOST_STEP_BYTES
    rollout = step * collect.envs_per_actor * max(1, collect.segment_steps)
    batch = step * max(collect.batch_steps, collect.envs_per_actor)
    return rollout > collect.max_rollout_bytes or (0 < collect.max_ingress_bytes < batch)


def check_memory_length(config: LearnerConfig, actors: int) -> None:
    """Raise UsageError where sequences cannot be as long as a user wants them to be. actors: of the command."""
    network, collect = config.network, config.collect
    if network.bptt_steps in (0, NetworkConfig.bptt_steps) or has_begun(config.run_directory):
        return
    envs = collect.slots or max(1, actors) * collect.envs_per_actor
    rows = math.ceil(collect.batch_steps / envs)
    if network.bptt_steps > rows:
        raise UsageError(
            f"network.bptt_steps={network.bptt_steps} is more than the {rows} steps that each of {envs} environments "
            f"makes for collect.batch_steps={collect.batch_steps}, where sequences end: lower it to {rows} (0: as long "
            f"as can be), or raise batch_steps to {network.bptt_steps * envs}"
        )
