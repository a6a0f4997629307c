"""Facts from a seed, the order they arrive in, and a recount of them that keeps nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from schemas.events import EventType
from streams.views.facts import MINUTE_MS, EscrowFact, Fact, WithdrawalFact

START_MS = 1_767_225_600_000
USERS = ("ann", "bob", "cat")
PARTITIONS = {"ann": 0, "bob": 1, "cat": 0}

_WAY = ("PENDING", "PROCESSING", "BROADCAST", "CONFIRMED")
_EVENTS = {
    "PENDING": EventType.WITHDRAWAL_REQUESTED,
    "PROCESSING": EventType.WITHDRAWAL_PROCESSING,
    "BROADCAST": EventType.WITHDRAWAL_BROADCAST,
    "CONFIRMED": EventType.WITHDRAWAL_CONFIRMED,
    "FAILED": EventType.WITHDRAWAL_FAILED,
}


class Arrival(NamedTuple):
    """A fact at its place."""

    partition: int
    offset: int
    fact: Fact


class _Life:
    """One user's events, told in order."""

    def __init__(self, user: str, chance: Random) -> None:
        self.user = user
        self.chance = chance
        self.sequence = 0
        self.time_ms = START_MS
        self.escrows: dict[str, tuple[int, int]] = {}
        self.withdrawals: dict[str, int] = {}

    def next(self) -> Fact:
        self.sequence += 1
        self.time_ms += self.chance.choice((0, 500, 20_000, 4 * MINUTE_MS))
        amount = self.chance.randint(1, 100)
        base = Fact(self.user, self.sequence, self.time_ms, "", version=self.sequence)
        match self.chance.randrange(9):
            case 0:
                return base._replace(type=EventType.DEPOSIT_CONFIRMED, amount=amount)
            case 1:
                code = self.chance.choice(("insufficient_funds", "wallet_frozen"))
                return base._replace(type=EventType.COMMAND_REJECTED, code=code, version=None)
            case 2:
                shortfall = self.chance.choice((0, 0, amount))
                return base._replace(type=EventType.DEPOSIT_REVERSED, shortfall=shortfall)
            case 3 | 6 | 7 | 8:
                return self._escrow(base, amount)
            case 4:
                return self._withdrawal(base, amount)
            case _:
                kind = self.chance.choice((EventType.SALE_CREDITED, EventType.COMMAND_REPLAYED))
                return base._replace(
                    type=kind, amount=amount if kind == EventType.SALE_CREDITED else 0
                )

    def _escrow(self, base: Fact, amount: int) -> Fact:
        standing = [each for each, (whole, settled) in self.escrows.items() if settled < whole]
        if not standing or self.chance.random() < 0.4:
            ident = f"{self.user}-e{self.sequence}"
            self.escrows[ident] = (amount, 0)
            return base._replace(
                type=EventType.ORDER_PAID, amount=amount, escrow=EscrowFact(ident, 0)
            )
        ident = self.chance.choice(standing)
        whole, settled = self.escrows[ident]
        settled += self.chance.randint(1, whole - settled)
        self.escrows[ident] = (whole, settled)
        kind = self.chance.choice((EventType.ESCROW_RELEASED, EventType.ESCROW_REFUNDED))
        return base._replace(type=kind, escrow=EscrowFact(ident, settled))

    def _withdrawal(self, base: Fact, amount: int) -> Fact:
        standing = [each for each, step in self.withdrawals.items() if step < len(_WAY) - 1]
        if not standing or self.chance.random() < 0.4:
            ident = f"{self.user}-w{self.sequence}"
            self.withdrawals[ident] = 0
        else:
            ident = self.chance.choice(standing)
            self.withdrawals[ident] += 1
        status = _WAY[self.withdrawals[ident]]
        if status == "PROCESSING" and self.chance.random() < 0.3:
            status, self.withdrawals[ident] = "FAILED", len(_WAY)
        return base._replace(
            type=_EVENTS[status],
            amount=amount,
            withdrawal=WithdrawalFact(ident, status, START_MS),
        )


def facts(chance: Random, count: int) -> list[Fact]:
    """Events of all users, each user's in order."""
    lives = [_Life(user, chance) for user in USERS]
    return [chance.choice(lives).next() for _ in range(count)]


def arrivals(chance: Random, told: Iterable[Fact]) -> list[Arrival]:
    """Each user's partition, some late, some twice, with the holes that markers leave."""
    order = [
        (number + chance.choice((0, 0, 0, 3, 9, 25)), fact) for number, fact in enumerate(told)
    ]
    order += [(number + chance.choice((1, 12)), f) for number, f in order if chance.random() < 0.2]
    order.sort(key=lambda each: each[0])
    offsets: Counter[int] = Counter()
    found = []
    for _, fact in order:
        partition = PARTITIONS[fact.user]
        offsets[partition] += chance.choice((1, 1, 2))
        found.append(Arrival(partition, offsets[partition] - 1, fact))
    return found


class Recount(NamedTuple):
    """What the same facts come to when they are counted at once, in order."""

    flows: dict[int, dict[str, tuple[int, int]]]
    outcomes: dict[int, dict[str, int]]
    withdrawals: dict[str, str]
    movers: dict[str, dict[str, int]]


def recount(told: Iterable[Fact]) -> Recount:
    """Count facts, each one once."""
    flows: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    outcomes: dict[int, Counter[str]] = defaultdict(Counter)
    movers: dict[str, Counter[str]] = defaultdict(Counter)
    withdrawals: dict[str, str] = {}
    settled: dict[str, int] = {}
    for fact in sorted(told, key=lambda each: (each.user, each.sequence)):
        minute = fact.time_ms // MINUTE_MS
        if fact.type == EventType.COMMAND_REJECTED:
            outcomes[minute][str(fact.code)] += 1
            continue
        if fact.type == EventType.COMMAND_REPLAYED:
            outcomes[minute]["replayed"] += 1
            continue
        if fact.type != EventType.SALE_CREDITED:
            outcomes[minute]["accepted"] += 1
        amount = fact.amount
        if fact.escrow is not None:
            amount += fact.escrow.settled - settled.get(fact.escrow.id, 0)
            settled[fact.escrow.id] = fact.escrow.settled
        if fact.withdrawal is not None:
            withdrawals[fact.withdrawal.id] = fact.withdrawal.status
        flows[minute][fact.type][0] += 1
        flows[minute][fact.type][1] += amount
        movers[fact.type][fact.user] += amount
    return Recount(
        {m: {k: (c, a) for k, (c, a) in kinds.items()} for m, kinds in flows.items()},
        {minute: dict(counts) for minute, counts in outcomes.items()},
        withdrawals,
        {kind: dict(users) for kind, users in movers.items()},
    )
