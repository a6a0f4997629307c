"""Views are what a recount of all events gives, however they come, and whatever dies meanwhile."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.amounts import format_amount
from schemas.events import EventType
from schemas.sample_events import event_value
from schemas.times import format_time
from streams.views import reports, sequences
from streams.views.facts import MINUTE_MS, Unreadable, fact_of
from streams.views.keeper import Keeper
from streams.views.kept import Kept, decode, place_of
from streams.views.picture import Picture
from streams.views.rules import Rule, Shortfall, Velocity
from streams.views.windows import Limit, Span, spans_over, window_sum
from tests.streams.views.history import PARTITIONS, Recount, arrivals, facts, recount

EXAMPLES: Final = settings(max_examples=60)
RULES: Final = (
    Velocity(name="fast", do="", events=(EventType.DEPOSIT_CONFIRMED,), minutes=5, count=3),
    Velocity(
        name="large", do="", events=(EventType.WITHDRAWAL_REQUESTED,), minutes=9, amount="0.0000012"
    ),
    Shortfall(name="owing", do="", amount="0.00000001"),
)


# ---------------------------------------------------------------------- one event


@pytest.mark.parametrize("kind", EventType)
def test_every_event_of_the_contract_is_read(kind: EventType) -> None:
    fact = fact_of(event_value(kind))
    assert (fact.type, fact.sequence, format_time(fact.time_ms)) == (
        kind,
        9,
        "2026-01-01T00:00:00.000Z",
    )
    assert (fact.code is not None) is (kind == EventType.COMMAND_REJECTED)
    assert (fact.withdrawal is not None) is kind.startswith("withdrawal.")
    assert (fact.escrow is not None) is kind.startswith(("escrow.", "order."))


@pytest.mark.parametrize(
    ("kind", "amount"),
    [
        (EventType.DEPOSIT_CONFIRMED, "250.00000000"),
        (EventType.WITHDRAWAL_REQUESTED, "101.00000000"),  # with its fee
        (EventType.SALE_CREDITED, "10.00000000"),  # gross
        (EventType.ORDER_PAID, "40.00000000"),
        (EventType.ESCROW_REFUNDED, "0.00000000"),  # its neighbours tell
        (EventType.WALLET_OPENED, "0.00000000"),
    ],
)
def test_an_event_has_the_amount_that_it_is_about(kind: EventType, amount: str) -> None:
    assert format_amount(fact_of(event_value(kind)).amount) == amount


def test_a_reversed_deposit_tells_the_withdrawals_that_it_took_back() -> None:
    assert len(fact_of(event_value(EventType.DEPOSIT_REVERSED)).given_up) == 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b"\xff",
        event_value(EventType.DEPOSIT_CONFIRMED)[:-1],
        event_value(EventType.DEPOSIT_CONFIRMED).replace(b"250.00000000", b"-1"),
        event_value(EventType.DEPOSIT_CONFIRMED).replace(b"T00:00:00.000Z", b"T00:00:00"),
    ],
)
def test_what_is_no_event_is_unreadable(value: bytes | None) -> None:
    with pytest.raises(Unreadable):
        fact_of(value)


# ---------------------------------------------------------------------- parts


@given(st.lists(st.integers(1, 40)))
def test_sequences_are_remembered_as_a_set_would(numbers: list[int]) -> None:
    ranges: list[list[int]] = []
    seen: set[int] = set()
    for number in numbers:
        assert sequences.add(ranges, number) is (number not in seen)
        seen.add(number)
    assert {n for first, last in ranges for n in range(first, last + 1)} == seen
    assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))
    missing = 0 if not seen else max(seen) - min(seen) + 1 - len(seen)
    assert sequences.missing(ranges) == missing


@given(
    st.dictionaries(st.integers(0, 40), st.tuples(st.integers(1, 5), st.integers(0, 9))),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_a_window_is_over_its_limit_when_a_recount_says_so(
    totals: dict[int, tuple[int, int]], window: int, limit: int
) -> None:
    over = [minute for minute in range(60) if window_sum(totals, window, minute)[1] >= limit]
    found = spans_over(totals, window, Limit(None, limit))
    assert [m for span in found for m in range(span.start, span.until)] == over
    assert all(before.until < after.start for before, after in pairwise(found))


def test_a_window_that_only_just_holds_both_ends_is_over() -> None:
    totals = {10: (1, 60), 14: (1, 60)}
    assert spans_over(totals, 5, Limit(None, 120)) == [Span(14, 15)]
    assert spans_over(totals, 4, Limit(None, 120)) == []
    assert spans_over(totals, 5, Limit(2, None)) == [Span(14, 15)]


# ---------------------------------------------------------------------- all of it


class Disk:
    """A table whose writings can break off, as those of a process that is killed."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.table: dict[bytes, bytes] = {}
        self._rules = rules
        self.start()

    def start(self) -> None:
        """A process starts: it knows what is written, and nothing else."""
        self.keeper = Keeper(self.table, self._rules)
        for partition in set(PARTITIONS.values()):
            self.keeper.begin(partition)

    def write(self, chance: Random | None = None) -> bool:
        """Write in phases; break off after some key, by chance. Whether all was written."""
        writes = [write for phase in self.keeper.leave() for write in phase.items()]
        most = len(writes) if chance is None else chance.randint(0, len(writes))
        for key, value in writes[:most]:
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value
        if most < len(writes):
            return False
        self.keeper.store.left()
        return True

    def documents(self) -> dict[bytes, Kept]:
        return {key: decode(value) for key, value in self.table.items()}

    def picture(self) -> Picture:
        picture = Picture()
        for key, value in self.table.items():
            picture.put(key, value)
        return picture


def check(picture: Picture, wanted: Recount) -> None:
    """Every report is what the recount says."""
    for minute in set(wanted.flows) | set(wanted.outcomes):
        documents = picture.minutes[minute].values()
        flows = {k: (t.count, int(t.koinu)) for k, t in reports.flows_of(documents).items()}
        assert flows == wanted.flows.get(minute, {})
        found = reports.outcomes(documents)
        counted = {name: found[name] for name in ("accepted", "replayed") if found[name]}
        assert {**counted, **found["reasons"]} == wanted.outcomes.get(minute, {})
    assert {i: w.status for i, (_, w) in picture.withdrawals.items()} == wanted.withdrawals
    for kind, users in wanted.movers.items():
        told = reports.movers(picture, 1440, [kind], 100)["movers"]
        assert {each["user_id"]: each["amount"] for each in told} == {
            user: format_amount(koinu) for user, koinu in users.items()
        }
    assert not picture.with_gaps


@EXAMPLES
@given(st.integers(0, 10**9), st.integers(1, 60))
def test_views_are_a_recount_of_the_events_whatever_order_they_come_in(
    seed: int, count: int
) -> None:
    chance = Random(seed)
    told = facts(chance, count)
    disk = Disk(RULES)
    for arrival in arrivals(chance, told):
        disk.keeper.count(*arrival)
    disk.write()
    check(disk.picture(), recount(told))


@EXAMPLES
@given(st.integers(0, 10**9), st.integers(1, 60))
def test_a_process_that_dies_while_it_writes_leaves_what_its_successor_needs(
    seed: int, count: int
) -> None:
    chance = Random(seed)
    told = facts(chance, count)
    arrived = arrivals(chance, told)
    undisturbed, disk = Disk(RULES), Disk(RULES)
    for arrival in arrived:
        undisturbed.keeper.count(*arrival)
    undisturbed.write()
    position = 0
    while position < len(arrived):
        disk.keeper.count(*arrived[position])
        position += 1
        if chance.random() < 0.2 and not disk.write(chance if chance.random() < 0.8 else None):
            disk.start()
            position = 0  # `count` passes over what the marks say is counted.
    disk.write()
    check(disk.picture(), recount(told))
    assert disk.documents() == undisturbed.documents()


def test_documents_are_written_in_the_order_that_a_restart_relies_on() -> None:
    chance = Random(1)
    disk = Disk(RULES)
    for arrival in arrivals(chance, facts(chance, 60)):
        disk.keeper.count(*arrival)
    kinds = [{place_of(key)[1] for key in phase} for phase in disk.keeper.leave()]
    assert kinds[0] <= {"minute", "escrow", "withdrawal", "incident"}
    assert kinds[1:] == [{"user"}, {"mark"}]


def test_a_partition_that_is_lost_takes_what_was_not_written_with_it() -> None:
    disk = Disk()
    chance = Random(2)
    for arrival in arrivals(chance, facts(chance, 40)):
        disk.keeper.count(*arrival)
    disk.keeper.lose([0])
    disk.write()
    assert {place_of(key)[0] for key in disk.table} == {1}
    assert disk.keeper.begin(0) == 0


def test_an_event_that_does_not_come_is_a_gap_until_it_comes() -> None:
    disk = Disk()
    told = [fact._replace(user="ann", sequence=n) for n, fact in enumerate(facts(Random(3), 3))]
    for offset, fact in enumerate((told[0], told[2])):
        disk.keeper.count(0, offset, fact)
    disk.write()
    assert disk.picture().with_gaps == {"ann"}
    disk.keeper.count(0, 2, told[1])
    disk.write()
    assert not disk.picture().with_gaps


def test_reports_are_json() -> None:
    chance = Random(4)
    disk = Disk(RULES)
    told = facts(chance, 80)
    for arrival in arrivals(chance, told):
        disk.keeper.count(*arrival)
    disk.write()
    picture = disk.picture()
    now_ms = picture.newest_ms + 90 * MINUTE_MS
    ageing = reports.ageing(picture, now_ms)
    assert ageing["oldest"][0]["seconds"] >= 90 * 60
    for report in (
        reports.flows(picture, 60),
        reports.rejections(picture, 60),
        ageing,
        reports.velocity(picture, "ann"),
        reports.alerts(picture),
    ):
        assert msgspec.json.decode(msgspec.json.encode(report)) == report
    assert reports.velocity(picture, "nobody") is None
