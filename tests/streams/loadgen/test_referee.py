"""The referee: agrees with the ledger in any order of arrival, and catches what goes wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec
import pytest

from schemas.commands import CommandType
from schemas.events import CloudEvent, EventType
from schemas.publications import DeadLetterNotice
from streams.loadgen.market import FOLLOW_UPS, MIX, Market
from streams.loadgen.model import Purse, Trail
from streams.loadgen.pieces import Shares, Wreckage, funding, opening, players
from streams.loadgen.plan import Writer
from streams.loadgen.referee import Delivered, Item, Referee, Report, Sent
from tests.streams.loadgen.arena import Arena

DIRTY = Shares(duplicates=0.04, overdrafts=0.02, malformed=0.01)

#: What is done to the stream of what comes back.
Meddle = Callable[[Item], Iterable[Item]]


def untouched(item: Item) -> Iterable[Item]:
    return (item,)


class Table:
    """A game in memory: what ``Game`` does with Kafka, with late and shuffled answers."""

    def __init__(self, users: int, seed: int, meddle: Meddle = untouched) -> None:
        self.players = players(f"test-{seed}", users)
        self.arena = Arena(self.players, seed)
        self.referee = Referee(self.players)
        self.random = random.Random(seed)
        self.kinds: set[CommandType] = set()
        self._writer = Writer(f"test-{seed}")
        self._meddle = meddle
        self._late: list[Item] = []

    def play(self, seed: int, commands: int) -> Report:
        for step in opening(self.players):
            self.send(step)
        self.settle()
        for step in funding(self.players):
            self.send(step)
        self.settle()
        market = Market(seed, self.players, DIRTY, follow_ups=True, lag=8)
        for sent in islice(market, commands):
            self.send(sent)
        self.settle()
        wallets = self.arena.books.wallets
        self.referee.check(
            {
                user: (Purse(w.available, w.bids, w.escrow, w.pending), w.sequence)
                for user, w in wallets.items()
            }
        )
        return self.referee.report

    def send(self, step: Sent) -> None:
        if isinstance(step, Wreckage):
            key, value = step.key, step.value
        else:
            if step.thing is not None and not step.makes:
                while not step.thing.id and not step.thing.refused:
                    assert self.bring()
                if step.thing.refused:
                    self.referee.report.skipped += 1
                    return
            self.kinds.add(step.kind)
            key, value = step.player.key, self._writer.value_of(step)
        self.referee.expect(step)
        _, partition, offset = self.arena.append(step.topic, key, value)
        self._late.append(Delivered(step, partition, offset))
        if self.random.random() < 0.2:
            self.bring()

    def bring(self) -> bool:
        """Decide a batch and bring back some of what is late, other partitions' in any order."""
        for published in self.arena.decide():
            ours = not isinstance(published, CloudEvent) or published.subject in self.subjects
            self._late += self._meddle(published) if ours else ()
        self.random.shuffle(self._late)
        late, self._late = self._late, []
        for item in sorted(late, key=_sequence):
            if isinstance(item, CloudEvent) and self.random.random() < 0.1:
                self._late.append(item)
            else:
                self.referee.take(item)
        return bool(late)

    def settle(self) -> None:
        while self.bring():
            pass
        self.referee.settle()

    @property
    def subjects(self) -> set[str]:
        return {player.user_id for player in self.players}


def _sequence(item: Item) -> int:
    # One user's own events come in order but for some that are late; deliveries come anywhere.
    return item.sequence if isinstance(item, CloudEvent) else 0


@pytest.mark.parametrize("seed", range(4))
def test_model_and_ledger_agree_to_the_koinu(seed: int) -> None:
    table = Table(25, seed)
    report = table.play(seed, 4_000)
    assert report.differences == []
    assert (report.different, report.skipped, table.referee.under_way) == (0, 0, 0)
    assert {*MIX, *FOLLOW_UPS} <= table.kinds
    outcomes = report.accepted + report.replayed + report.rejected.total()
    assert outcomes + report.dead_letters.total() == report.sent == 4_000 + 3 * 25
    assert set(report.rejected) == {"insufficient_funds", "key_reused"}


def _nth(kind: EventType, number: int, change: Callable[[CloudEvent], Iterable[Item]]) -> Meddle:
    seen = 0

    def meddle(item: Item) -> Iterable[Item]:
        nonlocal seen
        if isinstance(item, CloudEvent) and item.type == kind:
            seen += 1
            if seen == number:
                return change(item)
        return (item,)

    return meddle


def _poorer(event: CloudEvent) -> Iterable[Item]:
    data = msgspec.json.decode(event.data)
    data["balance"] |= {"available": "1.00000000", "version": 10**9}
    return (msgspec.structs.replace(event, data=msgspec.Raw(msgspec.json.encode(data))),)


@pytest.mark.parametrize(
    ("meddle", "complaint"),
    [
        (_nth(EventType.FUNDS_LOCKED, 50, lambda event: (event, event)), "came twice"),
        (_nth(EventType.FUNDS_LOCKED, 50, _poorer), "was expected"),
        (_nth(EventType.SALE_CREDITED, 5, _poorer), "was expected"),
        (
            _nth(
                EventType.FUNDS_LOCKED,
                50,
                lambda event: (msgspec.structs.replace(event, type="command.replayed"),),
            ),
            "lock_funds became replayed; accepted was expected",
        ),
        (
            _nth(
                EventType.FUNDS_UNLOCKED,
                20,
                lambda event: (
                    event,
                    msgspec.structs.replace(event, sequence=event.sequence + 10**6),
                ),
            ),
            "is missing",
        ),
    ],
    ids=["an event twice", "a wrong balance", "a wrong sale", "a wrong outcome", "a gap"],
)
def test_what_goes_wrong_is_told(meddle: Meddle, complaint: str) -> None:
    report = Table(10, 1, meddle).play(1, 1_500)
    assert report.different
    assert any(complaint in text for text in report.differences), report.differences


def test_an_event_that_never_comes_leaves_its_command_under_way() -> None:
    table = Table(10, 2, _nth(EventType.FUNDS_LOCKED, 50, lambda event: ()))
    report = table.play(2, 1_000)
    assert table.referee.under_way == 1
    assert any("is missing" in text for text in report.differences)


def test_a_database_that_lags_behind_its_events_is_told() -> None:
    table = Table(4, 3)
    table.play(3, 200)
    before = table.referee.report.different
    table.referee.check({})
    assert table.referee.report.different == before + 4


def test_another_producers_dead_letter_is_not_taken_for_ours() -> None:
    referee = Referee(players("test", 2))
    letter = DeadLetterNotice(
        id="",
        topic=0,
        partition=0,
        offset=5,
        code="not_json",
        detail="",
        key=None,
        value=None,
        time="",
    )
    referee.take(letter)
    referee.settle()
    assert (referee.report.different, referee.report.dead_letters.total()) == (0, 0)


def test_a_trail_knows_gaps_and_repetitions_in_any_order() -> None:
    trail = Trail()
    assert [trail.see(number) for number in (2, 1, 4, 2, 3, 4)] == [True] * 3 + [False, True, False]
    assert (trail.next_sequence, trail.early) == (5, set())
