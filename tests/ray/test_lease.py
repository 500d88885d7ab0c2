"""Leases of a cluster: who has one, which token it bears, and when a cluster is idle."""

import pytest

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.ray import lease
from f.flexcore.lib.ray.lease import LeaseBook, Owner


def owner(name: str, root: str = "root") -> Owner:
    return Owner(f"fc-{name}", f"flow-{name}", root, "a", "dev")


def key(name: str, step: str = "b", root: str = "root") -> identity.ExecutionKey:
    return identity.ExecutionKey(f"fc-{name}-{step}", f"flow-{name}", root, step, "dev")


def test_each_new_lease_bears_a_higher_token_than_all_before() -> None:
    book, tokens = LeaseBook(), []
    for name in "abc":
        change = lease.acquire(book, owner(name), now=10)
        assert change.lease
        tokens.append(change.lease.token)
        book = lease.release(change.book, change.lease.reference, now=11).book
    assert tokens == [1, 2, 3]


def test_a_repeat_of_the_same_execution_renews_its_lease_and_keeps_its_token() -> None:
    first = lease.acquire(LeaseBook(), owner("a"), now=10)
    again = lease.acquire(first.book, owner("a"), now=50, duration_s=7)
    assert again.lease and first.lease
    assert again.lease.token == first.lease.token
    assert again.lease.deadline == 57
    assert len(again.book.leases) == 1


def test_the_cluster_is_idle_from_the_end_of_the_last_lease() -> None:
    book = lease.acquire(LeaseBook(), owner("a"), now=10, keep_idle_s=60).book
    book = lease.acquire(book, owner("b"), now=11, keep_idle_s=5).book
    one, two = book.leases
    book = lease.release(book, one.reference, now=20).book
    assert book.delete_after is None
    book = lease.release(book, two.reference, now=30).book
    assert (book.idle_since, book.delete_after) == (30, 90)
    assert lease.acquire(book, owner("c"), now=40).book.delete_after is None


def test_a_release_of_an_older_lease_does_not_end_a_newer_one_of_the_same_holder() -> None:
    first = lease.acquire(LeaseBook(), owner("a"), now=1)
    assert first.lease
    ended = lease.release(first.book, first.lease.reference, now=2).book
    second = lease.acquire(ended, owner("a"), now=3)
    late = lease.release(second.book, first.lease.reference, now=4)
    assert late.lease is None
    assert late.book == second.book


def test_a_heartbeat_of_a_lease_that_was_ended_is_refused() -> None:
    change = lease.acquire(LeaseBook(), owner("a"), now=1)
    assert change.lease
    renewed = lease.renew(change.book, change.lease.reference, now=9)
    assert renewed.lease and renewed.lease.renewed == 9
    ended = lease.release(change.book, change.lease.reference, now=10).book
    with pytest.raises(errors.Conflict, match="has ended") as caught:
        lease.renew(ended, change.lease.reference, now=11)
    assert caught.value.category == "lease_ended"


def test_a_clock_that_goes_back_takes_nothing_from_a_lease() -> None:
    change = lease.acquire(LeaseBook(), owner("a"), now=100)
    assert change.lease
    assert lease.renew(change.book, change.lease.reference, now=40).lease == change.lease


def test_a_release_without_a_lease_means_the_newest_of_its_own_flow() -> None:
    book = LeaseBook()
    for name in ("a", "b"):
        book = lease.acquire(book, owner(name), now=1).book
    found = lease.find_of_flow(book, key("a"))
    assert found and found.owner == owner("a")
    # A subflow has another flow job and the same root.
    found = lease.find_of_flow(book, key("sub"))
    assert found and found.owner == owner("b")
    assert lease.find_of_flow(book, key("x", root="other")) is None


def test_more_leases_than_can_be_kept_are_refused() -> None:
    book = LeaseBook()
    for number in range(lease.MAX_LEASES):
        book = lease.acquire(book, owner(str(number)), now=1).book
    with pytest.raises(errors.Unavailable, match="200 leases already"):
        lease.acquire(book, owner("one-more"), now=1)
    assert lease.acquire(book, owner("0"), now=2).lease


def test_a_book_is_read_as_it_was_written() -> None:
    book = lease.acquire(LeaseBook(), owner("a"), now=1.5, keep_idle_s=3).book
    assert lease.parse(lease.dump(book)) == book


@pytest.mark.parametrize("stored", ["", "{}", "[]", '{"leases": [{}]}', None, '{"leases": 3, "last_token": 1}'])
def test_a_damaged_book_is_an_error_and_never_an_empty_one(stored: object) -> None:
    with pytest.raises(errors.DataError, match="cannot be read"):
        lease.parse(stored)
