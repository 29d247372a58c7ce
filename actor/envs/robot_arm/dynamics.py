"""A planar arm of two links that shall hold its finger in a goal: motion, observations and rewards of E arms at once.

Knows arrays; knows no Gymnasium and no drawing. A single arm is the case E = 1, so that both versions of the
environment agree bit for bit. Positions are in pixels of a 400 x 400 window, x to the right and y up. The dimensions
are those of the arm in MorvanZhou's DPPO tutorial.
"""

from typing import Literal, NamedTuple

import numpy as np

from dppo.protocol.errors import UsageError

Mode = Literal["easy", "hard"]
Reward = Literal["hold", "tutorial"]
MODES: tuple[Mode, ...] = ("easy", "hard")
REWARDS: tuple[Reward, ...] = ("hold", "tutorial")

WINDOW = 400.0
BASE = WINDOW / 2  # x and y of the first joint
LINK = 100.0  # length of each link
REACH = 2 * LINK
TURN_RADIANS = 0.1  # what a joint turns in one step at an action of 1
GOAL_BOX = 40.0  # edge of the box that is drawn
GOAL_RADIUS = 15.0  # of the circle that is tested
EASY_GOAL = (250.0, 303.0)
HARD_RADIUS = REACH - GOAL_BOX / 2  # of the disc of hard goals: all of it can be reached, and each box seen whole
HOLD_STEPS = 51  # consecutive steps in the goal that are a success; in the tutorial, "more than 50"
TUTORIAL_BONUS = 10.0


class Arms(NamedTuple):
    """The whole state of E arms."""

    angles: np.ndarray  # [E, 2] float64, radians in [0, 2 pi), both from the x axis: the second is not relative
    goals: np.ndarray  # [E, 2] float64
    held_steps: np.ndarray  # [E] int64; how many steps in a row the finger has been in the goal
    succeeded: np.ndarray  # [E] bool; held for HOLD_STEPS at some time in this episode


class Posture(NamedTuple):
    """Positions of the parts of E arms; follow from their state."""

    elbows: np.ndarray  # [E, 2] end of the first link
    fingers: np.ndarray  # [E, 2] end of the second link
    distances: np.ndarray  # [E] from finger to goal
    inside: np.ndarray  # [E] bool; the finger is in the goal


def check_task(mode: str, reward: str) -> tuple[Mode, Reward]:
    """The two names as the types they must have. Raises UsageError."""
    for name, value, known in (("mode", mode, MODES), ("reward", reward, REWARDS)):
        if value not in known:
            raise UsageError(f"RobotArm-v0 has no {name} {value!r}: choose {' or '.join(known)}")
    return mode, reward  # type: ignore[return-value]  # checked just above


def check_goal(goal: object) -> np.ndarray:
    """A goal position [2] float64. Raises ValueError for what the arm cannot reach."""
    position = np.asarray(goal, np.float64)
    if position.shape != (2,) or not np.hypot(*(position - BASE)) <= REACH:
        raise ValueError(
            f"goal={goal!r} is out of reach: give x and y in pixels, at most {REACH:g} from ({BASE:g}, {BASE:g})"
        )
    return position


def draw_start(generator: np.random.Generator, mode: Mode) -> tuple[np.ndarray, np.ndarray]:
    """Angles [2] and goal [2] of a new episode. Hard goals are uniform on a disc, in area."""
    angles = generator.uniform(0, 2 * np.pi, 2)
    if mode == "easy":
        return angles, np.array(EASY_GOAL)
    area, direction = generator.random(2)
    radius = HARD_RADIUS * np.sqrt(area)
    return angles, BASE + radius * np.array([np.cos(2 * np.pi * direction), np.sin(2 * np.pi * direction)])


def at_rest(angles: np.ndarray, goals: np.ndarray) -> Arms:
    """Arms [E] at the start of their episodes."""
    return Arms(angles, goals, np.zeros(len(angles), np.int64), np.zeros(len(angles), bool))


def posture(arms: Arms) -> Posture:
    """Forward kinematics: the angles of both links are from the x axis, so the links simply add up."""
    links = np.empty((len(arms.angles), 2, 2))  # [arm, link, xy]
    np.cos(arms.angles, out=links[..., 0])
    np.sin(arms.angles, out=links[..., 1])
    links *= LINK
    elbows = links[:, 0] + BASE
    fingers = elbows + links[:, 1]
    away = fingers - arms.goals
    distances = np.hypot(away[:, 0], away[:, 1])
    return Posture(elbows, fingers, distances, distances < GOAL_RADIUS)


def turn(arms: Arms, actions: np.ndarray) -> tuple[Arms, Posture]:
    """One step: actions [E, 2] in -1..1 (clipped) turn the joints by up to TURN_RADIANS."""
    angles = np.mod(arms.angles + np.clip(actions.astype(np.float64), -1, 1) * TURN_RADIANS, 2 * np.pi)
    now = posture(arms._replace(angles=angles))
    held_steps = np.where(now.inside, arms.held_steps + 1, 0)
    return Arms(angles, arms.goals, held_steps, arms.succeeded | (held_steps >= HOLD_STEPS)), now


def hold_progress(held_steps: np.ndarray) -> np.ndarray:
    """[E] in 0..1; 1 once the goal has been held for long enough."""
    progress: np.ndarray = np.minimum(held_steps, HOLD_STEPS) / HOLD_STEPS
    return progress


def rewards_of(reward: Reward, arms: Arms, now: Posture) -> np.ndarray:
    """[E] float64, for the step that led to `arms`.

    hold: -distance / 200, and in the goal 1/2 plus half the hold progress besides. An arm in the goal gets, by
    staying, in each later step at least what any other way could get there, so leaving never pays.

    tutorial: -distance / 200, and 1 besides in each of the first 51 consecutive steps in the goal, 10 more in the last
    of them, and nothing after it. Leaving and coming back is paid again and again: kept to compare with.
    """
    if reward == "hold":
        paid = np.where(now.inside, (1 + hold_progress(arms.held_steps)) / 2, 0.0)
    else:
        counting = now.inside & (arms.held_steps <= HOLD_STEPS)
        paid = counting + TUTORIAL_BONUS * (arms.held_steps == HOLD_STEPS)
    rewards: np.ndarray = paid - now.distances / REACH
    return rewards


def observation_bounds(reward: Reward) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest observation, float32, for any goal in the window."""
    high = np.array([1, 1.5, 1.5, 2, 2, 1, 1, 1], np.float32)
    low = np.array([0, -1.5, -1.5, -2, -2, -1, -1, 0], np.float32)
    width = _width(reward)
    return low[:width], high[:width]


def observe(reward: Reward, arms: Arms, now: Posture) -> np.ndarray:
    """[E, 8] float32: in the goal or not, from elbow, finger and base to the goal in units of 200, hold progress.

    With the tutorial's reward [E, 7]: the progress, on which that reward depends, stays hidden as it was there.
    """
    observations = np.empty((len(arms.angles), 8), np.float32)
    observations[:, 0] = now.inside
    observations[:, 1:3] = (arms.goals - now.elbows) / REACH
    observations[:, 3:5] = (arms.goals - now.fingers) / REACH
    observations[:, 5:7] = (arms.goals - BASE) / REACH
    observations[:, 7] = hold_progress(arms.held_steps)
    return np.ascontiguousarray(observations[:, : _width(reward)])


def _width(reward: Reward) -> int:
    return 8 if reward == "hold" else 7
