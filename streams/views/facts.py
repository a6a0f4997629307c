"""What the views keep of an event: decoded once, amounts in koinu, times in milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from schemas.amounts import parse_share
from schemas.events import EventType
from schemas.rejections import Malformed
from schemas.times import in_milliseconds

MINUTE_MS: Final = 60_000

_WITHDRAWALS: Final = frozenset(
    {
        EventType.WITHDRAWAL_REQUESTED,
        EventType.WITHDRAWAL_PROCESSING,
        EventType.WITHDRAWAL_BROADCAST,
        EventType.WITHDRAWAL_CONFIRMED,
        EventType.WITHDRAWAL_UNCONFIRMED,
        EventType.WITHDRAWAL_FAILED,
    }
)
_ESCROWS: Final = frozenset(
    {
        EventType.ORDER_PAID,
        EventType.ESCROW_CREATED,
        EventType.ESCROW_RELEASED,
        EventType.ESCROW_REFUNDED,
        EventType.ESCROW_DISPUTED,
        EventType.ESCROW_RESOLVED,
    }
)
#: Events whose ``amount`` is what they are about, and all of it.
_PLAIN: Final = frozenset(
    {
        EventType.DEPOSIT_DETECTED,
        EventType.DEPOSIT_CONFIRMED,
        EventType.DEPOSIT_REVERSED,
        EventType.FUNDS_LOCKED,
        EventType.FUNDS_UNLOCKED,
        EventType.ORDER_PAID,
        EventType.ESCROW_CREATED,
        EventType.NETWORK_FEE_RECORDED,
        EventType.CUSTODY_MOVED,
        EventType.CAPITAL_FUNDED,
        EventType.REVENUE_WITHDRAWN,
    }
)


class Unreadable(Exception):
    """A record of the topic is no event of the wallet."""


class WithdrawalFact(NamedTuple):
    """How a withdrawal stands after the event."""

    id: str
    status: str
    requested_ms: int


class EscrowFact(NamedTuple):
    """An escrow after the event: ``settled`` koinu of it went to the seller or back so far."""

    id: str
    settled: int


class Fact(NamedTuple):
    """An event as the views count it.

    ``amount`` is in koinu: of a withdrawal with its fee, of a sale gross. What an escrow's event
    moved is known from its neighbours alone (``escrow``), so there it is 0. ``code`` is the
    rejection's.
    """

    user: str
    sequence: int
    time_ms: int
    type: str
    amount: int = 0
    code: str | None = None
    version: int | None = None
    shortfall: int = 0
    withdrawal: WithdrawalFact | None = None
    #: Withdrawals that a reversed deposit took back; no event of their own tells it.
    given_up: tuple[str, ...] = ()
    escrow: EscrowFact | None = None

    @property
    def minute(self) -> int:
        """Minutes since 1970."""
        return self.time_ms // MINUTE_MS


class _Result(msgspec.Struct):
    id: str = ""
    amount: str = "0"
    fee: str = "0"
    gross: str = "0"
    remaining: str = "0"
    status: str = ""
    requested_at: datetime | None = None
    withdrawals_failed: tuple[str, ...] = ()


class _Balance(msgspec.Struct):
    version: int
    shortfall: str


class _Data(msgspec.Struct):
    result: _Result | None = None
    balance: _Balance | None = None
    code: str | None = None


class _Event(msgspec.Struct):
    type: str
    subject: str
    time: datetime
    sequence: int
    data: _Data


_decoder: Final = msgspec.json.Decoder(_Event)


def fact_of(value: bytes | None) -> Fact:
    """The fact in a record's value; raises ``Unreadable``."""
    if value is None:
        raise Unreadable("the record is empty")
    try:
        event = _decoder.decode(value)
        return _fact(event, event.data.result or _Result(), event.data.balance)
    except (msgspec.MsgspecError, Malformed, ValueError, TypeError) as error:
        raise Unreadable(str(error)) from error


def _fact(event: _Event, result: _Result, balance: _Balance | None) -> Fact:
    withdrawal, escrow = None, None
    if event.type in _WITHDRAWALS:
        requested = result.requested_at or event.time
        withdrawal = WithdrawalFact(result.id, result.status, in_milliseconds(requested))
    elif event.type in _ESCROWS:
        escrow = EscrowFact(result.id, parse_share(result.amount) - parse_share(result.remaining))
    return Fact(
        user=event.subject,
        sequence=event.sequence,
        time_ms=in_milliseconds(event.time),
        type=event.type,
        amount=_amount(event.type, result),
        code=event.data.code if event.type == EventType.COMMAND_REJECTED else None,
        version=None if balance is None else balance.version,
        shortfall=0 if balance is None else parse_share(balance.shortfall),
        withdrawal=withdrawal,
        given_up=result.withdrawals_failed,
        escrow=escrow,
    )


def _amount(kind: str, result: _Result) -> int:
    if kind in _PLAIN:
        return parse_share(result.amount)
    if kind in _WITHDRAWALS:
        return parse_share(result.amount) + parse_share(result.fee)
    if kind == EventType.SALE_CREDITED:
        return parse_share(result.gross)
    return 0
