"""The handlers that answer from the database; two of them make what is missing first."""

from __future__ import annotations

from typing import Final, Literal, cast

import msgspec
from aiohttp import web

from api import reads
from api.outcomes import Decided, fetch_outcomes
from api.posting import submit
from api.problems import Fault, Problem, document_of
from api.requests import (
    choice_of,
    cursor_of,
    number_of,
    path_id,
    preference_of,
    query_of,
    text_of,
    time_of,
)
from api.services import Call
from api.shapes import CommandStatus
from api.submission import Submitted, problem_of, respond
from schemas.commands import AssignAddress, CommandType, Data, OpenWallet
from schemas.events import AddressResult
from schemas.ids import place_of
from schemas.ledger import DEAD_LETTER, USER_ACCOUNTS, EntryType
from schemas.rejections import Rejection
from schemas.times import format_time, in_milliseconds
from schemas.topics import CommandTopic

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200

HISTORY_PARAMETERS: Final = frozenset(
    {"limit", "cursor", "type", "account", "reference_type", "reference_id", "from", "to"}
)
_ACCOUNTS: Final = frozenset(account.value for account in USER_ACCOUNTS)
_ENTRY_TYPES: Final = frozenset(entry_type.value for entry_type in EntryType)

#: Keys of the API's own: the same for each attempt, so that a wallet is made once, and an address
#: once under each version of the rules, of which a later one may name another account.
_OPEN_KEY: Final = "wallet:open"
_ADDRESS_KEY: Final = "wallet:deposit-address:{version}"

OutcomeText = Literal["accepted", "rejected", "replayed", "key_reused", "dead_letter"]


class _Document(msgspec.Struct, frozen=True):
    """The two halves of an acceptance's document, as they are."""

    result: msgspec.Raw
    balance: msgspec.Raw


def as_json(body: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )


async def balance(call: Call) -> web.Response:
    """The user's balance now, or at a time."""
    at = time_of(query_of(call.request, frozenset({"at"})), "at")
    pool = call.services.pool
    if at is not None:
        return as_json(await reads.balance_at(pool, call.user_id, at))
    found = await reads.balance(pool, call.user_id)
    if found is None:
        submitted = await _make(call, CommandType.OPEN_WALLET, _OPEN_KEY, OpenWallet())
        if submitted.decided is None:
            return respond(submitted, preference_of(call.request, 0.0))
        found = await reads.balance(pool, call.user_id)
    return as_json(found)


async def deposit_address(call: Call) -> web.Response:
    """The address that the user may pay to."""
    query_of(call.request, frozenset())
    found, version = await reads.address(call.services.pool, call.user_id)
    if found is None:
        key = _ADDRESS_KEY.format(version=version)
        submitted = await _make(call, CommandType.ASSIGN_ADDRESS, key, AssignAddress())
        decided = submitted.decided
        if decided is None:
            return respond(submitted, preference_of(call.request, 0.0))
        document = msgspec.json.decode((decided.first or decided).document, type=_Document)
        found = msgspec.json.decode(document.result, type=AddressResult)
    return as_json(found)


async def _make(call: Call, kind: CommandType, key: str, data: Data) -> Submitted:
    preference = preference_of(call.request, call.services.settings.api_wait_seconds)
    submitted = await submit(call, kind, call.user_id, key, data, preference)
    if submitted.decided is not None:
        problem = problem_of(submitted.decided)
        if problem is not None:
            raise problem
    return submitted


async def history(call: Call) -> web.Response:
    """A page of the user's entries."""
    values = query_of(call.request, HISTORY_PARAMETERS)
    wanted = reads.Filter(
        user_id=call.user_id,
        limit=number_of(values, "limit", PAGE_DEFAULT, PAGE_MAX),
        cursor=cursor_of(values),
        entry_type=choice_of(values, "type", _ENTRY_TYPES),
        account=choice_of(values, "account", _ACCOUNTS),
        reference_type=text_of(values, "reference_type"),
        reference_id=text_of(values, "reference_id"),
        since=time_of(values, "from"),
        until=time_of(values, "to"),
    )
    return as_json(await reads.history(call.services.pool, wanted))


async def withdrawal(call: Call) -> web.Response:
    """One of the user's withdrawals."""
    query_of(call.request, frozenset())
    found = await reads.withdrawal(call.services.pool, path_id(call.request))
    if found is None or found.user_id != call.user_id:
        raise Problem(Rejection.WITHDRAWAL_NOT_FOUND)
    return as_json(found)


async def escrow(call: Call) -> web.Response:
    """An escrow, for its buyer, its seller and services; to all others it isn't there."""
    query_of(call.request, frozenset())
    found = await reads.escrow(call.services.pool, path_id(call.request))
    if found is None or not (
        call.caller.is_service or call.caller.user_id in {found.buyer_id, found.seller_id}
    ):
        raise Problem(Rejection.ESCROW_NOT_FOUND, "There is no such escrow of yours.")
    return as_json(found)


async def command(call: Call) -> web.Response:
    """What became of a command, for its user and for services."""
    query_of(call.request, frozenset())
    command_id = path_id(call.request)
    # Asked before the outcome is: what was passed by then must have one.
    may_come = _may_come(call, command_id)
    decided = (await fetch_outcomes(call.services.pool, [command_id])).get(command_id)
    if decided is None and may_come:
        return as_json(CommandStatus(command_id=command_id, outcome="pending"))
    mine = call.caller.is_service or (
        decided is not None and decided.user_id == call.caller.user_id
    )
    if decided is None or not mine:
        raise Problem(Fault.COMMAND_NOT_FOUND)
    return as_json(_status(decided, call.request.path))


def _may_come(call: Call, command_id: str) -> bool:
    """True if the worker has yet to reach that place, and the caller may have a command there."""
    try:
        place, leg = place_of(command_id)
    except ValueError:
        return False
    services = call.services
    known = place.topic in set(CommandTopic) and place.partition < services.settings.partitions
    if leg != 0 or not known:
        return False
    progress = services.outcomes.progress
    if not progress.knows(place) or progress.passed(place.topic, place.partition, place.offset):
        return False
    if call.caller.is_service:
        return True
    user_id = call.caller.user_id
    return (
        user_id is not None
        and place.topic == CommandTopic.USERS
        and services.sender.partition_of(user_id) == place.partition
    )


def _status(decided: Decided, path: str) -> CommandStatus:
    problem = problem_of(decided)
    standing = decided.first or decided
    document = None
    if problem is None:
        document = msgspec.json.decode(standing.document, type=_Document)
    is_letter = decided.outcome == DEAD_LETTER
    return CommandStatus(
        command_id=decided.id,
        outcome=cast("OutcomeText", decided.outcome),
        type=None if is_letter else decided.type,
        idempotency_key=None if is_letter else decided.idempotency_key,
        decided_at=format_time(in_milliseconds(decided.decided_at)),
        first_command_id=decided.first.id if decided.first is not None else None,
        result=document.result if document else None,
        balance=document.balance if document else None,
        problem=document_of(problem, path) if problem is not None else None,
    )
