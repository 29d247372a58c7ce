"""One update written down naively, with PyTorch's own optimizers and distributions: the oracle for the trainer."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.trainer import Trainer
from dppo.protocol.rollout import Segment

TUTORIAL_NETWORK = NetworkConfig(
    policy_hidden=(20,),
    critic_hidden=(12,),
    activation="relu",
    initialisation="glorot",
    mean="tanh",
    mean_scale=2.0,
    std="state",
    initial_log_std=math.log(math.log(2)),
    normalise_observations=False,
)
TUTORIAL = PpoConfig(
    gamma=0.9,
    gae_lambda=1.0,
    reward_offset=8.0,
    reward_scale=0.125,
    epochs=10,
    critic_epochs=7,
    minibatch_steps=0,
    learning_rate=1e-3,
    critic_learning_rate=2e-3,
    adam_epsilon=1e-8,
    value_coefficient=2.0,
    max_grad_norm=0.0,
    normalise_advantages="none",
    normalise_values=False,
)
PENALTY = replace(TUTORIAL, surrogate="kl_penalty", kl_hinge=20.0, target_kl=1e-3)


class Naive:
    """One update as the tutorial has it, a row at a time where that is possible."""

    def __init__(self, trainer: Trainer, ppo: PpoConfig, batch: list[Received]) -> None:
        self.policy, self.critic, self.ppo = trainer.policy, trainer.critic, ppo
        rows = [row for rollout in batch for row in self._rows(rollout.segment)]
        self.observations, self.actions, self.returns = (torch.stack(column) for column in zip(*rows, strict=True))
        with torch.no_grad():
            self.advantages = self.returns - self.critic(self.observations)
            self.old = self._distribution()
            self.old_log_probs = self.old.log_prob(self.actions)

    def _rows(self, segment: Segment) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(observation, action, discounted return to the end of the segment, bootstrapped there) of each step."""
        ppo, observations = self.ppo, torch.from_numpy(segment.observations["observation"])
        finals = dict(zip(zip(*np.nonzero(segment.truncated), strict=True), range(10**6), strict=False))
        rows = []
        with torch.no_grad():
            for e in range(segment.rewards.shape[1]):
                later = self.critic(observations[-1, e : e + 1])[0]
                for t in range(len(segment.rewards) - 1, -1, -1):
                    if segment.terminated[t, e]:
                        later = torch.zeros(())
                    if segment.truncated[t, e]:
                        final = torch.from_numpy(segment.final_observations["observation"][finals[t, e]])
                        later = self.critic(final[None])[0]
                    reward = segment.rewards[t, e]
                    if ppo.terminal_reward is not None and segment.terminated[t, e]:
                        reward = ppo.terminal_reward
                    later = (reward + ppo.reward_offset) * ppo.reward_scale + ppo.gamma * later
                    action = torch.from_numpy(np.asarray(segment.actions["action"][t, e]))
                    rows.append((observations[t, e], action, later))
        return rows

    def _distribution(self) -> torch.distributions.Distribution:
        outputs = self.policy.body(self.observations)
        if self.policy.layout.kind == "categorical":
            return torch.distributions.Categorical(logits=outputs)
        std = torch.nn.functional.softplus(outputs[:, 1:]) + 1e-3
        return torch.distributions.Independent(torch.distributions.Normal(2 * torch.tanh(outputs[:, :1]), std), 1)

    def update(self, coefficient: float) -> float:
        """Returns KL(old || new)."""
        ppo = self.ppo
        actor = torch.optim.Adam(self.policy.parameters(), lr=ppo.learning_rate, eps=ppo.adam_epsilon)
        critic = torch.optim.Adam(self.critic.parameters(), lr=ppo.critic_learning_rate, eps=ppo.adam_epsilon)
        for _ in range(ppo.epochs):
            new = self._distribution()
            ratio = (new.log_prob(self.actions) - self.old_log_probs).exp()
            if ppo.surrogate == "clip":
                clipped = ratio.clamp(1 - ppo.clip_range, 1 + ppo.clip_range)
                loss = -torch.minimum(ratio * self.advantages, clipped * self.advantages).mean()
            else:
                kl = torch.distributions.kl_divergence(self.old, new).mean()
                loss = -(ratio * self.advantages).mean() + coefficient * kl
                loss = loss + ppo.kl_hinge * (kl - 2 * ppo.target_kl).clamp(min=0) ** 2
            actor.zero_grad()
            loss.backward()
            actor.step()
        for _ in range(ppo.critic_epochs):
            critic.zero_grad()
            loss = (self.returns - self.critic(self.observations)).square().mean()
            loss.backward()
            critic.step()
        with torch.no_grad():
            return torch.distributions.kl_divergence(self.old, self._distribution()).mean().item()
