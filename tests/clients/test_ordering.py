"""A user's events in order: played against every way in which they can come late."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from wallet_client.events import Event, Unknown
from wallet_client.ordering import InOrder

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def event(sequence: int, subject: str = "ann", partition: int = 0) -> Event:
    ident = f"{subject}-{sequence}"
    return Event(ident, "x", subject, WHEN, sequence, "c", None, Unknown({}), partition, sequence)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def numbers(events: list[Event] | None) -> list[int]:
    return [event.sequence for event in events or []]


@given(
    st.permutations([(user, n) for user in ("ann", "bob") for n in range(1, 6)]),
    st.lists(st.integers(0, 9)),
)
def test_whatever_the_order_each_comes_once_and_in_order(
    arrivals: list[tuple[str, int]], doubles: list[int]
) -> None:
    order = InOrder(60.0, Clock(), lambda subject: 0)
    handed: dict[str, list[int]] = {"ann": [], "bob": []}
    for user, number in [*arrivals, *(arrivals[place] for place in doubles)]:
        handed[user] += numbers(order.take(event(number, user)))
    assert handed == {"ann": [1, 2, 3, 4, 5], "bob": [1, 2, 3, 4, 5]}
    assert order.gaps() == []


@given(st.permutations(range(3, 9)))
def test_where_nobody_knows_the_beginning_nothing_is_lost(arrivals: list[int]) -> None:
    order = InOrder(60.0, Clock())
    handed = [n for number in arrivals for n in numbers(order.take(event(number)))]
    waiting = {n for gap in order.gaps() for n in range(gap.last + 1, 9)}
    assert sorted(set(handed) | waiting) == list(range(3, 9))


def test_a_double_is_told_from_an_early_one() -> None:
    order = InOrder(60.0, Clock(), lambda subject: 3)
    assert order.take(event(3)) is None
    assert order.take(event(5)) == []
    assert order.take(event(5)) is None
    assert numbers(order.take(event(4))) == [4, 5]


def test_a_gap_is_late_before_it_is_told_and_told_once() -> None:
    clock = Clock()
    order = InOrder(60.0, clock, lambda subject: 1)
    order.take(event(4))
    order.take(event(6))
    clock.time = 59.0
    assert order.late() is None
    clock.time = 60.0
    gap = order.late()
    assert gap is not None
    assert (gap.subject, gap.first, gap.last, gap.held) == ("ann", 2, 3, 2)
    assert order.late() is None
    assert [found.first for found in order.gaps()] == [2]


def test_the_window_begins_again_with_each_new_gap() -> None:
    clock = Clock()
    order = InOrder(60.0, clock, lambda subject: 0)
    order.take(event(2))
    order.take(event(4))
    clock.time = 50.0
    assert numbers(order.take(event(1))) == [1, 2]
    clock.time = 100.0
    assert order.late() is None
    clock.time = 110.0
    gap = order.late()
    assert gap is not None
    assert (gap.first, gap.last) == (3, 3)


def test_a_gap_that_is_skipped_hands_out_what_waited() -> None:
    clock = Clock()
    order = InOrder(0.0, clock, lambda subject: 0)
    order.take(event(3))
    order.take(event(4))
    gap = order.late()
    assert gap is not None
    assert numbers(order.skip(gap)) == [3, 4]
    assert order.skip(gap) == []
    assert order.take(event(2)) is None


def test_a_partition_that_is_read_again_begins_where_its_users_stand() -> None:
    stands = {"ann": 0, "bob": 0}
    order = InOrder(60.0, Clock(), stands.__getitem__)
    order.take(event(1, "ann", partition=1))
    order.take(event(2, "bob", partition=2))
    stands["ann"] = 7
    order.forget(1)
    assert numbers(order.take(event(8, "ann", partition=1))) == [8]
    assert [gap.subject for gap in order.gaps()] == ["bob"]
    order.forget(1, anew=True)
    assert numbers(order.take(event(3, "ann", partition=1))) == [3]
