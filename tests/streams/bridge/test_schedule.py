"""The bridge's schedule: each event in its user's order, and nothing committed early."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.bridge.schedule import Item, PassedOver, Schedule

SIZE = 100


def schedule_of(*begins: int) -> Schedule[str]:
    """A schedule of partitions, each read from an offset."""
    schedule = Schedule[str]()
    for partition, offset in enumerate(begins):
        schedule.begin(partition, offset)
    return schedule


def item(partition: int, offset: int, user: str, size: int = 1) -> Item[str]:
    return Item(partition, offset, user, size, f"{partition}/{offset}")


def test_a_user_has_one_event_under_way_at_a_time() -> None:
    schedule = schedule_of(0)
    first, second = item(0, 0, "ann"), item(0, 1, "ann")
    schedule.add(first, 0)
    schedule.add(second, 1)
    assert schedule.take(10, SIZE) == [first]
    assert schedule.take(10, SIZE) == []
    schedule.acknowledge(first)
    assert schedule.take(10, SIZE) == [second]


def test_a_call_holds_no_more_than_it_may() -> None:
    schedule = schedule_of(0)
    for number in range(5):
        schedule.add(item(0, number, f"user {number}", size=40), number)
    assert [taken.offset for taken in schedule.take(10, SIZE)] == [0, 1]
    assert [taken.offset for taken in schedule.take(2, SIZE)] == [2, 3]


def test_one_that_is_too_large_for_any_call_goes_alone() -> None:
    schedule = schedule_of(0)
    schedule.add(item(0, 0, "ann", size=SIZE + 1), 0)
    schedule.add(item(0, 1, "bob"), 1)
    assert [taken.offset for taken in schedule.take(10, SIZE)] == [0]


def test_one_that_failed_is_tried_again_later_and_holds_up_its_user_alone() -> None:
    schedule = schedule_of(0)
    for number, user in enumerate(("ann", "ann", "bob")):
        schedule.add(item(0, number, user), number)
    ann, bob = schedule.take(10, SIZE)
    schedule.rest(ann, until=5.0)
    schedule.acknowledge(bob)
    assert schedule.wake(4.9) == 5.0
    assert schedule.take(10, SIZE) == []
    assert schedule.wake(5.0) is None
    (again,) = schedule.take(10, SIZE)
    assert (again.offset, again.tries) == (0, 1)


def test_events_are_not_passed_over_between_reader_and_schedule() -> None:
    schedule = schedule_of(3)
    schedule.add(item(0, 3, "ann"), 3)
    with pytest.raises(PassedOver, match="all before 4 is known, 7 comes after 6"):
        schedule.add(item(0, 7, "bob"), 6)
    assert schedule.next_offsets() == {0: 3}


def test_an_event_is_not_taken_twice_nor_from_a_partition_that_was_not_begun() -> None:
    schedule = schedule_of(3)
    schedule.add(item(0, 3, "ann"), 3)
    with pytest.raises(PassedOver):
        schedule.add(item(0, 3, "ann"), 3)
    with pytest.raises(PassedOver, match="nothing is known"):
        schedule.add(item(1, 0, "bob"), 0)


def test_where_events_are_gone_it_goes_on_behind_them_once_what_is_held_is_acknowledged() -> None:
    schedule = schedule_of(3)
    schedule.add(item(0, 3, "ann"), 3)
    schedule.begin(0, 9)
    assert schedule.next_offsets() == {0: 3}
    schedule.add(item(0, 9, "bob"), 9)
    schedule.acknowledge(schedule.take(1, SIZE)[0])
    assert schedule.next_offsets() == {0: 9}


def test_an_end_counts_once_all_before_it_is_acknowledged() -> None:
    schedule = schedule_of(4)
    schedule.add(item(0, 4, "ann"), 4)
    schedule.reach(0, 7)
    assert schedule.next_offsets() == {0: 4}
    schedule.acknowledge(*schedule.take(10, SIZE))
    assert schedule.next_offsets() == {0: 7}


def test_nothing_is_committed_before_all_that_came_before_it_is_acknowledged() -> None:
    schedule = schedule_of(0, 3)
    for since, offset, user in ((3, 3, "ann"), (4, 5, "bob"), (6, 6, "cleo")):
        schedule.add(item(1, offset, user), since)
    ann, bob, cleo = schedule.take(10, SIZE)
    schedule.acknowledge(bob)
    assert schedule.next_offsets()[1] == 3
    schedule.acknowledge(ann)
    assert schedule.next_offsets()[1] == 6
    schedule.acknowledge(cleo)
    assert schedule.next_offsets()[1] == 7
    assert len(schedule) == 0


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=60), st.integers(0, 2**32)
)
def test_whatever_fails_each_event_arrives_in_its_users_order(
    events: list[tuple[int, int]], seed: int
) -> None:
    chance = random.Random(seed)
    schedule = schedule_of(0, 0, 0)
    ends: dict[int, int] = defaultdict(int)
    since: dict[int, int] = defaultdict(int)
    wanted: dict[str, list[str]] = defaultdict(list)
    for partition, user in events:
        # A user's events are all in one partition, as the topic has them.
        each = item(partition, ends[partition], f"{partition}-{user}")
        ends[partition] += 1 + chance.randrange(3)
        wanted[each.user].append(each.load)
        schedule.add(each, since[partition])
        since[partition] = each.offset + 1
    arrived: dict[str, list[str]] = defaultdict(list)
    under_way: list[Item[str]] = []
    now = 0.0
    while schedule:
        now += 1.0
        schedule.wake(now)
        under_way += schedule.take(chance.randint(1, 10), SIZE)
        assert len({each.user for each in under_way}) == len(under_way)
        chance.shuffle(under_way)
        for each in [under_way.pop() for _ in range(chance.randint(0, len(under_way)))]:
            if chance.random() < 0.3:
                schedule.rest(each, now + chance.randrange(4))
            else:
                arrived[each.user].append(each.load)
                schedule.acknowledge(each)
    assert arrived == wanted
    assert all(offset >= 0 for offset in schedule.next_offsets().values())
