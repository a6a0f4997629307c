"""The table of routes: from it the application is built, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiohttp import web

from api import posting, reading, shapes
from api.problems import Code, Fault
from api.services import Call
from schemas.commands import (
    CommandType,
    DisputeEscrow,
    RefundEscrow,
    ReleaseEscrow,
    RequestWithdrawal,
    ResolveDispute,
)
from schemas.events import AddressResult, Balance, EscrowResult, WithdrawalResult
from schemas.rejections import Rejection

PREFIX: Final = "/api/v1/wallet"


class Access(StrEnum):
    """Whom a route lets in: a user, a service, or either of them."""

    USER = "user"
    SERVICE = "service"
    EITHER = "either"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One operation: its path below the prefix, without the last slash that may follow."""

    method: str
    path: str
    name: str
    summary: str
    access: Access
    handler: Callable[[Call], Awaitable[web.Response]]
    answer: Any
    body: Any = None
    #: The body may be left out.
    optional_body: bool = False
    parameters: tuple[str, ...] = ()
    #: True where a command is sent, so that 202 may come.
    sends: bool = False
    #: What this route may refuse beside what all of its kind do.
    refuses: tuple[Code, ...] = ()

    @property
    def codes(self) -> tuple[Code, ...]:
        """All codes that a problem of this route may have."""
        return (
            *_ALWAYS,
            *_BY_ACCESS[self.access],
            *(_SENDS if self.sends else ()),
            *(_POSTS if self.method == "POST" else ()),
            *self.refuses,
        )


_ALWAYS: Final[tuple[Code, ...]] = (
    Fault.BAD_REQUEST,
    Fault.UNKNOWN_PARAMETER,
    Fault.BAD_PARAMETER,
    Fault.TOKEN_MISSING,
    Fault.TOKEN_INVALID,
    Fault.RATE_LIMITED,
    Fault.INTERNAL,
    Fault.DATABASE_UNAVAILABLE,
    Fault.QUERY_TOO_LONG,
    Fault.KEYS_UNAVAILABLE,
)
_BY_ACCESS: Final[dict[Access, tuple[Code, ...]]] = {
    Access.USER: (Fault.NOT_A_USER,),
    Access.SERVICE: (Fault.SCOPE_MISSING,),
    Access.EITHER: (Fault.NOT_A_USER,),
}
_SENDS: Final[tuple[Code, ...]] = (
    Fault.OUTCOME_UNKNOWN,
    Fault.BROKER_UNAVAILABLE,
    Fault.OVERLOADED,
    Rejection.KEY_REUSED,
    Rejection.UNPROCESSABLE,
)
_POSTS: Final[tuple[Code, ...]] = (
    Fault.KEY_MISSING,
    Rejection.BAD_IDEMPOTENCY_KEY,
    Fault.NOT_JSON_TYPE,
    Fault.BODY_TOO_LARGE,
    Fault.TOO_SLOW,
    Fault.FIELD_REPEATED,
    Rejection.TOO_LARGE,
    Rejection.NOT_UTF8,
    Rejection.NOT_JSON,
    Rejection.NOT_AN_OBJECT,
    Rejection.UNKNOWN_FIELD,
    Rejection.MISSING_FIELD,
    Rejection.WRONG_TYPE,
    Rejection.BAD_ID,
    Rejection.BAD_TEXT,
    Rejection.CONTROL_CHARACTERS,
    Rejection.WRONG_USER,
)
_AMOUNTS: Final = (
    Rejection.AMOUNT_NOT_TEXT,
    Rejection.AMOUNT_MALFORMED,
    Rejection.AMOUNT_NEGATIVE,
    Rejection.AMOUNT_TOO_PRECISE,
    Rejection.AMOUNT_TOO_LARGE,
    Rejection.AMOUNT_ZERO,
)
_SPENDS: Final = (Rejection.WALLET_FROZEN, Rejection.INSUFFICIENT_FUNDS)
_ESCROW_STATES: Final = (
    Rejection.ESCROW_NOT_FOUND,
    Rejection.ESCROW_CLOSED,
    Rejection.ESCROW_DISPUTED,
    Rejection.ESCROW_NOT_DISPUTED,
    Rejection.ESCROW_INSUFFICIENT,
    Rejection.ESCROW_PARTS_MISMATCH,
    Rejection.BALANCE_OVERFLOW,
)
_PAYS_ORDER: Final = (
    *_AMOUNTS,
    *_SPENDS,
    Rejection.BAD_USER_ID,
    Rejection.ESCROW_EXISTS,
    Rejection.SELF_DEALING,
    Rejection.HOUSE_SELLER,
)

USER_ROUTES: Final = (
    Route(
        method="GET",
        path="/balance",
        name="getBalance",
        summary="The balance, now or at a past time; makes the wallet where there is none",
        access=Access.USER,
        handler=reading.balance,
        answer=Balance,
        parameters=("at", "prefer"),
        sends=True,
        refuses=(Rejection.BAD_TIME,),
    ),
    Route(
        method="GET",
        path="/deposit-address",
        name="getDepositAddress",
        summary="The address to pay to; makes one where there is none",
        access=Access.USER,
        handler=reading.deposit_address,
        answer=AddressResult,
        parameters=("prefer",),
        sends=True,
    ),
    Route(
        method="POST",
        path="/withdraw",
        name="requestWithdrawal",
        summary="Pay to an address on chain; the fee comes on top of the amount",
        access=Access.USER,
        handler=posting.withdraw,
        answer=shapes.WithdrawalAnswer,
        body=RequestWithdrawal,
        sends=True,
        refuses=(
            *_AMOUNTS,
            *_SPENDS,
            Rejection.ADDRESS_MALFORMED,
            Rejection.ADDRESS_WRONG_NETWORK,
            Rejection.ADDRESS_OWN,
            Rejection.BELOW_MINIMUM,
            Rejection.ABOVE_MAXIMUM,
        ),
    ),
    Route(
        method="GET",
        path="/history",
        name="getHistory",
        summary="The entries of the user's accounts, newest first, a page at a time",
        access=Access.USER,
        handler=reading.history,
        answer=shapes.History,
        parameters=tuple(sorted(reading.HISTORY_PARAMETERS)),
        refuses=(Fault.BAD_CURSOR, Rejection.BAD_TIME, Rejection.CONTROL_CHARACTERS),
    ),
    Route(
        method="GET",
        path="/withdrawals/{id}",
        name="getWithdrawal",
        summary="One of the user's withdrawals",
        access=Access.USER,
        handler=reading.withdrawal,
        answer=WithdrawalResult,
        refuses=(Rejection.BAD_ID, Rejection.WITHDRAWAL_NOT_FOUND),
    ),
    Route(
        method="POST",
        path="/withdrawals/{id}/cancel",
        name="cancelWithdrawal",
        summary="Give back a withdrawal that is still PENDING",
        access=Access.USER,
        handler=posting.cancel_withdrawal,
        answer=shapes.WithdrawalAnswer,
        body=shapes.Nothing,
        optional_body=True,
        sends=True,
        refuses=(
            Rejection.WITHDRAWAL_NOT_FOUND,
            Rejection.WITHDRAWAL_WRONG_STATUS,
        ),
    ),
    Route(
        method="GET",
        path="/escrows/{id}",
        name="getEscrow",
        summary="An escrow, for its buyer, its seller and services",
        access=Access.EITHER,
        handler=reading.escrow,
        answer=EscrowResult,
        refuses=(Rejection.BAD_ID, Rejection.ESCROW_NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/commands/{id}",
        name="getCommand",
        summary="What became of a command; it may still be pending",
        access=Access.EITHER,
        handler=reading.command,
        answer=shapes.CommandStatus,
        refuses=(Rejection.BAD_ID, Fault.COMMAND_NOT_FOUND),
    ),
)


def _internal(
    kind: CommandType,
    path: str,
    summary: str,
    answer: Any,
    body: Any,
    refuses: tuple[Code, ...],
) -> Route:
    by_escrow = hasattr(body, "escrow_id")
    words = kind.value.split("_")
    return Route(
        method="POST",
        path=f"/internal/{path}",
        name=words[0] + "".join(word.capitalize() for word in words[1:]),
        summary=summary,
        access=Access.SERVICE,
        handler=posting.for_escrow(kind) if by_escrow else posting.for_user(kind),
        answer=answer,
        body=body,
        sends=True,
        refuses=refuses if by_escrow else (Rejection.BAD_USER_ID, *refuses),
    )


SERVICE_ROUTES: Final = (
    _internal(
        CommandType.LOCK_FUNDS,
        "lock",
        "Lock a user's money for a bid, under a reference",
        shapes.LockAnswer,
        shapes.LockBody,
        (*_AMOUNTS, *_SPENDS),
    ),
    _internal(
        CommandType.UNLOCK_FUNDS,
        "unlock",
        "Give back what is locked under a reference",
        shapes.LockAnswer,
        shapes.UnlockBody,
        (*_AMOUNTS, Rejection.LOCK_INSUFFICIENT),
    ),
    _internal(
        CommandType.PAY_ORDER,
        "pay-order",
        "Pay an order into escrow out of what is available",
        shapes.EscrowAnswer,
        shapes.PayOrderBody,
        _PAYS_ORDER,
    ),
    _internal(
        CommandType.CONVERT_TO_ESCROW,
        "convert-to-escrow",
        "Pay an order into escrow out of a lock; the rest of the lock is unlocked",
        shapes.EscrowAnswer,
        shapes.ConvertBody,
        (*_PAYS_ORDER, Rejection.LOCK_INSUFFICIENT),
    ),
    _internal(
        CommandType.RELEASE_ESCROW,
        "release-escrow",
        "Pay the seller out of an escrow, all that remains unless an amount is given",
        shapes.EscrowAnswer,
        ReleaseEscrow,
        (*_AMOUNTS, *_ESCROW_STATES),
    ),
    _internal(
        CommandType.REFUND_ESCROW,
        "refund-escrow",
        "Pay the buyer back out of an escrow, all that remains unless an amount is given",
        shapes.EscrowAnswer,
        RefundEscrow,
        (*_AMOUNTS, *_ESCROW_STATES),
    ),
    _internal(
        CommandType.DISPUTE_ESCROW,
        "dispute-escrow",
        "Stop release and refund of an escrow until the dispute is resolved",
        shapes.EscrowAnswer,
        DisputeEscrow,
        _ESCROW_STATES,
    ),
    _internal(
        CommandType.RESOLVE_DISPUTE,
        "resolve-dispute",
        "Share what remains between seller (gross of the fee) and buyer",
        shapes.EscrowAnswer,
        ResolveDispute,
        (*_AMOUNTS, *_ESCROW_STATES),
    ),
)

ROUTES: Final = (*USER_ROUTES, *SERVICE_ROUTES)
