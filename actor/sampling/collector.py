"""Steps the environments with the policy and cuts what happened into segments. Knows no sockets and no learner."""

from collections.abc import Callable
from time import perf_counter

from dppo.actor.envs.crash_recovery import CrashRecovery
from dppo.actor.envs.interface import Crash, Environments
from dppo.actor.sampling.carried_state import CarriedState
from dppo.actor.sampling.episode_stats import Episodes
from dppo.actor.sampling.noise import NoiseStream
from dppo.actor.sampling.policy_groups import PolicyGroups, in_groups
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.actor.sampling.segment_builder import OpenSegment
from dppo.actor.watchdog.activity import Activity
from dppo.protocol.rollout import Segment

FIRST_CAPACITY = 128  # rows
MOST_CAPACITY = 1024  # rows that a segment has room for at its start; it grows from there


class Collector:
    """E environments, the policy that acts in them, and the segment that is open.

    The environments run on across segments and policy versions: a segment starts at the observation that the one before
    ended with. They are reset when this object is made, which is before the first policy has arrived.
    """

    def __init__(
        self,
        environments: Environments,
        *,
        seed: int,
        first_slot: int,
        life: int,
        on_crash: Callable[[Crash], None] = lambda crash: None,
        activity: Activity | None = None,
    ) -> None:
        """on_crash: called with every crash, before the environment is made again.

        activity: notes when the environments are at work. Raises DppoError where they cannot be reset.
        """
        self.env_seconds = 0.0  # spent in environments; the reader sets it back to 0
        self.policy_seconds = 0.0  # spent on noise and policy, likewise
        self._environments = environments
        self._seed, self._first_slot, self._life = seed, first_slot, life
        self._runner: PolicyRunner | PolicyGroups | None = None
        self._noise: NoiseStream | None = None
        self._carried: CarriedState | None = None  # by a policy with a memory, or stacked frames
        self._activity = activity or Activity()
        self._recovery = CrashRecovery(
            environments, seed=seed, first_slot=first_slot, life=life, on_crash=on_crash, activity=self._activity
        )
        self._observations = self._recovery.first_observations()
        self._open = OpenSegment(environments.spec, environments.envs, FIRST_CAPACITY, self._observations)
        self._episodes = Episodes(environments.envs, len(environments.spec.metrics))
        self._capacity = FIRST_CAPACITY  # of the next segment

    @property
    def rows(self) -> int:
        """Rows in the open segment."""
        return self._open.rows

    @property
    def steps(self) -> int:
        """Environment steps in the open segment: resets are none."""
        return self._open.steps

    @property
    def envs(self) -> int:
        """Environments, E."""
        return self._environments.envs

    @property
    def ended_episode(self) -> bool:
        """Whether the newest row of the open segment ended an episode."""
        last = self.rows - 1
        return last >= 0 and bool(self._open.terminated[last].any() or self._open.truncated[last].any())

    def load(self, runner: PolicyRunner, rows: int = FIRST_CAPACITY) -> None:
        """Act with this policy from the next step on. A segment has one policy version, so cut the open one first.

        rows: that segments will have.
        """
        if self.rows:
            raise ValueError(f"cut the open segment of {self.rows} rows before loading version {runner.version}")
        noise = self._noise
        if noise is None or (noise.kind, noise.size) != (runner.noise_kind, runner.noise_size):
            self._noise = NoiseStream(
                self._seed,
                first_slot=self._first_slot,
                envs=self._environments.envs,
                life=self._life,
                kind=runner.noise_kind,
                size=runner.noise_size,
            )
        if runner.carried != (self._carried.leaves if self._carried else ()):
            self._carried = CarriedState(self._environments.envs, runner.carried) if runner.carried else None
        self._runner = in_groups(runner, first_slot=self._first_slot, envs=self._environments.envs)
        self._capacity = min(rows, MOST_CAPACITY)

    def step(self) -> None:
        """One step of all environments: noise, policy, environments, record."""
        if self._runner is None or self._noise is None:
            raise ValueError("load a policy before the first step")
        start = perf_counter()
        given, carried = self._observations, self._carried
        if carried is not None:
            if not self._open.rows:
                self._open.states = carried.before(given)
            given = {**given, **carried.given}
        actions, env_action, log_probs = self._runner.act(given, self._noise.next())
        acted = perf_counter()
        activity = self._activity
        activity.turns += 1
        activity.what = "env.step"
        step = self._environments.step(env_action)
        if step.crashes or not self._recovery.is_finite(step):
            step, lost = self._recovery.mended(step)
            for column in lost:
                self._open.truncate_column(column)
        activity.what = ""
        stepped = perf_counter()
        self.policy_seconds += acted - start
        self.env_seconds += stepped - acted
        self._open.record(actions, log_probs, step)
        self._observations = step.observations
        if carried is not None:
            carried.after(self._runner.after, step)
        if self._noise.heeds_episodes:
            self._noise.after(step)

    def cut(self, *, keep_resets: bool = False) -> Segment | None:
        """End the open segment and hand it out; its arrays are the caller's. None where it has no valid step.

        Rows that are all resets are discarded: they carry no reward and no end of an episode, and the next segment
        starts at the observation after them. keep_resets: hand them out too, where rows are counted.
        """
        rows = self._open
        segment = rows.segment(self._episodes) if rows.steps or (keep_resets and rows.rows) else None
        if segment is None:
            for _, column in rows.crashed_cells:
                self._episodes.forget_column(column)
            rows.restart(self._observations)
        else:
            spec, envs = self._environments.spec, self._environments.envs
            self._open = OpenSegment(spec, envs, self._capacity, self._observations)
        return segment

    def discard(self) -> int:
        """End the open segment and throw it away. Returns its steps; the next segment reports its ended episodes."""
        segment = self.cut()
        if segment is None:
            return 0
        self._episodes.tell_later(segment)
        return segment.steps
