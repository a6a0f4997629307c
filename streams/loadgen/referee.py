"""Holds what comes back against what was asked: each record one outcome, each event once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from schemas.commands import CommandType
from schemas.events import Balance, CloudEvent, EventType
from schemas.ids import place_of
from schemas.publications import DeadLetterNotice
from schemas.sample_events import SELLERS_EVENT_OF
from streams.loadgen.model import Facts, Model, Purse, Trail, differences
from streams.loadgen.pieces import ACCEPTED, REPLAYED, Planned, Player, Wreckage

_DIFFERENCES_SHOWN: Final = 20

Sent = Planned | Wreckage


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """The broker's word on a record that was sent: it stands at this place."""

    sent: Sent
    partition: int
    offset: int


Item = Delivered | CloudEvent | DeadLetterNotice


@dataclass(kw_only=True)
class Report:
    """What was played, what became of it, and where the wallet was wrong."""

    users: int
    sent: int = 0
    accepted: int = 0
    replayed: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    #: Not sent, since what they are about was wrongly refused.
    skipped: int = 0
    #: Commands of the marketplace alone, without the opening and the funding, and their time.
    played: int = 0
    seconds: float = 0.0
    different: int = 0
    #: The first of the differences, in words.
    differences: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Commands of the marketplace a second, from the first sent to the last outcome."""
        return self.played / self.seconds if self.seconds else 0.0

    def differ(self, text: str) -> None:
        """Note a difference."""
        self.different += 1
        if len(self.differences) < _DIFFERENCES_SHOWN:
            self.differences.append(text)


class _Told(msgspec.Struct, frozen=True):
    """The data of an event, whichever it is."""

    result: Facts | None = None
    balance: Balance | None = None
    code: str | None = None


class _Awaited(msgspec.Struct):
    """A record whose outcome has not been seen; ``sale`` while its seller must be told, too."""

    sent: Sent
    outcome: bool = True
    sale: bool = False


_Place = tuple[int, int, int]
_told: Final = msgspec.json.Decoder(_Told)


class Referee:
    """Takes in what comes back, in whatever order; its memory is what is under way."""

    def __init__(self, players: list[Player]) -> None:
        self.report = Report(users=len(players))
        self._players = players
        self._model = Model(len(players))
        self._trails = {player.user_id: Trail() for player in players}
        self._awaited: dict[_Place, _Awaited] = {}
        #: Came back before the broker's word on the record that caused it.
        self._early: defaultdict[_Place, list[CloudEvent | DeadLetterNotice]] = defaultdict(list)
        self._undelivered = 0

    @property
    def under_way(self) -> int:
        """Records that were sent and whose outcome is not known."""
        return len(self._awaited) + self._undelivered

    def expect(self, sent: Sent) -> None:
        """A record is about to be sent."""
        self._undelivered += 1
        self.report.sent += 1

    def take(self, item: Item) -> None:
        """Take in what came back; events are of the players alone."""
        if isinstance(item, Delivered):
            self._take_delivery(item)
        elif isinstance(item, DeadLetterNotice):
            self._dispatch((item.topic, item.partition, item.offset), item)
        elif self._trails[item.subject].see(item.sequence):
            place, _ = place_of(item.causationid)
            self._dispatch((place.topic, place.partition, place.offset), item)
        else:
            self.report.differ(f"{item.subject}: event {item.sequence} came twice")

    def settle(self) -> None:
        """Nothing is under way: what came back by now for no record of ours is a difference."""
        for place, items in self._early.items():
            if any(isinstance(item, CloudEvent) for item in items):
                self.report.differ(f"an event of {place}, where nothing of ours was sent")
        self._early.clear()

    def check(self, wallets: Mapping[str, tuple[Purse, int]] | None = None) -> None:
        """Hold the balances against the model: those that events told and, where they are given,
        the database's (user to purse and number of events)."""
        for text in differences(self._players, self._model, list(self._trails.values())):
            self.report.differ(text)
        if wallets is None:
            return
        for player, purse in zip(self._players, self._model.purses, strict=True):
            events = self._trails[player.user_id].next_sequence - 1
            found = wallets.get(player.user_id, (Purse(), 0))
            if found != (purse, events):
                self.report.differ(
                    f"{player.user_id}: the database has {found[0]} after {found[1]} events; "
                    f"{purse} after {events} was expected"
                )

    def _take_delivery(self, item: Delivered) -> None:
        self._undelivered -= 1
        sent = item.sent
        sale = (
            isinstance(sent, Planned)
            and sent.kind in SELLERS_EVENT_OF
            and sent.amount > 0
            and sent.expected == ACCEPTED
        )
        place = (sent.topic.value, item.partition, item.offset)
        self._awaited[place] = _Awaited(sent, sale=sale)
        for early in self._early.pop(place, ()):
            self._dispatch(place, early)

    def _dispatch(self, place: _Place, item: CloudEvent | DeadLetterNotice) -> None:
        awaited = self._awaited.get(place)
        if awaited is None:
            # A dead letter may be another producer's, an event of a player never.
            if self._undelivered or isinstance(item, CloudEvent):
                self._early[place].append(item)
            return
        if isinstance(item, DeadLetterNotice):
            self.report.dead_letters[item.code] += 1
            self._compare(awaited, item.code, is_letter=True)
            awaited.outcome = awaited.sale = False
        else:
            self._take_event(awaited, item)
        if not awaited.outcome and not awaited.sale:
            del self._awaited[place]

    def _take_event(self, awaited: _Awaited, event: CloudEvent) -> None:
        told = _told.decode(event.data)
        if told.balance is not None:
            self._trails[event.subject].note(told.balance)
        if event.type == EventType.SALE_CREDITED:
            if not awaited.sale:
                self.report.differ(f"{event.subject}: {event.id} credits a sale once more")
            awaited.sale = False
        elif not awaited.outcome:
            self.report.differ(f"{event.subject}: {event.id} is one outcome too many")
        else:
            awaited.outcome = False
            actual = self._outcome_of(event, told)
            if self._compare(awaited, actual, is_letter=False) and actual == ACCEPTED:
                self._apply(awaited.sent, told.result or Facts())

    def _outcome_of(self, event: CloudEvent, told: _Told) -> str:
        match event.type:
            case EventType.COMMAND_REJECTED:
                code = told.code or ""
                self.report.rejected[code] += 1
                return code
            case EventType.COMMAND_REPLAYED:
                self.report.replayed += 1
                return REPLAYED
            case _:
                self.report.accepted += 1
                return ACCEPTED

    def _apply(self, sent: Sent, facts: Facts) -> None:
        assert isinstance(sent, Planned)
        if sent.kind is CommandType.ASSIGN_ADDRESS:
            sent.player.address = facts.address
        self._model.accept(sent, facts)
        if sent.makes and sent.thing is not None:
            sent.thing.id = facts.id

    def _compare(self, awaited: _Awaited, actual: str, *, is_letter: bool) -> bool:
        """Whether an outcome is the expected one; where it is not, others may wait in vain."""
        sent = awaited.sent
        wreck = isinstance(sent, Wreckage)
        if sent.expected == actual and is_letter is wreck:
            return True
        asked = "a wreck" if isinstance(sent, Wreckage) else sent.kind.value
        self.report.differ(
            f"{sent.player.user_id}: {asked} became {actual}; {sent.expected} was expected"
        )
        awaited.sale = awaited.sale and actual == ACCEPTED
        if isinstance(sent, Planned) and sent.makes and sent.thing and not sent.thing.id:
            sent.thing.refused = True
        return False
