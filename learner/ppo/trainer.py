"""Networks, normalisers, optimizer and schedules of one run: from rollouts to a better policy.

Knows no sockets, no clock and no files; a checkpoint is what `tensors`, `counters` and `past` return.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.models.building import build_networks
from dppo.learner.models.distributions import Distribution
from dppo.learner.models.graph_check import check_export
from dppo.learner.models.networks import critic_encode
from dppo.learner.models.onnx_export import PolicyExporter
from dppo.learner.network_config import NetworkConfig
from dppo.learner.ppo.batch import Estimates, Grid, Received, lay_out
from dppo.learner.ppo.checkpoint_fit import refuse_other_networks
from dppo.learner.ppo.checks import first_pass
from dppo.learner.ppo.corrections import correction_of, weighed
from dppo.learner.ppo.divergence import mask_of
from dppo.learner.ppo.encoder_statistics import derived, encode_by, moments_for
from dppo.learner.ppo.epochs import (
    EpochMetrics,
    Refresh,
    UpdateReport,
    diverged,
    minibatches,
    run_critic_epochs,
    run_epochs,
)
from dppo.learner.ppo.frame_tensors import tensors_of, whole
from dppo.learner.ppo.guarded_update import train_or_take_back
from dppo.learner.ppo.judged_rows import estimated, judged, unjudged
from dppo.learner.ppo.losses import surrogate_floors, surrogate_limits
from dppo.learner.ppo.optimizer import ActorCriticOptimizer, Way
from dppo.learner.ppo.past import Past
from dppo.learner.ppo.recurrence import Remembered, remember
from dppo.learner.ppo.reduce import Reduce, over_all_ranks
from dppo.learner.ppo.reuse import corrected, reused
from dppo.learner.ppo.reward_scaling import Rewards
from dppo.learner.ppo.rows import Leaves, Rows, encoded_in_parts
from dppo.learner.ppo.schedules import Schedules
from dppo.learner.ppo.stitching import assemble
from dppo.learner.ppo.update_report import report_of
from dppo.learner.ppo_config import PpoConfig
from dppo.protocol.errors import UsageError
from dppo.protocol.specs import Spec


class Trainer:
    """All of a run that learns."""

    def __init__(
        self,
        spec: Spec,
        *,
        ppo: PpoConfig,
        network: NetworkConfig,
        seed: int,
        total_steps: int,
        device: str = "cpu",
        torch_threads: int = 1,
        gradients: Way = "analytic",
        reduce: Reduce | None = None,
    ) -> None:
        if reduce is not None and ppo.reuse > 1:
            raise UsageError(f"ppo.reuse={ppo.reuse} is for one learner: leave it out where there are several")
        torch.set_num_threads(torch_threads)
        torch.backends.cudnn.allow_tf32 = False  # convolutions as exact as those of actors, as products are by default
        self._spec = spec = rollout_spec(spec, network)
        self._ppo, self._bptt_steps, self._seed = ppo, network.bptt_steps, seed
        self._device, self._reduce = device, reduce
        self.policy, self.critic = build_networks(spec, network, seed)
        self.policy.to(device)
        self.critic.to(device)
        self._steps = ActorCriticOptimizer(
            self.policy,
            self.critic,
            apart=bool(ppo.critic_learning_rate or ppo.critic_epochs),
            epsilon=ppo.adam_epsilon,
            max_grad_norm=ppo.max_grad_norm,
            value_coefficient=ppo.value_coefficient,
            entropy_coefficient=ppo.entropy_coefficient,
            value_clip_range=ppo.value_clip_range,
            mask=mask_of(ppo),
            way=gradients,
            reduce=reduce,
        )
        self._exporter = PolicyExporter(self.policy, spec)
        self._moments = moments_for(self.policy.encoder, self.policy.features, reduce)
        self._rewards = Rewards(ppo, reduce)
        self._updates = self._steps_trained = 0
        self._pace = Schedules(ppo, total_steps)
        self._past = Past(spec, ppo.reuse)

    @torch.no_grad()
    def update(self, rollouts: Sequence[Received], version: int | None = None) -> UpdateReport:
        """Train on one batch. Raises DppoError where the batch or the training is not finite.

        version: of the policy that is trained on; rollouts may be of older ones. None: all are of that.
        Steps that no policy gave are left out; so are those of an actor whose absurd numbers make the training not
        finite, and the update is done again without them. With `ppo.reuse`, earlier batches are trained on again.
        """
        fresh = self._past.burn_in.refreshed(assemble(rollouts), self.policy, version)
        new = lay_out(fresh)
        grid, batch_of_step = self._past.earlier.beside(fresh, new)
        observations = tensors_of(grid.observations, grid.frame_rows, self._device)
        features = self.policy.encode(whole(observations)) if self.policy.encodes_once else None
        past = remember(self.policy, grid, observations, features, self._bptt_steps)
        rewards = self._rewards.to_train_on(grid, new)
        rows = unjudged(grid, observations, features, past, self.policy)
        old = self._distribution(rows, past)
        staleness = None if version is None else version - new.version_of_step
        aged = correction_of(old, rows, staleness, self._ppo)
        reuse = traces = None
        if batch_of_step is not None:
            reuse = reused(old.log_prob(rows.actions), rows.old_log_probs, batch_of_step, self._ppo.reuse_kl)
            traces = reuse.traces(grid)
        seen = features if past is None else past.features
        ratios = None if aged is None else aged.ratios
        estimates = self._judged_by_critic(grid, rewards, observations, seen, traces, ratios)
        of_new = Estimates(*(each[: new.steps] for each in estimates))
        outliers = self._moments.outliers(new)
        self._pace.set_for(self._steps_trained, 1.0 if reuse is None else reuse.mean_age)
        self._moments.merge_returns(of_new.returns)  # first, so that targets are in the units of the newest moments
        rows = self._judged(rows, estimates)
        trained_on = grid
        if reuse is not None:
            normal = self._ppo.normalise_advantages == "batch"
            advantages = reuse.normalised(estimates.advantages) if normal else estimates.advantages
            rows, trained_on, old = corrected(rows, grid, old, reuse, advantages, clip_range=self._pace.clip_range)
        first = first_pass(old, rows, trained_on.actor_of_step, trained_on.actors, staleness)
        if aged is not None:
            rows = weighed(rows, aged, ppo=self._ppo, clip_range=self._pace.clip_range)
        if not self._pace.clips:
            rows = rows._replace(old=old.rows(), limits=torch.full_like(rows.limits, math.inf))
        done = train_or_take_back(
            rows,
            trained_on,
            kept=first.plausible,
            old=old,
            train_on=lambda chosen: self._train_on(chosen, lambda part: self._refreshed(part, grid, rewards, features)),
            policy=self._distribution,
            steps=self._steps,
            reduce=self._reduce,
        )
        parts, pace = len(minibatches(rows, self._ppo.minibatch_steps)), self._pace
        report = report_of(of_new, done, first, outliers, staleness, ppo=self._ppo, schedules=pace, parts=parts)
        self._go_on_from(new, fresh, report.kl)
        return report if reuse is None else replace(report, reused_steps=reuse.steps)

    def _go_on_from(self, new: Grid, fresh: Sequence[Received], kl: float) -> None:
        """Move schedules, moments and counters on by a batch that was trained on."""
        if math.isfinite(kl):
            self._pace.adapt_to(kl)
        self._moments.merge_rewards(new.flatten(new.rewards))
        self._moments.merge_observations(new)
        # not before: this version's actors have acted with the old ones
        self._show_encoders_moments()
        self._updates += 1
        self._steps_trained += over_all_ranks(self._reduce, new.steps)
        self._past.earlier.keep(fresh)

    def graph_bytes(self, version: int) -> bytes:
        """The policy of this moment, to act with."""
        return self._exporter.graph_bytes(version)

    def check_graph(self) -> None:
        """Raise UsageError where onnxruntime does not compute what this policy does."""
        check_export(self._exporter, self.policy, self._spec)

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all arrays that a checkpoint needs, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._live_tensors().items()} | {
            name: torch.from_numpy(np.array(array))
            for name, array in (self._moments.arrays() | self._rewards.arrays()).items()
        }

    def counters(self) -> dict[str, int | float]:
        """All plain numbers that a checkpoint needs. Minibatch order follows from the seed and `updates`."""
        own, pace = {"updates": self._updates, "steps_trained": self._steps_trained}, self._pace
        return {**own, **pace.counters(), **pace.settings()}

    def past(self) -> bytes:
        """Earlier rollouts that a checkpoint needs: those of `ppo.reuse`, and of a memory under staleness."""
        return self._past.packed()

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], counters: Mapping[str, int | float], past: bytes = b"") -> None:
        """Continue from there, bit for bit. Raises CheckpointError where it is of another network."""
        refuse_other_networks(tensors, self.tensors(), counters, self.counters().keys() - self._pace.settings().keys())
        for name, tensor in self._live_tensors().items():
            tensor.copy_(tensors[name])
        self._moments.load({name: tensors[name].cpu().numpy() for name in self._moments.arrays() if name in tensors})
        self._rewards.load({name: tensors[name].cpu().numpy() for name in self._rewards.arrays()})
        self._show_encoders_moments()
        self._updates, self._steps_trained = int(counters["updates"]), int(counters["steps_trained"])
        self._pace.load(counters)
        self._past.load(past)

    def _encoders(self) -> list[tuple[str, nn.Module]]:
        own = [] if self.critic.encoder is None else [("critic", self.critic.encoder)]
        return [("policy", self.policy.encoder), *own]

    def _show_encoders_moments(self) -> None:
        for _, encoder in self._encoders():
            encode_by(self._moments.observations, encoder)

    def _live_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that `load` writes in place: parameters and normaliser buffers, Adam's moments."""
        groups = {"policy": self.policy.state_dict(), "critic": self.critic.state_dict()}
        networks = {f"{group}.{name}": tensor for group, members in groups.items() for name, tensor in members.items()}
        limits = {f"{group}.encoder.{name}" for group, encoder in self._encoders() for name in derived(encoder)}
        own = {name: tensor for name, tensor in networks.items() if name not in limits}
        return own | self._steps.tensors()

    def _judged_by_critic(
        self,
        grid: Grid,
        rewards: np.ndarray,
        observations: Leaves,
        features: Tensor | None,
        traces: np.ndarray | None = None,
        ratios: np.ndarray | None = None,
    ) -> Estimates:
        """Values of all observations in one pass, in the units of rewards; advantages and returns from them."""
        every = torch.arange(grid.rows, device=self._device)
        encode = critic_encode(self.policy, self.critic)
        parts = [features] if features is not None else encoded_in_parts(observations, every, encode)
        outputs = torch.cat([self.critic(part) for part in parts]).cpu().numpy()
        moments = self._moments
        return estimated(grid, rewards, outputs, ppo=self._ppo, moments=moments, traces=traces, ratios=ratios)

    def _judged(self, rows: Rows, estimates: Estimates) -> Rows:
        ppo, moments, clip_range = self._ppo, self._moments, self._pace.clip_range
        return judged(rows, estimates, ppo=ppo, moments=moments, clip_range=clip_range, reduce=self._reduce)

    def _distribution(self, rows: Rows, past: Remembered | None = None) -> Distribution:
        """The policy's distribution over actions at all rows. past: by which it acted, where it still is the same."""
        if past is not None:
            return self.policy.distribution(past.features.index_select(0, rows.row_index), rows.legal)
        parts = [self.policy.distribution(*part) for part in rows.in_parts(self.policy.encode, self.policy.memory)]
        return parts[0] if len(parts) == 1 else parts[0].of_rows(torch.cat([part.rows() for part in parts]))

    def _refreshed(self, rows: Rows, grid: Grid, rewards: np.ndarray, features: Tensor | None) -> Rows:
        """Rows of the grid with advantages and targets by the critic of this moment."""
        if not self._steps.finite:
            raise diverged("an epoch", "weights that are not finite", "ppo.learning_rate")
        past = remember(self.policy, grid, rows.observations, features, self._bptt_steps)
        features = features if past is None else past.features
        fresh = self._judged(rows, self._judged_by_critic(grid, rewards, rows.observations, features))
        step_of_row = torch.zeros(grid.rows, dtype=torch.int64)
        step_of_row[torch.from_numpy(grid.row_of_step)] = torch.arange(grid.steps)
        steps = step_of_row.to(self._device).index_select(0, rows.row_index)
        advantages = fresh.advantages.index_select(0, steps)
        return rows._replace(
            advantages=advantages,
            limits=surrogate_limits(advantages, self._pace.clip_range) if self._pace.clips else rows.limits,
            targets=fresh.targets.index_select(0, steps),
            floors=None if rows.floors is None else surrogate_floors(advantages, self._ppo.dual_clip),
        )

    def _train_on(self, rows: Rows, refresh: Refresh) -> tuple[list[EpochMetrics], list[float]]:
        """All passes of one update: the figures of each, and the value losses of those that train the critic."""
        ppo, pace, steps = self._ppo, self._pace, self._steps
        rng = np.random.default_rng((self._seed, self._updates))
        steps.learning_rate, steps.critic_learning_rate = pace.learning_rate, pace.critic_learning_rate
        steps.penalty = pace.penalty
        steps.stop_kl = ppo.early_stop_kl if ppo.early_stop_per == "minibatch" else 0.0
        steps.set_entropy_coefficient(pace.entropy_coefficient)
        epochs = run_epochs(
            rows,
            step=steps.policy if ppo.critic_epochs else steps.both,
            trains="policy" if ppo.critic_epochs else "both",
            rng=rng,
            epochs=ppo.epochs,
            minibatch_steps=ppo.minibatch_steps,
            clip_range=pace.clip_range,
            early_stop_kl=ppo.early_stop_kl,
            normalise_minibatches=ppo.normalise_advantages == "minibatch",
            dual_clip=ppo.dual_clip,
            refresh=refresh if ppo.recompute_advantages else None,
            reduce=self._reduce,
        )
        if not ppo.critic_epochs:
            return epochs, [metrics.value_loss for metrics in epochs]
        return epochs, run_critic_epochs(
            rows,
            step=steps.critic,
            rng=rng,
            epochs=ppo.critic_epochs,
            minibatch_steps=ppo.minibatch_steps,
            reduce=self._reduce,
        )
