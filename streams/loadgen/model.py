"""What the players' balances must be, worked out from outcomes alone, and what their events told.

It shares no code with the ledger: where the two differ, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from schemas.amounts import format_amount, parse_share
from schemas.commands import CommandType
from schemas.events import Balance
from streams.loadgen.pieces import Order, Planned, Player


class Facts(msgspec.Struct, frozen=True):
    """The parts of a result that nobody but the wallet could know."""

    id: str = ""
    address: str = ""
    fee: str = "0"
    fee_amount: str = "0"


@dataclass(slots=True)
class Purse:
    """What a player has, in koinu."""

    available: int = 0
    bids: int = 0
    escrow: int = 0
    pending: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {format_amount(getattr(self, name))}" for name in self.__slots__)


@dataclass(slots=True)
class _Sale:
    """An escrow's progress: the fee taken is floor(fee × gross / amount) at every moment."""

    amount: int
    fee: int
    remaining: int
    gross: int = 0

    def take(self, gross: int, refund: int) -> int:
        """The fee of releasing ``gross`` more, while ``refund`` goes back."""
        before = self.fee * self.gross // self.amount
        self.gross += gross
        self.remaining -= gross + refund
        return self.fee * self.gross // self.amount - before


class Model:
    """Balances by the book: give it each accepted command once, in any order that could be."""

    def __init__(self, players: int) -> None:
        self.purses: Final = [Purse() for _ in range(players)]
        self._sales: dict[str, _Sale] = {}
        self._held: dict[str, int] = {}

    def accept(self, planned: Planned, facts: Facts) -> None:
        """Move the money that an accepted command moves."""
        purse = self.purses[planned.player.number]
        amount = planned.amount
        match planned.kind:
            case CommandType.PROCESS_DEPOSIT:
                purse.available += amount
            case CommandType.LOCK_FUNDS:
                purse.available -= amount
                purse.bids += amount
            case CommandType.UNLOCK_FUNDS:
                purse.bids -= amount
                purse.available += amount
            case CommandType.PAY_ORDER:
                purse.available -= amount
                purse.escrow += amount
            case CommandType.CONVERT_TO_ESCROW:
                purse.bids -= amount + planned.rest
                purse.available += planned.rest
                purse.escrow += amount
            case _:
                self._accept_payout(planned, facts, purse)
        if isinstance(planned.thing, Order):
            self._accept_order(planned, facts, purse, planned.thing)

    def _accept_order(self, planned: Planned, facts: Facts, purse: Purse, order: Order) -> None:
        if planned.makes:
            self._sales[facts.id] = _Sale(
                planned.amount, parse_share(facts.fee_amount), planned.amount
            )
            return
        to_seller = to_buyer = 0
        match planned.kind:
            case CommandType.RELEASE_ESCROW:
                to_seller = planned.amount
            case CommandType.REFUND_ESCROW:
                to_buyer = planned.amount
            case CommandType.RESOLVE_DISPUTE:
                to_seller, to_buyer = planned.amount, planned.rest
            case _:
                return
        purse.escrow -= to_seller + to_buyer
        purse.available += to_buyer
        seller = self.purses[order.seller.number]
        sale = self._sales[order.id]
        seller.available += to_seller - sale.take(to_seller, to_buyer)
        if not sale.remaining:
            del self._sales[order.id]

    def _accept_payout(self, planned: Planned, facts: Facts, purse: Purse) -> None:
        payout_id = "" if planned.thing is None else planned.thing.id
        match planned.kind:
            case CommandType.REQUEST_WITHDRAWAL:
                held = planned.amount + parse_share(facts.fee)
                purse.available -= held
                purse.pending += held
                if planned.thing is not None:
                    self._held[facts.id] = held
            case CommandType.CANCEL_WITHDRAWAL | CommandType.FAIL_WITHDRAWAL:
                held = self._held.pop(payout_id)
                purse.pending -= held
                purse.available += held
            case CommandType.CONFIRM_WITHDRAWAL:
                purse.pending -= self._held.pop(payout_id)
            case _:
                pass


@dataclass(slots=True)
class Trail:
    """One player's events: each once, none missing, and the newest balance that they told."""

    next_sequence: int = 1
    #: Seen out of order: a sale is told by another partition's command.
    early: set[int] = field(default_factory=set)
    balance: Balance | None = None

    def see(self, sequence: int) -> bool:
        """False if an event of this number was seen before."""
        if sequence < self.next_sequence or sequence in self.early:
            return False
        self.early.add(sequence)
        while self.next_sequence in self.early:
            self.early.remove(self.next_sequence)
            self.next_sequence += 1
        return True

    def note(self, balance: Balance) -> None:
        """Keep the balance if it is the newest."""
        if self.balance is None or balance.version > self.balance.version:
            self.balance = balance


def differences(players: list[Player], model: Model, trails: list[Trail]) -> Iterator[str]:
    """Where events do not tell what they should: gaps, and balances that do not add up."""
    for player, purse, trail in zip(players, model.purses, trails, strict=True):
        if trail.early:
            yield (
                f"{player.user_id}: event {trail.next_sequence} is missing, "
                f"{min(trail.early)} was seen"
            )
        told = trail.balance
        if told is None:
            if purse != Purse():
                yield f"{player.user_id}: no event told a balance; {purse} was expected"
            continue
        seen = Purse(*(parse_share(getattr(told, name)) for name in Purse.__slots__))
        if seen != purse:
            yield f"{player.user_id}: {seen} was told; {purse} was expected"
        if parse_share(told.locked) != seen.bids + seen.escrow or parse_share(told.shortfall):
            yield f"{player.user_id}: locked or shortfall of {told} do not add up"
