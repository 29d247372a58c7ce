"""Best possible mean returns of Gymnasium's tasks with few states, by dynamic programming over their own tables.

python -m scripts.scores.optima
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import gymnasium as gym

Table = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]  # P[state][action]: outcomes
LIMITS = {"FrozenLake-v1": 100, "Taxi-v4": 200, "CliffWalking-v1": 200}  # steps of an episode
ACE, FACES, MOST = 1, 10, 21
NATURAL = {ACE, FACES}  # two cards that are 21 together
CARDS = {**dict.fromkeys(range(1, 10), 1 / 13), FACES: 4 / 13}  # of a deck without end, as Gymnasium draws
STANDS_AT = 17  # the dealer


def table_optimum(table: Table, first: Mapping[int, float], limit: int) -> float:
    """Return the mean undiscounted return of the best policy, which may look at the step number too.

    first: probability by state in which an episode begins.
    """
    values = dict.fromkeys(table, 0.0)
    for _ in range(limit):
        values = {
            state: max(
                sum(chance * (reward + (0.0 if over else values[after])) for chance, after, reward, over in outcomes)
                for outcomes in actions.values()
            )
            for state, actions in table.items()
        }
    return sum(chance * values[state] for state, chance in first.items())


def optimum_of(task: str) -> float:
    """Return the best possible mean return of a task of LIMITS."""
    environment: Any = gym.make(task).unwrapped
    first = {state: float(chance) for state, chance in enumerate(environment.initial_state_distrib) if chance}
    return table_optimum(environment.P, first, LIMITS[task])


def added(total: int, soft: bool, card: int) -> tuple[int, bool]:
    """Return a hand's sum and whether an ace in it counts 11, after one more card."""
    total += card
    if card == ACE and not soft and total + 10 <= MOST:
        return total + 10, True
    return (total - 10, False) if soft and total > MOST else (total, soft)


@cache
def dealer(total: int, soft: bool) -> Mapping[int, float]:
    """Return the probability of each sum with which the dealer ends; 0 stands for more than 21."""
    if total > MOST:
        return {0: 1.0}
    if total >= STANDS_AT:
        return {total: 1.0}
    return mixed([(chance, dealer(*added(total, soft, card))) for card, chance in CARDS.items()])


def mixed(parts: Sequence[tuple[float, Mapping[int, float]]]) -> Mapping[int, float]:
    """Return the distribution that is each of these with its probability."""
    found: dict[int, float] = {}
    for chance, part in parts:
        for total, share in part.items():
            found[total] = found.get(total, 0.0) + chance * share
    return found


@cache
def hand_value(total: int, soft: bool, shown: int) -> float:
    """Return the mean reward of the best play from here; shown: the dealer's card."""
    if total > MOST:
        return -1.0
    ends = mixed([(chance, dealer(*added(*added(0, False, shown), card))) for card, chance in CARDS.items()])
    stick = sum(chance * ((total > end) - (total < end)) for end, chance in ends.items())
    hit = sum(chance * hand_value(*added(total, soft, card), shown) for card, chance in CARDS.items())
    return max(stick, hit)


def blackjack_optimum() -> float:
    """Return the best possible mean reward of Blackjack-v1 as it is registered (sab=True).

    An ace and a ten win against everything but the dealer's ace and ten, and pay 1 as other hands do.
    """
    total = 0.0
    for first, one in CARDS.items():
        for second, two in CARDS.items():
            for shown, three in CARDS.items():
                if {first, second} == NATURAL:
                    value = 1.0 - sum(CARDS[card] for card in NATURAL if {card, shown} == NATURAL)
                else:
                    value = hand_value(*added(*added(0, False, first), second), shown)
                total += one * two * three * value
    return total


def main() -> None:
    """Print all of them."""
    for task in LIMITS:
        print(f"{task}: {optimum_of(task):.4f}")
    print(f"Blackjack-v1: {blackjack_optimum():.5f}")


if __name__ == "__main__":
    main()
