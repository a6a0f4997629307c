"""The journal of one batch: decides its commands one by one and packs all that is to be written.

Pure: it works on books in memory, and the same records on the same books give the same bytes. So a
batch can be retried, and a rebuilt database compared hash by hash.
"""

from __future__ import annotations

from typing import Final

import msgspec

from db.copy import command_row, entry_row, text_field
from db.reads import First
from db.writes import DeadLetter
from processors.books import BatchBooks
from processors.incoming import Record, Slice, Undecidable
from processors.ledger.decide import decide
from processors.ledger.model import Acceptance, Refusal, Request
from processors.ledger.postings import EntryRow, post
from schemas.amounts import format_amount
from schemas.envelope import Command
from schemas.events import (
    Accepted,
    Balance,
    CloudEvent,
    CommandRejected,
    CommandReplayed,
    EventType,
)
from schemas.ids import EVENT_LEG, bytes_of, command_number, slice_base, text_of, text_of_leg
from schemas.ledger import CommandOutcome
from schemas.publications import DeadLetterNotice
from schemas.records import Wallet
from schemas.rejections import Malformed, Rejection
from schemas.times import format_time, within_years
from schemas.topics import RECORD_MAX_BYTES

EVENT_SOURCE: Final = "wallet"

#: What a frame is for; the publisher knows the topic.
EVENT_FRAME: Final = 0
DEAD_LETTER_FRAME: Final = 1
MANIFEST_FRAME: Final = 2

_encode = msgspec.json.Encoder().encode
_ACCEPTED: Final = CommandOutcome.ACCEPTED
_REJECTED: Final = CommandOutcome.REJECTED
_REPLAYED: Final = CommandOutcome.REPLAYED
_KEY_REUSED: Final = CommandOutcome.KEY_REUSED
_EVENT_REJECTED: Final = EventType.COMMAND_REJECTED
_EVENT_REPLAYED: Final = EventType.COMMAND_REPLAYED
_ZERO: Final = format_amount(0)


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record to publish."""

    kind: int
    key: bytes
    value: bytes


class SliceJournal(msgspec.Struct):
    """What one partition's part of the batch came to."""

    slice: Slice
    generation: int
    commands: list[bytes]
    entries: list[bytes]
    frames: list[Frame]
    dead_letters: list[DeadLetter]


class Counts(msgspec.Struct):
    """Outcomes of a batch, for metrics."""

    accepted: int = 0
    rejected: int = 0
    replayed: int = 0
    key_reused: int = 0
    dead_letters: int = 0


class Journal:
    """Decides slices in order; ``firsts`` are the idempotency keys that are known so far."""

    def __init__(
        self, books: BatchBooks, firsts: dict[tuple[str, int, str], First], batch_id: int
    ) -> None:
        self.books = books
        self.counts = Counts()
        #: The command that made each of ``books.new_rules``, with its time in milliseconds.
        self.rule_makers: list[tuple[str, int]] = []
        #: Wallets that had an event, to be written.
        self.touched: dict[str, Wallet] = {}
        self.batch_id = batch_id
        self._firsts = firsts
        self._user_bytes: dict[str, bytes] = {}

    def decide(self, slice_: Slice, generation: int) -> SliceJournal:
        """Decide a slice's commands by offset; raises ``Undecidable`` on a fault of the program."""
        journal = SliceJournal(slice_, generation, [], [], [], [])
        base = slice_base(slice_.topic, generation, slice_.partition)
        for item in slice_.items:
            number = command_number(base, item.record.offset)
            if isinstance(item.command, Malformed):
                self._bury(journal, item.record, item.command, text_of(number))
                continue
            try:
                self._command(journal, item.record, item.command, number)
            except Exception as error:
                raise Undecidable(item.record) from error
        return journal

    def _bury(
        self, journal: SliceJournal, record: Record, fault: Malformed, letter_id: str
    ) -> None:
        self.counts.dead_letters += 1
        # What is buried is what could not be applied, perhaps for its time: here none may fail.
        time = within_years(record.time)
        letter = DeadLetter(
            letter_id,
            record.topic,
            journal.generation,
            record.partition,
            record.offset,
            fault.code.value,
            fault.detail,
            record.key,
            record.value,
            time,
        )
        notice = DeadLetterNotice(
            id=letter_id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            code=fault.code.value,
            detail=fault.detail,
            key=None if record.key is None else record.key[:RECORD_MAX_BYTES],
            value=None if record.value is None else record.value[:RECORD_MAX_BYTES],
            time=format_time(time),
        )
        journal.dead_letters.append(letter)
        journal.frames.append(Frame(DEAD_LETTER_FRAME, notice.key or b"", _encode(notice)))

    def _command(
        self, journal: SliceJournal, record: Record, command: Command, number: int
    ) -> None:
        user_id = command.user_id
        wallet = self.books.wallets[user_id]
        if record.time > wallet.time:
            wallet.time = record.time
        key = (user_id, record.topic, command.idempotency_key)
        first = self._firsts.get(key)
        if first is not None:
            self._again(journal, record, command, number, first)
            return
        command_id = text_of(number)
        request = Request(command_id, user_id, command.data, wallet.time)
        decision = decide(request, self.books)
        if type(decision) is Acceptance:
            outcome, code = _ACCEPTED, None
            document = self._accept(journal, command, request, decision, number)
            self.counts.accepted += 1
        else:
            assert type(decision) is Refusal
            outcome, code = _REJECTED, decision.code
            document = _refused(command, code, decision.detail or code.line)
            self._tell(journal, wallet, command_id, number, 0, _EVENT_REJECTED, document, command)
            self.counts.rejected += 1
        self._firsts[key] = First(command_id, command.request_hash, outcome, code)
        self._record(journal, record.topic, command, number, outcome, code, None, document)

    def _again(
        self,
        journal: SliceJournal,
        record: Record,
        command: Command,
        number: int,
        first: First,
    ) -> None:
        """A key that was used before: no money moves, whatever the first came to."""
        if first.request_hash == command.request_hash:
            outcome, event, code = _REPLAYED, _EVENT_REPLAYED, first.code
            document = _encode(
                CommandReplayed(
                    first_command_id=first.command_id,
                    outcome="accepted" if first.outcome == _ACCEPTED else "rejected",
                    code=code,
                    idempotency_key=command.idempotency_key,
                )
            )
            self.counts.replayed += 1
        else:
            outcome, event, code = _KEY_REUSED, _EVENT_REJECTED, Rejection.KEY_REUSED
            document = _refused(command, Rejection.KEY_REUSED, Rejection.KEY_REUSED.line)
            self.counts.key_reused += 1
        wallet = self.books.wallets[command.user_id]
        self._tell(journal, wallet, text_of(number), number, 0, event, document, command)
        self._record(
            journal, record.topic, command, number, outcome, code, first.command_id, document
        )

    def _accept(
        self,
        journal: SliceJournal,
        command: Command,
        request: Request,
        acceptance: Acceptance,
        number: int,
    ) -> bytes:
        """Apply an acceptance to the books, pack its entries and events; the outcome's document."""
        books = self.books
        wallets = books.wallets
        time = request.time
        rows = post(request.user_id, acceptance.postings, wallets.__getitem__)
        if acceptance.freeze is not None:
            wallets[request.user_id].frozen_by_operator = acceptance.freeze
        for record in acceptance.records:
            books.put(record)
        if len(books.new_rules) > len(self.rule_makers):
            self.rule_makers.append((request.id, time))
        own = b""
        for place, notice in enumerate(acceptance.notices):
            wallet = wallets[notice.user_id]
            event = notice.event
            wallet.version += 1
            if time > wallet.time:
                wallet.time = time
            if wallet.opened_at == 0:
                wallet.opened_at = wallet.time
            document = _encode(Accepted(notice.result, balance_of(wallet)))
            if place:
                self._tell(journal, wallet, request.id, number, place, event, document, None)
            else:
                own = document
                self._tell(journal, wallet, request.id, number, 0, event, document, command)
        if rows:
            self._enter(journal.entries, rows, number, time)
        return own

    def _enter(self, packed: list[bytes], rows: list[EntryRow], number: int, time: int) -> None:
        command_id = number.to_bytes(16, "big")
        wallets = self.books.wallets
        told: tuple[str | None, str | None] | None = None
        reference = b""
        for leg, row in enumerate(rows, number + 1):
            owner, account, entry_type, debit, credit, balance, kind, ident = row
            if told is None or kind != told[0] or ident != told[1]:
                told = (kind, ident)
                reference = text_field(kind) + text_field(ident)
            version, when = 0, time
            if balance is not None:
                wallet = wallets[owner]
                version, when = wallet.version, wallet.time
            packed.append(
                entry_row(
                    leg.to_bytes(16, "big"),
                    command_id,
                    self._user_bytes.get(owner) or self._bytes_of(owner),
                    account,
                    entry_type,
                    debit,
                    credit,
                    balance,
                    reference,
                    version,
                    when,
                )
            )

    def _tell(
        self,
        journal: SliceJournal,
        wallet: Wallet,
        command_id: str,
        number: int,
        place: int,
        event: str,
        document: bytes,
        command: Command | None,
    ) -> None:
        """The event of one wallet; its own command's key is shown to no other user."""
        user_id = wallet.user_id
        wallet.sequence += 1
        self.touched[user_id] = wallet
        value = _encode(
            CloudEvent(
                id=text_of_leg(command_id, number, EVENT_LEG + place),
                source=EVENT_SOURCE,
                type=event,
                subject=user_id,
                time=format_time(wallet.time),
                sequence=wallet.sequence,
                causationid=command_id,
                idempotencykey=msgspec.UNSET if command is None else command.idempotency_key,
                data=msgspec.Raw(document),
            )
        )
        journal.frames.append(Frame(EVENT_FRAME, user_id.encode(), value))

    def _record(
        self,
        journal: SliceJournal,
        topic: int,
        command: Command,
        number: int,
        outcome: str,
        code: str | None,
        first_id: str | None,
        document: bytes,
    ) -> None:
        user_id = command.user_id
        journal.commands.append(
            command_row(
                number.to_bytes(16, "big"),
                self._user_bytes.get(user_id) or self._bytes_of(user_id),
                topic,
                command.kind,
                command.idempotency_key,
                command.request_hash,
                outcome,
                code,
                None if first_id is None else bytes_of(first_id),
                document,
                self.batch_id,
                self.books.wallets[user_id].time,
            )
        )

    def _bytes_of(self, user_id: str) -> bytes:
        packed = self._user_bytes[user_id] = bytes_of(user_id)
        return packed


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


def _refused(command: Command, code: str, message: str) -> bytes:
    return _encode(
        CommandRejected(
            code=code,
            message=message,
            type=command.kind,
            idempotency_key=command.idempotency_key,
        )
    )
