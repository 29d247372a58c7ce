"""Episodes that an evaluation has played, and their result: records only. Knows no environments."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from dppo.number_text import mean_and_spread
from dppo.protocol.errors import DppoError

RETURN = "return"


@dataclass(frozen=True)
class EvaluationResult:
    """Result of a policy on episodes that it was not trained on."""

    env: str
    policy_version: int
    episodes: int
    deterministic: bool
    mean: float
    std: float  # over episodes
    min: float
    max: float
    returns: tuple[float, ...]  # in the order of the seeds
    lengths: tuple[int, ...]  # steps
    success_rate: float | None = None  # of the episodes that report it; None where the environment does not say
    successes: tuple[bool | None, ...] = ()  # in the order of the seeds
    seed: int = 1
    video: str = ""  # file with the first episodes
    stopped: str = ""  # why there are fewer episodes than were asked for; "": there are not
    asked: int = 0  # episodes
    wrappers: tuple[str, ...] = ()  # of the environment: returns may depend on statistics that they keep
    measure: str = (
        RETURN  # what `returns` are: of episodes like training's, or another measure of the environment's own
    )

    def summary(self) -> str:
        """One line for people."""
        how = "most likely actions" if self.deterministic else "sampled actions"
        episodes = f"{self.episodes} episode{'s' if self.episodes != 1 else ''}"
        if self.stopped:
            episodes = f"{self.episodes} of {self.asked} episodes ({self.stopped})"
        return f"{self.env}, policy version {self.policy_version}, {episodes}, {how}: {self.outcome()}"

    def outcome(self) -> str:
        """Returns, lengths and successes, for people."""
        returns = mean_and_spread(mean=self.mean, std=self.std, low=self.min, high=self.max)
        success = "" if self.success_rate is None else f", success {self.success_rate:.0%}"
        return f"{self.measure} {returns}, mean length {sum(self.lengths) / len(self.lengths):.0f} steps{success}"


class Played(NamedTuple):
    """One episode."""

    episode_return: float
    length: int  # steps
    success: bool | None  # None: not reported


@dataclass
class Tally:
    """The episodes that are over, by their number."""

    env: str = ""
    version: int = 0
    asked: int = 0  # episodes
    whole: int = 0  # the first so many are all over: of a round that breaks off the short ones are, which misleads
    played: dict[int, Played] = field(default_factory=dict)
    film: Literal["", "being written", "written"] = ""  # encoding begins when the last of its frames is there
    wrappers: tuple[str, ...] = ()  # of the environment, as in EvaluationResult
    measure: str = RETURN  # likewise

    def begin(self, env: str, version: int, asked: int) -> None:
        """Note what is about to be played."""
        self.env, self.version, self.asked = env, version, asked

    def wrapped_in(self, wrappers: tuple[str, ...]) -> None:
        """Note the wrappers of the environment that may keep statistics."""
        self.wrappers = wrappers

    def measures(self, what: str) -> None:
        """Note what is added up in an episode."""
        self.measure = what

    def add(self, number: int, played: Played) -> None:
        """Note one that is over."""
        self.played[number] = played

    def film_is(self, state: Literal["being written", "written"]) -> None:
        """Note how far the video is."""
        self.film = state

    def round_over(self, whole: int) -> None:
        """Note that the first so many episodes are over."""
        self.whole = whole

    def result(
        self, *, deterministic: bool = True, seed: int = 1, video: str = "", stopped: str = ""
    ) -> EvaluationResult:
        """Return the result of whole rounds; of single episodes only where no round is whole.

        stopped: why no more were played. Raises DppoError where no episode is over.
        """
        numbers = sorted(number for number in self.played if number < self.asked)
        whole = [number for number in numbers if number < self.whole]
        if stopped and numbers and not whole:
            stopped += "; those that end first"
        played = [self.played[number] for number in (whole or numbers)]
        if not played:
            why = stopped or "nothing was played"
            raise DppoError(
                f"{why}, and no episode was over: does {self.env} end? Limit its episodes, for example with "
                "--env.kwargs '{max_episode_steps: 1000}' when training"
            )
        import numpy as np  # late: a run is started without it

        returns = [episode.episode_return for episode in played]
        reported = [episode.success for episode in played if episode.success is not None]
        return EvaluationResult(
            env=self.env,
            policy_version=self.version,
            episodes=len(returns),
            deterministic=deterministic,
            mean=float(np.mean(returns)),
            std=float(np.std(returns)),
            min=float(np.min(returns)),
            max=float(np.max(returns)),
            returns=tuple(returns),
            lengths=tuple(episode.length for episode in played),
            success_rate=float(np.mean(reported)) if reported else None,
            successes=tuple(episode.success for episode in played),
            seed=seed,
            video=video,
            stopped=stopped if len(played) < self.asked else "",
            asked=self.asked,
            wrappers=self.wrappers,
            measure=self.measure,
        )
