"""The bodies of requests and answers that the commands and events do not name already."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from api.problems import ProblemDocument
from schemas.commands import (
    ConvertToEscrow,
    Data,
    LockFunds,
    PayOrder,
    UnlockFunds,
    UserId,
)
from schemas.events import (
    AmountText,
    Balance,
    EscrowResult,
    LockResult,
    Result,
    TimeText,
    WithdrawalResult,
)
from schemas.ledger import Account, EntryType

ResultT = TypeVar("ResultT", bound=Result)

CommandId = Annotated[str, Meta(description="the command's place in the log, as a UUID")]


class LockBody(LockFunds, frozen=True, kw_only=True):
    """Lock money of a user's for a bid, under a reference of yours."""

    user_id: UserId


class UnlockBody(UnlockFunds, frozen=True, kw_only=True):
    """Give back money that was locked under the reference."""

    user_id: UserId


class PayOrderBody(PayOrder, frozen=True, kw_only=True):
    """Pay an order into escrow; ``user_id`` is the buyer."""

    user_id: UserId


class ConvertBody(ConvertToEscrow, frozen=True, kw_only=True):
    """Pay an order into escrow out of a lock; ``user_id`` is the buyer."""

    user_id: UserId


class Nothing(Data, frozen=True):
    """An empty object, or no body at all."""


class Answer(msgspec.Struct, Generic[ResultT], frozen=True, kw_only=True):
    """The outcome of a command as it was committed: what it brought about, and the balance then."""

    command_id: CommandId
    result: ResultT
    balance: Balance


class LockAnswer(Answer[LockResult], frozen=True, kw_only=True):
    """What stands locked, and the balance."""


class EscrowAnswer(Answer[EscrowResult], frozen=True, kw_only=True):
    """The escrow, and the buyer's balance."""


class WithdrawalAnswer(Answer[WithdrawalResult], frozen=True, kw_only=True):
    """The withdrawal, and the balance."""


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """The command is on its topic and will be decided; look for it at ``Location``."""

    command_id: CommandId
    outcome: Literal["pending"] = "pending"


class CommandStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command and what became of it.

    ``result`` and ``balance`` are there once it was accepted, ``problem`` once it was refused. A
    ``replayed`` command moved nothing: they are those of ``first_command_id``.
    """

    command_id: CommandId
    outcome: Literal["pending", "accepted", "rejected", "replayed", "key_reused", "dead_letter"]
    type: str | None = None
    idempotency_key: str | None = None
    decided_at: TimeText | None = None
    first_command_id: CommandId | None = None
    result: msgspec.Raw | None = None
    balance: msgspec.Raw | None = None
    problem: ProblemDocument | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a posting on one of the user's accounts; credits raise a balance."""

    id: str
    command_id: CommandId
    user_id: str
    account: Account
    entry_type: EntryType
    debit: AmountText
    credit: AmountText
    balance_after: AmountText
    reference_type: str | None
    reference_id: str | None
    idempotency_key: str
    created_at: TimeText


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A page of entries, newest first; ``next`` is the cursor of the page after, if any."""

    entries: tuple[Entry, ...]
    next: str | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the process runs, or what of it is ready."""

    status: Literal["ok", "unready"]
    checks: dict[str, bool] = {}
