"""The journal of one batch: decides its commands one by one and packs their entries.

Pure: it works on books in memory, and the same records on the same books give the same bytes. So a
batch can be retried, and a rebuilt database compared hash by hash.
"""

from __future__ import annotations

from typing import Final

import msgspec

from db.copy import entry_row, text_field
from db.ledger.reads import First
from db.ledger.writes import DeadLetter
from processors.books import BatchBooks
from processors.incoming import Record, Slice, Undecidable
from processors.ledger.decide import decide
from processors.ledger.model import Acceptance, Refusal, Request
from processors.ledger.postings import EntryRow, post
from processors.telling import Happened, Outcome
from schemas.envelope import Command
from schemas.events import EventType, Result
from schemas.ids import PackedIds, command_number, slice_base, text_of
from schemas.ledger import CommandOutcome
from schemas.records import Wallet
from schemas.rejections import Malformed, Rejection
from schemas.times import within_years

_copy_of = msgspec.structs.replace
_ACCEPTED: Final = CommandOutcome.ACCEPTED
_REJECTED: Final = CommandOutcome.REJECTED
_REPLAYED: Final = CommandOutcome.REPLAYED
_KEY_REUSED: Final = CommandOutcome.KEY_REUSED
_EVENT_REJECTED: Final = EventType.COMMAND_REJECTED
_EVENT_REPLAYED: Final = EventType.COMMAND_REPLAYED


class SliceJournal(msgspec.Struct):
    """What one partition's part of the batch came to: entries packed, the rest to be told."""

    slice: Slice
    generation: int
    entries: list[bytes]
    decided: list[Outcome | DeadLetter]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Those of its records that were no commands."""
        return [each for each in self.decided if isinstance(each, DeadLetter)]


class Counts(msgspec.Struct):
    """Outcomes of a batch, for metrics."""

    accepted: int = 0
    rejected: int = 0
    replayed: int = 0
    key_reused: int = 0
    dead_letters: int = 0


class Journal:
    """Decides slices in order; ``firsts`` are the idempotency keys that are known so far."""

    def __init__(self, books: BatchBooks, firsts: dict[tuple[str, int, str], First]) -> None:
        self.books = books
        self.counts = Counts()
        #: The command that made each of ``books.new_rules``, with its time in milliseconds.
        self.rule_makers: list[tuple[str, int]] = []
        #: Wallets that had an event, to be written.
        self.touched: dict[str, Wallet] = {}
        self._firsts = firsts
        self._user_bytes = PackedIds()

    def decide(self, slice_: Slice, generation: int) -> SliceJournal:
        """Decide a slice's commands by offset; raises ``Undecidable`` on a fault of the program."""
        journal = SliceJournal(slice_, generation, [], [])
        base = slice_base(slice_.topic, generation, slice_.partition)
        for item in slice_.items:
            record, command = item.record, item.command
            number = command_number(base, record.offset)
            if isinstance(command, Malformed):
                letter = _letter_of(record, command, generation, text_of(number))
                journal.decided.append(letter)
                self.counts.dead_letters += 1
                continue
            try:
                outcome = self._command(journal.entries, record, command, number)
            except Exception as error:
                raise Undecidable(record) from error
            journal.decided.append(outcome)
        return journal

    def _command(
        self, entries: list[bytes], record: Record, command: Command, number: int
    ) -> Outcome:
        user_id = command.user_id
        wallet = self.books.wallets[user_id]
        if record.time > wallet.time:
            wallet.time = record.time
        command_id = text_of(number)
        key = (user_id, record.topic, command.idempotency_key)
        first = self._firsts.get(key)
        if first is not None:
            return self._again(record, command, command_id, number, first)
        request = Request(command_id, user_id, command.data, wallet.time)
        decision = decide(request, self.books)
        if type(decision) is Acceptance:
            code, message = None, ""
            outcome = _ACCEPTED
            happened = self._accept(entries, request, decision, number)
            self.counts.accepted += 1
        else:
            assert type(decision) is Refusal
            code, message = decision.code, decision.detail or decision.code.line
            outcome = _REJECTED
            happened = [self._notify(wallet, _EVENT_REJECTED)]
            self.counts.rejected += 1
        self._firsts[key] = First(command_id, command.request_hash, outcome, code)
        return Outcome(record, command, command_id, number, outcome, happened, code, message)

    def _again(
        self, record: Record, command: Command, command_id: str, number: int, first: First
    ) -> Outcome:
        """A key that was used before: no money moves, whatever the first came to."""
        wallet = self.books.wallets[command.user_id]
        if first.request_hash == command.request_hash:
            self.counts.replayed += 1
            outcome, event, code, message = _REPLAYED, _EVENT_REPLAYED, first.code, ""
        else:
            self.counts.key_reused += 1
            outcome, event = _KEY_REUSED, _EVENT_REJECTED
            code, message = Rejection.KEY_REUSED, Rejection.KEY_REUSED.line
        happened = [self._notify(wallet, event)]
        return Outcome(record, command, command_id, number, outcome, happened, code, message, first)

    def _accept(
        self, entries: list[bytes], request: Request, acceptance: Acceptance, number: int
    ) -> list[Happened]:
        """Apply an acceptance to the books, and pack its entries."""
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
        happened = []
        for notice in acceptance.notices:
            wallet = wallets[notice.user_id]
            wallet.version += 1
            if time > wallet.time:
                wallet.time = time
            if wallet.opened_at == 0:
                wallet.opened_at = wallet.time
            happened.append(self._notify(wallet, notice.event, notice.result))
        if rows:
            self._enter(entries, rows, number, time)
        return happened

    def _notify(self, wallet: Wallet, event: str, result: Result | None = None) -> Happened:
        wallet.sequence += 1
        self.touched[wallet.user_id] = wallet
        return Happened(event, _copy_of(wallet), result)

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
                    self._user_bytes[owner],
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


def _letter_of(record: Record, fault: Malformed, generation: int, letter_id: str) -> DeadLetter:
    return DeadLetter(
        letter_id,
        record.topic,
        generation,
        record.partition,
        record.offset,
        fault.code.value,
        fault.detail,
        record.key,
        record.value,
        # What is buried is what could not be applied, perhaps for its time: here none may fail.
        within_years(record.time),
    )
