import json
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.protocol.account import OF_ANOTHER_START, Account, DropReason
from dppo.protocol.ledger import MAX_ENDED, Ledger, imbalance
from dppo.protocol.messages import Tally

A, B = b"incarn-a", b"incarn-b"


def books(account: Account) -> dict[str, int]:
    """Where its steps are, without zeros."""
    found = {"sealed": account.sealed, "trained": account.trained, "pending": account.pending, **account.dropped}
    return {name: steps for name, steps in (found | {"in_flight": account.in_flight}).items() if steps}


def test_a_step_is_in_flight_when_its_actor_says_so_then_pending_then_trained() -> None:
    account = Account("a")
    account.observe(Tally(sealed_upto=2, sealed_steps=10))
    assert books(account) == {"sealed": 10, "in_flight": 10}
    account.accept(1, 6, batch=1)
    assert books(account) == {"sealed": 10, "pending": 6, "in_flight": 4}
    account.train(1)
    assert books(account) == {"sealed": 10, "trained": 6, "in_flight": 4}


def test_what_arrives_was_sealed_even_if_nobody_said_so() -> None:
    account = Account("a")
    account.accept(1, 6, batch=1)
    account.refuse(2, 3, "stale")
    assert books(account) == {"sealed": 9, "pending": 6, "stale": 3}


def test_steps_thrown_away_at_a_stop_are_booked_once_however_often_the_actor_says_so() -> None:
    account = Account("a")
    for _ in range(3):
        account.observe(Tally(sealed_upto=1, sealed_steps=9, dropped_steps=4))
    account.accept(1, 5, batch=1)
    assert books(account) == {"sealed": 9, "pending": 5, "stop_partial": 4}


def test_an_older_count_that_arrives_late_changes_nothing() -> None:
    account = Account("a")
    account.observe(Tally(3, 30, 2, 20, 5))
    before = books(account)
    account.observe(Tally(1, 10, 1, 10, 0))
    assert books(account) == before


def test_a_drop_may_be_heard_of_after_later_rollouts_arrived() -> None:
    account = Account("a")
    account.accept(1, 5, batch=1)
    account.accept(2, 5, batch=1)
    account.observe(Tally(1, 9, 0, 0, 4))
    assert books(account) == {"sealed": 14, "pending": 10, "stop_partial": 4}


@pytest.mark.parametrize("seq", [0, 1, 3, 7])
def test_sequence_numbers_neither_skip_nor_repeat(seq: int) -> None:
    account = Account("a", watermark=1)
    with pytest.raises(ValueError, match=f"rollout {seq} of a after 1"):
        account.accept(seq, 5, batch=1)
    with pytest.raises(ValueError, match="must not skip"):
        account.refuse(seq, 5, "stale")
    assert books(account) == {}


def test_what_a_dead_learner_had_accepted_is_the_difference_to_what_the_actor_was_told() -> None:
    account = Account("a", watermark=2, sealed=20, trained=15, dropped=Counter(stale=5))
    lost = account.reconcile(Tally(sealed_upto=5, sealed_steps=50, acked_upto=4, acked_steps=38))
    assert lost == 18
    assert account.watermark == 4
    assert books(account) == {"sealed": 50, "trained": 15, "stale": 5, "learner_crash": 18, "in_flight": 12}


def test_what_the_actor_dropped_at_a_stop_is_not_mistaken_for_what_a_learner_disposed_of() -> None:
    account = Account("a")
    assert account.reconcile(Tally(3, 40, 3, 30, 10)) == 30
    assert books(account) == {"sealed": 40, "learner_crash": 30, "stop_partial": 10}


def test_a_learner_that_knows_more_than_the_actor_was_told_loses_nothing() -> None:
    account = Account("a")
    account.accept(1, 5, batch=1)
    assert account.reconcile(Tally(sealed_upto=2, sealed_steps=9)) == 0
    assert account.watermark == 1
    assert books(account) == {"sealed": 9, "pending": 5, "in_flight": 4}


def test_reconciling_twice_books_once() -> None:
    account = Account("a")
    tally = Tally(5, 50, 4, 38)
    assert [account.reconcile(tally), account.reconcile(tally)] == [38, 0]
    assert account.dropped["learner_crash"] == 38


def test_closing_books_what_is_in_flight_and_folds_the_account() -> None:
    ledger = Ledger()
    account = ledger.open(A, "a")
    account.observe(Tally(2, 10))
    account.accept(1, 6, batch=1)
    ledger.train(1)
    ledger.close(A, "actor_lost")
    assert ledger.accounts == {}
    assert books(ledger.closed) == {"sealed": 10, "trained": 6, "actor_lost": 4}
    assert ledger.closed_incarnations == 1


def test_a_closed_account_with_steps_in_the_batch_stays_until_they_are_trained() -> None:
    ledger = Ledger()
    ledger.open(A, "a").accept(1, 6, batch=1)
    ledger.close(A, "actor_lost")
    assert A in ledger.accounts
    ledger.train(1)
    assert ledger.accounts == {}
    assert books(ledger.total()) == {"sealed": 6, "trained": 6}


def test_dropping_the_batch_books_it_under_the_reason() -> None:
    ledger = Ledger()
    ledger.open(A, "a").accept(1, 6, batch=1)
    ledger.open(B, "b").accept(1, 4, batch=1)
    ledger.drop_pending("learner_crash")
    assert books(ledger.total()) == {"sealed": 10, "learner_crash": 10}


def test_withdrawn_steps_are_dropped_and_the_rest_of_the_batch_is_trained() -> None:
    ledger = Ledger()
    for number, key in enumerate((b"one", b"two")):
        ledger.open(key, f"actor-{number}").accept(1, 10, batch=7)
    ledger.close(b"two", "actor_lost")
    ledger.withdraw(b"two", 10, batch=7)
    assert b"two" not in ledger.accounts, "nothing of it is pending any more"
    ledger.train(7)
    total = ledger.total()
    assert (total.trained, total.dropped["unfinished"], total.pending, total.in_flight) == (10, 10, 0, 0)


def test_an_account_is_found_again_by_its_incarnation_not_by_its_name() -> None:
    ledger = Ledger()
    first = ledger.open(A, "a")
    assert ledger.open(A, "a") is first
    assert ledger.open(B, "a") is not first


def test_written_off_steps_are_in_flight_again_when_the_actor_comes_back() -> None:
    ledger = Ledger()
    account = ledger.open(A, "a")
    account.observe(Tally(3, 30))
    account.accept(1, 10, batch=1)
    ledger.train(1)
    ledger.write_off(A)
    ledger.write_off(A)
    assert books(ledger.total()) == {"sealed": 30, "trained": 10, "actor_lost": 20}
    resumed = Ledger.from_state(json.loads(json.dumps(ledger.to_state())))
    assert resumed.accounts[A].reconcile(Tally(3, 30, 1, 10)) == 0
    assert books(resumed.total()) == {"sealed": 30, "trained": 10, "in_flight": 20}


def test_closed_incarnations_are_remembered_also_by_the_next_learner_but_not_endlessly_many() -> None:
    ledger = Ledger()
    for number in range(MAX_ENDED + 10):
        incarnation = number.to_bytes(8, "big")
        ledger.open(incarnation, "a")
        ledger.close(incarnation, "shutdown")
    assert len(ledger.ended) == MAX_ENDED
    assert (0).to_bytes(8, "big") not in ledger.ended
    resumed = Ledger.from_state(json.loads(json.dumps(ledger.to_state())))
    assert list(resumed.ended) == list(ledger.ended)
    assert resumed.closed_incarnations == MAX_ENDED + 10


def test_the_total_is_the_sum_over_closed_and_open_accounts() -> None:
    ledger = Ledger()
    ledger.open(A, "a").accept(1, 6, batch=1)
    ledger.accounts[A].duplicates = 2
    ledger.train(1)
    ledger.close(A, "shutdown")
    ledger.open(B, "b").refuse(1, 4, "invalid")
    ledger.accounts[B].duplicates = 1
    total = ledger.total()
    assert books(total) == {"sealed": 10, "trained": 6, "invalid": 4}
    assert total.duplicates == 3


def test_an_account_that_does_not_close_is_named_with_its_figures() -> None:
    assert imbalance([Account("good", sealed=5, trained=5)]) == ""
    for bad in (
        Account("bad", sealed=5, trained=6),
        Account("bad", sealed=5, waiting=Counter({1: -1})),
        Account("bad", sealed=5, dropped=Counter({"nobody knows why": 5})),
    ):
        text = imbalance([Account("good"), bad])
        assert text.startswith("bad: sealed 5 is not")
        assert "\n" not in text


reasons = st.sampled_from(get_args(DropReason))
numbers = st.integers(0, 1000)
accounts = st.builds(
    Account,
    actor=st.sampled_from(["a", "b"]),
    watermark=numbers,
    sealed=numbers,
    trained=numbers,
    waiting=st.integers(1, 1000).map(lambda steps: Counter({OF_ANOTHER_START: steps})) | st.builds(Counter),
    dropped=st.dictionaries(reasons, st.integers(1, 1000)).map(Counter),
    duplicates=numbers,
    missing=numbers,
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.dictionaries(st.binary(min_size=8, max_size=8), accounts, max_size=4), accounts)
def test_a_ledger_is_the_same_after_a_checkpoint(open_accounts: dict[bytes, Account], closed: Account) -> None:
    ledger = Ledger()
    ledger.accounts, ledger.closed = open_accounts, closed
    resumed = Ledger.from_state(json.loads(json.dumps(ledger.to_state())))
    assert resumed.accounts == ledger.accounts
    assert resumed.closed == ledger.closed
    assert resumed.to_state() == ledger.to_state()
