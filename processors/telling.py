"""What is told of decisions: events, outcomes and notices of dead letters, packed.

Apart from deciding, since nothing that is decided depends on it: the database takes in what is
packed while the next is packed. Pure, and the same decisions give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from db.copy import command_row
from db.ledger.reads import First
from db.ledger.writes import DeadLetter
from processors.incoming import Record, Undecidable
from schemas.amounts import format_amount
from schemas.envelope import Command
from schemas.events import (
    Accepted,
    Balance,
    CloudEvent,
    CommandRejected,
    CommandReplayed,
    Result,
)
from schemas.ids import EVENT_LEG, PackedIds, bytes_of, text_of_leg
from schemas.ledger import CommandOutcome
from schemas.publications import DeadLetterNotice
from schemas.records import Wallet
from schemas.times import format_time
from schemas.topics import RECORD_MAX_BYTES

EVENT_SOURCE: Final = "wallet"

#: What a frame is for; the publisher knows the topic.
EVENT_FRAME: Final = 0
DEAD_LETTER_FRAME: Final = 1
MANIFEST_FRAME: Final = 2

_encode = msgspec.json.Encoder().encode
_ACCEPTED: Final = CommandOutcome.ACCEPTED
_REPLAYED: Final = CommandOutcome.REPLAYED
_ZERO: Final = format_amount(0)


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record to publish."""

    kind: int
    key: bytes
    value: bytes


class Happened(msgspec.Struct, frozen=True, gc=False):
    """An event: the wallet as it was right after, and the result of what was accepted."""

    event: str
    wallet: Wallet
    result: Result | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a command came to, and its events; the first is its own user's."""

    record: Record
    command: Command
    id: str
    number: int
    outcome: CommandOutcome
    happened: Sequence[Happened]
    code: str | None = None
    message: str = ""
    #: The first command of the same idempotency key, if it was used before.
    first: First | None = None


class Told(msgspec.Struct):
    """Rows of ``commands`` and what is to be published, both in the order of the log."""

    commands: list[bytes]
    frames: list[Frame]


class Teller:
    """Packs what a batch has decided."""

    def __init__(self, batch_id: int) -> None:
        self._batch_id = batch_id
        self._user_bytes = PackedIds()

    def tell(self, decided: Sequence[Outcome | DeadLetter]) -> Told:
        """Pack what one partition's part of the batch came to; raises ``Undecidable`` on a fault
        of the program."""
        told = Told([], [])
        for each in decided:
            if type(each) is not Outcome:
                assert type(each) is DeadLetter
                told.frames.append(_notice_of(each))
                continue
            try:
                self._outcome(told, each)
            except Exception as error:
                raise Undecidable(each.record) from error
        return told

    def _outcome(self, told: Told, outcome: Outcome) -> None:
        own = b""
        for place, happened in enumerate(outcome.happened):
            document = _document_of(outcome, happened)
            if place == 0:
                own = document
            told.frames.append(_frame_of(outcome, place, happened, document))
        told.commands.append(self._row_of(outcome, own))

    def _row_of(self, outcome: Outcome, document: bytes) -> bytes:
        command, first = outcome.command, outcome.first
        user_id = command.user_id
        return command_row(
            outcome.number.to_bytes(16, "big"),
            self._user_bytes[user_id],
            outcome.record.topic,
            command.kind,
            command.idempotency_key,
            command.request_hash,
            outcome.outcome,
            outcome.code,
            None if first is None else bytes_of(first.command_id),
            document,
            self._batch_id,
            outcome.happened[0].wallet.time,
        )


def _document_of(outcome: Outcome, happened: Happened) -> bytes:
    if happened.result is not None:
        return _encode(Accepted(happened.result, balance_of(happened.wallet)))
    command, first = outcome.command, outcome.first
    if first is not None and outcome.outcome is _REPLAYED:
        return _encode(
            CommandReplayed(
                first_command_id=first.command_id,
                outcome="accepted" if first.outcome == _ACCEPTED else "rejected",
                code=outcome.code,
                idempotency_key=command.idempotency_key,
            )
        )
    assert outcome.code is not None
    return _encode(
        CommandRejected(
            code=outcome.code,
            message=outcome.message,
            type=command.kind,
            idempotency_key=command.idempotency_key,
        )
    )


def _frame_of(outcome: Outcome, place: int, happened: Happened, document: bytes) -> Frame:
    """The event of one wallet; its own command's key is shown to no other user."""
    wallet = happened.wallet
    user_id = wallet.user_id
    value = _encode(
        CloudEvent(
            id=text_of_leg(outcome.id, outcome.number, EVENT_LEG + place),
            source=EVENT_SOURCE,
            type=happened.event,
            subject=user_id,
            time=format_time(wallet.time),
            sequence=wallet.sequence,
            causationid=outcome.id,
            idempotencykey=msgspec.UNSET if place else outcome.command.idempotency_key,
            data=msgspec.Raw(document),
        )
    )
    return Frame(EVENT_FRAME, user_id.encode(), value)


def _notice_of(letter: DeadLetter) -> Frame:
    notice = DeadLetterNotice(
        id=letter.id,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        code=letter.code,
        detail=letter.detail,
        key=None if letter.key is None else letter.key[:RECORD_MAX_BYTES],
        value=None if letter.value is None else letter.value[:RECORD_MAX_BYTES],
        time=format_time(letter.time),
    )
    return Frame(DEAD_LETTER_FRAME, notice.key or b"", _encode(notice))


def balance_of(wallet: Wallet) -> Balance:
    """A wallet as its owner sees it."""
    bids, escrow = wallet.bids, wallet.escrow
    bids_text = format_amount(bids)
    return Balance(
        user_id=wallet.user_id,
        available=format_amount(wallet.available),
        locked=format_amount(bids + escrow) if escrow else bids_text,
        bids=bids_text,
        escrow=format_amount(escrow) if escrow else _ZERO,
        pending=format_amount(wallet.pending) if wallet.pending else _ZERO,
        shortfall=format_amount(wallet.shortfall) if wallet.shortfall else _ZERO,
        frozen=wallet.frozen_by_operator or wallet.shortfall > 0,
        version=wallet.version,
        updated_at=format_time(wallet.time),
    )
