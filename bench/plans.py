"""What the runs ask of the wallet: plans made in advance, so that making them is not measured."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from schemas.commands import TOPIC_OF, CommandType
from streams.loadgen.pieces import (
    ACCEPTED,
    DOGE,
    Order,
    Planned,
    Player,
    Shares,
    funding,
    players,
)
from streams.loadgen.plan import Layout, PlannedCommand, Script, Writer

PARTITIONS: Final = 12
#: What `wallet loadgen` plays by default: no marketplace sends sound commands alone.
SHARES: Final = Shares(duplicates=0.02, overdrafts=0.01, malformed=0.005)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run's records: ``funding``, then ``before``, are applied before the clock starts."""

    name: str
    players: Sequence[Player]
    funding: Sequence[PlannedCommand]
    before: Sequence[PlannedCommand] = field(default=())
    measured: Sequence[PlannedCommand]

    def first(self, count: int) -> Plan:
        """The same plan, of which only the first ``count`` records are measured."""
        return Plan(
            name=self.name,
            players=self.players,
            funding=self.funding,
            before=self.before,
            measured=self.measured[:count],
        )


def outcomes_of(records: Iterable[PlannedCommand]) -> Counter[str]:
    """How often each outcome is expected: accepted, replayed, or a rejection's code."""
    return Counter(record.expected for record in records)


def label_of(seed: int) -> str:
    """The label of the users of a seed: every plan has the same."""
    return f"script-{seed}"


def market(seed: int, users: int, count: int) -> Plan:
    """The marketplace's mix, with its duplicates, overdrafts and malformed records."""
    script = Script(seed, users, Layout(PARTITIONS), SHARES)
    assert script.label == label_of(seed)
    paid_in = list(script.funding())
    return Plan(
        name="marketplace",
        players=script.players,
        funding=paid_in,
        measured=list(islice(script.marketplace(), count)),
    )


def locks(seed: int, users: int, count: int) -> Plan:
    """``lock_funds`` alone, the easiest command, each under a reference of its own."""
    pen = _Pen(seed, users, "locks")
    draw = random.Random(seed)
    measured = [
        pen.write(
            CommandType.LOCK_FUNDS,
            draw.choice(pen.players),
            DOGE + draw.randrange(DOGE),
            reference_id=f"bid-{number}",
        )
        for number in range(count)
    ]
    return Plan(
        name="lock_funds", players=pen.players, funding=list(pen.funding()), measured=measured
    )


def sales(seed: int, users: int, count: int, *, hot: bool) -> Plan:
    """Orders that are paid before the clock starts, and their releases, which are measured.

    With ``hot`` every one of them pays the same seller.
    """
    pen = _Pen(seed, users, "hot" if hot else "spread")
    draw = random.Random(seed)
    seller, *buyers = pen.players
    paid_in = list(pen.funding())
    orders, paid = [], []
    for _ in range(count):
        buyer = draw.choice(buyers)
        other = draw.choice(pen.players)
        order = Order(buyer, seller if hot or other is buyer else other, 10 * DOGE)
        orders.append(order)
        paid.append(pen.write(CommandType.PAY_ORDER, buyer, order.remaining, order, makes=True))
    released = [
        pen.write(CommandType.RELEASE_ESCROW, order.player, order.remaining, order)
        for order in orders
    ]
    name = "one seller" if hot else "many sellers"
    return Plan(name=name, players=pen.players, funding=paid_in, before=paid, measured=released)


class _Pen:
    """Writes commands that are all accepted, one after the other, on topics of their own."""

    def __init__(self, seed: int, users: int, mark: str) -> None:
        self.players = players(label_of(seed), users)
        self._writer = Writer(f"{label_of(seed)}-{mark}")
        self._layout = Layout(PARTITIONS)
        self._origin = users

    def funding(self) -> Iterable[PlannedCommand]:
        """One deposit a user."""
        return (self._lay(planned) for planned in funding(self.players))

    def write(
        self,
        kind: CommandType,
        player: Player,
        amount: int,
        order: Order | None = None,
        *,
        reference_id: str = "",
        makes: bool = False,
    ) -> PlannedCommand:
        self._origin += 1
        return self._lay(
            Planned(
                kind,
                TOPIC_OF[kind],
                player,
                self._origin,
                amount,
                ACCEPTED,
                reference_id,
                order,
                makes,
                whole=True,
            )
        )

    def _lay(self, planned: Planned) -> PlannedCommand:
        key = planned.player.key
        place = self._layout.place(planned.topic, key)
        if planned.makes and planned.thing is not None:
            planned.thing.id = self._layout.id_at(place)
        value = self._writer.value_of(planned)
        return PlannedCommand(planned.topic, planned.player.user_id, key, value, planned.expected)
