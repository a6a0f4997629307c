"""An event as a program wants it: typed data, and its place on the topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from wallet_client.base import Model, convert, decode
from wallet_client.errors import WalletError
from wallet_client.models import Balance, CommandRejected, CommandReplayed
from wallet_client.tables import RESULTS


class NotAnEvent(WalletError):
    """A record that cannot be read as an event of the wallet; it is never passed over silently."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an accepted command brought about, and the balance after it."""

    result: Model
    balance: Balance


@dataclass(frozen=True, slots=True)
class Unknown:
    """The data of an event of a type that this client is too old to know."""

    document: dict[str, Any]


Outcome = Accepted | CommandRejected | CommandReplayed | Unknown


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one user: ``sequence`` counts the user's, gap-free, from 1.

    ``causationid`` is the command's id; ``idempotencykey`` its key, None where the command was
    another user's. ``partition`` and ``offset`` are the record's place on the events' topic.
    """

    id: str
    type: str
    subject: str
    time: datetime
    sequence: int
    causationid: str
    idempotencykey: str | None
    data: Outcome
    partition: int
    offset: int

    @property
    def result(self) -> Model | None:
        """What was brought about; None of rejections, replays and unknown types."""
        return self.data.result if isinstance(self.data, Accepted) else None

    @property
    def balance(self) -> Balance | None:
        """The balance after it, likewise."""
        return self.data.balance if isinstance(self.data, Accepted) else None


class _Envelope(msgspec.Struct, frozen=True):
    id: str
    type: str
    subject: str
    time: datetime
    sequence: int
    causationid: str
    data: msgspec.Raw
    idempotencykey: str | None = None


class _Acceptance(msgspec.Struct, frozen=True):
    result: Any
    balance: Balance


def read_event(value: bytes | None, partition: int, offset: int) -> Event:
    """A record's value as an event; raises ``NotAnEvent``."""
    try:
        envelope = decode(value or b"", _Envelope)
        data = _outcome(envelope.type, bytes(envelope.data))
    except msgspec.MsgspecError as error:
        raise NotAnEvent(f"partition {partition} offset {offset}: {error}") from error
    return Event(
        envelope.id,
        envelope.type,
        envelope.subject,
        envelope.time,
        envelope.sequence,
        envelope.causationid,
        envelope.idempotencykey,
        data,
        partition,
        offset,
    )


def _outcome(kind: str, data: bytes) -> Outcome:
    if kind == "command.rejected":
        return decode(data, CommandRejected)
    if kind == "command.replayed":
        return decode(data, CommandReplayed)
    if kind in RESULTS:
        found = decode(data, _Acceptance)
        return Accepted(convert(found.result, RESULTS[kind]), found.balance)
    return Unknown(decode(data, dict[str, Any]))
