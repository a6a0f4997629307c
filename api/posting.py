"""The handlers that put a command on its topic and answer what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web

from api import reads
from api.problems import Problem
from api.requests import (
    Preference,
    body_of,
    data_of,
    idempotency_key_of,
    path_id,
    preference_of,
    query_of,
    split_user,
)
from api.services import COMMAND_ID, Call
from api.submission import Ask, Submitted, respond
from schemas.commands import (
    CancelWithdrawal,
    CommandType,
    Data,
    DisputeEscrow,
    RefundEscrow,
    ReleaseEscrow,
    ResolveDispute,
)
from schemas.rejections import Rejection

Handler = Callable[[Call], Awaitable[web.Response]]

OfEscrow = ReleaseEscrow | RefundEscrow | DisputeEscrow | ResolveDispute


async def withdraw(call: Call) -> web.Response:
    """Hold amount and fee for a payment on chain."""
    kind = CommandType.REQUEST_WITHDRAWAL
    key, preference = _heads(call)
    data = data_of(kind, await body_of(call.request))
    return await _answer(call, kind, call.user_id, key, data, preference)


async def cancel_withdrawal(call: Call) -> web.Response:
    """Give back a withdrawal that nobody has claimed."""
    key, preference = _heads(call)
    withdrawal_id = path_id(call.request)
    body = await body_of(call.request)
    if body:
        # All there is to say stands in the path: an empty object may be sent, nothing else.
        data_of(CommandType.OPEN_WALLET, body)
    return await _answer(
        call,
        CommandType.CANCEL_WITHDRAWAL,
        call.user_id,
        key,
        CancelWithdrawal(withdrawal_id=withdrawal_id),
        preference,
    )


def for_user(kind: CommandType) -> Handler:
    """A service's command about the ``user_id`` in the body."""

    async def handler(call: Call) -> web.Response:
        key, preference = _heads(call)
        user_id, rest = split_user(await body_of(call.request))
        return await _answer(call, kind, user_id, key, data_of(kind, rest), preference)

    return handler


def for_escrow(kind: CommandType) -> Handler:
    """A service's command about an escrow; it is keyed by the buyer, who is looked up."""

    async def handler(call: Call) -> web.Response:
        key, preference = _heads(call)
        data = data_of(kind, await body_of(call.request))
        escrow_id = cast("OfEscrow", data).escrow_id
        buyer_id = await reads.buyer_of(call.services.pool, escrow_id)
        if buyer_id is None:
            raise Problem(Rejection.ESCROW_NOT_FOUND)
        return await _answer(call, kind, buyer_id, key, data, preference)

    return handler


async def submit(
    call: Call,
    kind: CommandType,
    user_id: str,
    key: str,
    data: Data,
    preference: Preference,
) -> Submitted:
    """Have a command decided in the name of the caller."""
    ask = Ask(
        kind=kind,
        user_id=user_id,
        idempotency_key=key,
        data=data,
        issuer=f"api:{call.caller.subject}",
    )
    submitted = await call.services.submission.submit(ask, preference)
    call.request[COMMAND_ID] = submitted.command_id
    return submitted


def _heads(call: Call) -> tuple[str, Preference]:
    query_of(call.request, frozenset())
    key = idempotency_key_of(call.request)
    return key, preference_of(call.request, call.services.settings.api_wait_seconds)


async def _answer(
    call: Call,
    kind: CommandType,
    user_id: str,
    key: str,
    data: Data,
    preference: Preference,
) -> web.Response:
    return respond(await submit(call, kind, user_id, key, data, preference), preference)
