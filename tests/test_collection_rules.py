"""Collection rules alone: peers, quotas and clock readings, without a session."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.learner.session.collection_rule import CollectionRule, Minimum, collection_rule
from dppo.learner.session.even_shares import EvenShares
from dppo.learner.session.records import Note, Peer, PeerKey, Quota, Settings
from dppo.learner.session.slots import Slots
from dppo.protocol.account import Account
from dppo.protocol.messages import EnvSettings
from dppo.protocol.rollout import Segment

GRACE_SECONDS = 2.0
BATCH_STEPS = 40
SETTINGS = Settings("run", 1, EnvSettings("Env-v0"), 4, BATCH_STEPS, 0, 0, "keep", 10.0, GRACE_SECONDS)


def peer(name: str, *, envs: int = 2, share: int = 10, rows: int = 0, in_split: bool = True) -> Peer:
    """A peer that acts under the newest policy."""
    quota = Quota(share=share, rows=rows, is_in_split=in_split)
    account = Account(name)
    slots = Slots(0, envs, 0)
    return Peer(
        PeerKey(name.encode()), name, name.encode(), slots, account, 0.0, ready=True, stopped=False, quota=quota
    )


def segment(*, terminated: bool = False, truncated: bool = False) -> Segment:
    ones = np.ones((1, 1), np.float32)
    ends, cut = np.full((1, 1), terminated), np.full((1, 1), truncated)
    none = np.zeros(0, np.float32)
    return Segment({}, {}, {}, {}, ones, ones, ends, cut, np.ones((1, 1), bool), {}, none, none, none, none)


def even(*, cuts_at_episode_end: bool = False) -> EvenShares:
    rule = EvenShares(BATCH_STEPS, grace_seconds=GRACE_SECONDS, cuts_at_episode_end=cuts_at_episode_end)
    rule.begin(0.0)
    return rule


RULES: tuple[CollectionRule, ...] = (Minimum(BATCH_STEPS), even())
rules = pytest.mark.parametrize("rule", RULES, ids=("minimum", "even shares"))


def test_settings_choose_the_rule() -> None:
    assert collection_rule(SETTINGS) == Minimum(BATCH_STEPS)
    assert collection_rule(replace(SETTINGS, stop_at_episode_end=True)) == Minimum(BATCH_STEPS, True)
    assert isinstance(collection_rule(replace(SETTINGS, rule="even_shares")), EvenShares)
    both = collection_rule(replace(SETTINGS, rule="even_shares", stop_at_episode_end=True))
    assert both.share(7) == 7
    assert both.cuts_at_episode_end


# Both rules


@rules
def test_what_stop_cuts_is_accepted_and_what_an_actor_sends_beyond_it_is_not(rule: CollectionRule) -> None:
    assert rule.accepts(Quota(), 10**6, 1)
    assert rule.accepts(Quota(last=3), 3, 1)
    assert not rule.accepts(Quota(last=3), 4, 1)


@rules
def test_no_batch_is_full_before_it_has_its_steps(rule: CollectionRule) -> None:
    peers = [peer("a", rows=10), peer("b", rows=10)]
    assert not rule.is_full(BATCH_STEPS - 1, peers)
    assert rule.is_full(BATCH_STEPS, peers)


@pytest.mark.parametrize("at_episode_end", [False, True])
@pytest.mark.parametrize("make", [Minimum, lambda steps, cuts: even(cuts_at_episode_end=cuts)], ids=["minimum", "even"])
def test_an_episode_that_ends_fills_the_batch_only_where_that_is_asked_for(make: type, at_episode_end: bool) -> None:
    rule: CollectionRule = make(BATCH_STEPS, at_episode_end)
    assert rule.cuts_at_episode_end is at_episode_end
    assert rule.is_full_with(segment(terminated=True)) is at_episode_end
    assert rule.is_full_with(segment(truncated=True)) is at_episode_end
    assert not rule.is_full_with(segment())


# Minimum


def test_under_the_minimum_rule_no_actor_has_a_share_or_is_waited_for() -> None:
    rule = Minimum(BATCH_STEPS)
    slow = peer("slow", share=rule.share(10))
    assert slow.quota.share == 0
    assert not slow.quota.is_exhausted
    assert rule.is_full(BATCH_STEPS, [slow, peer("fast", share=0, rows=40)])
    assert rule.another_round(1, [slow]) == ()
    assert rule.excuse_late([slow], 1e6) == []
    assert not rule.is_given_up(slow)
    assert not rule.accepts_resets_alone


# Even shares


def test_with_even_shares_the_batch_waits_for_all_among_which_it_was_divided() -> None:
    rule = even()
    owing, done = peer("owing", rows=9), peer("done", rows=10)
    assert not rule.is_full(BATCH_STEPS, [owing, done])
    assert rule.is_full(BATCH_STEPS, [peer("later", rows=9, in_split=False), done])
    owing.quota.is_excused = True
    assert rule.is_full(BATCH_STEPS, [owing, done])


def test_a_peer_that_does_not_act_owes_nothing() -> None:
    stopped = peer("stopped")
    stopped.stopped = True
    assert even().is_full(BATCH_STEPS, [stopped, peer("done", rows=10)])


def test_what_is_missing_is_divided_once_all_shares_are_in() -> None:
    rule = even()
    a, b = peer("a", rows=10), peer("b", rows=9)
    assert rule.another_round(30, [a, b]) == ()
    b.quota.rows = 11  # a segment may have rows more than were left of the share
    assert rule.another_round(30, [a, b]) == [(a, 13), (b, 14)]  # 10 steps of 4 environments: 3 rows each
    assert (a.quota.share, b.quota.share) == (10, 10), "the rule says it, the cycle does it"
    assert rule.another_round(BATCH_STEPS, [a, b]) == ()


def test_one_that_stands_in_the_way_of_the_others_is_excused_after_the_grace_and_given_up_the_second_time() -> None:
    rule, now = even(), 0.0
    late, done = peer("late"), peer("done")
    given_up: list[bool] = []
    for _ in range(2):
        rule.begin(now)
        done.quota = Quota(share=10, rows=10, is_in_split=True)
        late.quota = Quota(share=10, rows=4, is_in_split=True, delivered_at=now)
        rule.share_delivered(done, now)
        assert rule.excuse_late([late, done], now + GRACE_SECONDS / 2) == []
        (note,) = rule.excuse_late([late, done], now + 1.1 * GRACE_SECONDS)
        assert isinstance(note, Note)
        assert note.text.startswith("late has delivered 4 of its 10 rows")
        assert late.quota.is_excused
        given_up.append(rule.is_given_up(late))
        now += 1000.0  # the allowance for waits in vain grows back meanwhile
    assert given_up == [False, True]
    assert not rule.is_given_up(done)


def test_nobody_is_late_while_none_stands_still() -> None:
    rule = even()
    a, b = peer("a", rows=9), peer("b", rows=1)
    assert rule.excuse_late([a, b], 1e6) == []
    assert not a.quota.is_excused


@given(
    envs=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    batch_steps=st.integers(1, 500),
    resets=st.lists(st.integers(0, 2), max_size=40),
)
def test_rounds_fill_the_batch_and_ask_all_for_the_same_rows(
    envs: list[int], batch_steps: int, resets: list[int]
) -> None:
    """Actors deliver exactly what they are asked for; in each round some rows of theirs are resets."""
    rule = EvenShares(batch_steps, grace_seconds=GRACE_SECONDS)
    rule.begin(0.0)
    share = rule.share(-(-batch_steps // sum(envs)))
    peers = [peer(f"{number}", envs=count, share=share) for number, count in enumerate(envs)]
    steps, rounds, lost = 0, 0, 0
    while True:
        for one in peers:
            rows = one.quota.share - one.quota.rows
            reset_rows = min(rows, resets[rounds]) if rounds < len(resets) else 0
            one.quota.rows += rows
            steps += (rows - reset_rows) * one.slots.envs
            lost += reset_rows
            rule.share_delivered(one, float(rounds))
            is_full = rule.is_full(steps, peers)
            assert is_full == (steps >= batch_steps and all(peer.quota.is_exhausted for peer in peers))
        if is_full:
            break
        for one, more in rule.another_round(steps, peers):
            one.quota.share = more
        rounds += 1
        assert rounds <= len(resets) + 1, "without resets no round is needed"
    assert len({one.quota.rows for one in peers}) == 1
    assert peers[0].quota.rows <= share + lost + rounds
