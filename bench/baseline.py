"""The baseline: the worker's work one command at a time, as a good engineer would write it.

A consumer that reads ahead, one connection, and for each command one transaction of separate
prepared statements: look the key up, lock the wallet, read what the command is about, decide by
the same rules, write the balance, the entries, the outcome and the offset, commit; then the event
by an idempotent producer. It waits for nothing but the database, and keeps no batch, no outbox,
no manifest and no chain of hashes.

    python -m bench.baseline --commands 3000

reads the settings from WALLET_*, says ``ready``, and when that many records are applied and their
events delivered, the seconds since the first of them. Without a number it runs until SIGTERM, and
tells the API of each commit.
"""

from __future__ import annotations

import argparse
import gc
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from bench.kafka import read_commands
from bench.statements import Statements
from db.ledger.reads import First
from processors.books import BatchBooks
from processors.incoming import Record
from processors.ledger.decide import decide
from processors.ledger.model import Acceptance, Request
from processors.ledger.postings import post
from processors.telling import EVENT_SOURCE, balance_of
from schemas.commands import (
    ConvertToEscrow,
    DetectDeposit,
    LockFunds,
    PayOrder,
    RefundEscrow,
    ReleaseEscrow,
    RequestWithdrawal,
)
from schemas.envelope import Command, read_command
from schemas.events import Accepted, CloudEvent, CommandRejected, CommandReplayed, EventType
from schemas.ids import EVENT_LEG, Place, number_of, text_of
from schemas.publications import DeadLetterNotice
from schemas.records import Deposit, Escrow, Lock, Wallet, Withdrawal
from schemas.records import Record as BookRecord
from schemas.rejections import Malformed, Rejection
from schemas.settings import Settings
from schemas.times import format_time
from schemas.topics import DEAD_LETTERS, EVENTS, CommandTopic, topic_name
from streams.kafka.produce import Delivery, Producer
from streams.records import Reader

_encode = msgspec.json.Encoder().encode
#: What a broker may take to acknowledge all that is under way.
_FLUSH_SECONDS: Final = 30.0


class Told(NamedTuple):
    """A record to publish: logical topic, key and value."""

    topic: str
    key: bytes
    value: bytes


class OneByOne:
    """Applies records, each in a transaction of its own."""

    def __init__(self, settings: Settings, *, notify: bool) -> None:
        self._notify = notify
        self._sql = Statements(settings.worker_database_url)
        self._rules = self._sql.rules()
        # Nobody waits for a single event of a full topic, so they may wait for one another.
        self._producer = Producer(settings, linger_ms=0 if notify else 5)
        self._topics = {topic: topic_name(settings, topic) for topic in (EVENTS, DEAD_LETTERS)}
        self._lost = 0
        self.positions = self._sql.positions()

    def apply(self, record: Record) -> None:
        """Apply one record, commit, and publish what became of it."""
        told = self._transact(record)
        self._sql.connection.commit()
        for topic, key, value in told:
            self._producer.send(self._topics[topic], key, value, self._delivered)

    def flush(self) -> None:
        """Wait until every event is delivered; raises ``RuntimeError`` if one is not."""
        left = self._producer.flush(_FLUSH_SECONDS) + self._lost
        if left:
            raise RuntimeError(f"{left} events are not delivered")

    def close(self) -> None:
        """Let go of the servers."""
        self._producer.close()
        self._sql.connection.close()

    def _delivered(self, delivery: Delivery) -> None:
        self._lost += delivery.error is not None

    def _transact(self, record: Record) -> list[Told]:
        number = number_of(Place(record.topic, 1, record.partition, record.offset))
        try:
            topic = CommandTopic(record.topic)
            command = read_command(topic, record.key, record.value, placed=record.placed)
        except Malformed as fault:
            told = [self._bury(record, fault, text_of(number))]
        else:
            told = self._command(record, command, number)
        self._sql.advance(record, notify=self._notify)
        return told

    def _bury(self, record: Record, fault: Malformed, letter_id: str) -> Told:
        self._sql.write_letter(letter_id, record, fault.code.value, fault.detail)
        notice = DeadLetterNotice(
            id=letter_id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            code=fault.code.value,
            detail=fault.detail,
            key=record.key,
            value=record.value,
            time=format_time(record.time),
        )
        return Told(DEAD_LETTERS, record.key or b"", _encode(notice))

    def _command(self, record: Record, command: Command, number: int) -> list[Told]:
        sql, command_id = self._sql, text_of(number)
        first = sql.first_of(record.topic, command)
        books = self._load(command, known=first is not None)
        wallet = books.wallets[command.user_id]
        wallet.time = max(wallet.time, record.time)
        code, first_id = None, None
        if first is not None:
            outcome, code, first_id = _again(first, command)
            event, document = _document_of_later(first, outcome, command)
            told = [_tell(wallet, number, 0, event, document, command)]
        else:
            request = Request(command_id, command.user_id, command.data, wallet.time)
            decision = decide(request, books)
            if isinstance(decision, Acceptance):
                outcome = "accepted"
                told, document = self._accept(books, command, request, decision, number)
            else:
                outcome, code = "rejected", decision.code.value
                document = _refused(command, code, decision.detail or decision.code.line)
                told = [_tell(wallet, number, 0, EventType.COMMAND_REJECTED, document, command)]
        for touched in books.wallets.values():
            sql.write_wallet(touched)
        sql.write_outcome(
            command_id, record.topic, command, outcome, code, first_id, document, wallet.time
        )
        return told

    def _load(self, command: Command, *, known: bool) -> BatchBooks:
        """Lock the wallets that the command touches, and read what it is about."""
        sql, user_id, data = self._sql, command.user_id, command.data
        if known:
            return BatchBooks(rules=self._rules, wallets={user_id: sql.lock_wallet(user_id)})
        users, found = {user_id}, list[BookRecord]()
        if isinstance(data, ReleaseEscrow):
            # Before the wallets' locks, since it tells whose those are: who sells never changes.
            users.update(escrow.seller_id for escrow in sql.escrow(data.escrow_id))
        wallets = {user: sql.lock_wallet(user) for user in sorted(users)}
        match data:
            case ConvertToEscrow():
                found += sql.lock_of(user_id, data.reference_type, data.reference_id)
                found += sql.escrow_of_order(user_id, data.order_id)
            case LockFunds():
                found += sql.lock_of(user_id, data.reference_type, data.reference_id)
            case PayOrder():
                found += sql.escrow_of_order(user_id, data.order_id)
            case ReleaseEscrow() | RefundEscrow():
                found += sql.escrow(data.escrow_id)
            case DetectDeposit():
                found += sql.deposit(data.txid, data.vout)
                found += sql.address(user_id, data.address)
            case RequestWithdrawal():
                found += sql.address(user_id, data.address)
            case _:
                raise ValueError(f"no plan of the bench asks for {command.kind}")
        books = BatchBooks(rules=self._rules, wallets=wallets)
        books.load(found)
        return books

    def _accept(
        self,
        books: BatchBooks,
        command: Command,
        request: Request,
        acceptance: Acceptance,
        number: int,
    ) -> tuple[list[Told], bytes]:
        """Write an acceptance's entries and records; its events, and the outcome's document."""
        wallets = books.wallets
        rows = post(request.user_id, acceptance.postings, wallets.__getitem__)
        told, documents = [], []
        for place, notice in enumerate(acceptance.notices):
            wallet = wallets[notice.user_id]
            wallet.version += 1
            wallet.time = max(wallet.time, request.time)
            wallet.opened_at = wallet.opened_at or wallet.time
            document = _encode(Accepted(notice.result, balance_of(wallet)))
            documents.append(document)
            own = None if place else command
            told.append(_tell(wallet, number, place, notice.event, document, own))
        if rows:
            self._sql.write_entries(number, rows, wallets, request.time)
        for record in acceptance.records:
            self._write(record, request.id)
        return told, documents[0]

    def _write(self, record: BookRecord, command_id: str) -> None:
        match record:
            case Lock():
                self._sql.write_lock(record)
            case Escrow() if record.id == command_id:
                self._sql.make_escrow(record)
            case Escrow():
                self._sql.change_escrow(record)
            case Deposit():
                self._sql.make_deposit(record)
            case Withdrawal():
                self._sql.make_withdrawal(record)
            case _:
                raise ValueError(f"no plan of the bench changes a {type(record).__name__}")


def _again(first: First, command: Command) -> tuple[str, str | None, str]:
    """Outcome, code and first id of a key that was used before."""
    if first.request_hash == command.request_hash:
        return "replayed", first.code, first.command_id
    return "key_reused", Rejection.KEY_REUSED.value, first.command_id


def _document_of_later(first: First, outcome: str, command: Command) -> tuple[EventType, bytes]:
    if outcome == "key_reused":
        code = Rejection.KEY_REUSED
        return EventType.COMMAND_REJECTED, _refused(command, code.value, code.line)
    replayed = CommandReplayed(
        first_command_id=first.command_id,
        outcome="accepted" if first.outcome == "accepted" else "rejected",
        code=first.code,
        idempotency_key=command.idempotency_key,
    )
    return EventType.COMMAND_REPLAYED, _encode(replayed)


def _refused(command: Command, code: str, message: str) -> bytes:
    return _encode(
        CommandRejected(
            code=code,
            message=message,
            type=command.kind.value,
            idempotency_key=command.idempotency_key,
        )
    )


def _tell(
    wallet: Wallet,
    number: int,
    place: int,
    event: EventType,
    document: bytes,
    command: Command | None,
) -> Told:
    wallet.sequence += 1
    value = CloudEvent(
        id=text_of(number + EVENT_LEG + place),
        source=EVENT_SOURCE,
        type=event.value,
        subject=wallet.user_id,
        time=format_time(wallet.time),
        sequence=wallet.sequence,
        causationid=text_of(number),
        idempotencykey=msgspec.UNSET if command is None else command.idempotency_key,
        data=msgspec.Raw(document),
    )
    return Told(EVENTS, wallet.user_id.encode(), _encode(value))


class Measured(msgspec.Struct, frozen=True):
    """What a run of the baseline tells: records applied, and the seconds they took."""

    commands: int
    seconds: float


def run(
    settings: Settings,
    commands: int,
    *,
    stopped: threading.Event,
    announce: Callable[[], None],
) -> Measured:
    """Apply so many records (0: until stopped); the clock runs from the first to the last event."""
    worker = OneByOne(settings, notify=not commands)
    to_record = Reader(settings).record
    done, started = 0, time.monotonic()
    records = read_commands(settings, worker.positions)
    next(records)
    announce()
    for message in records:
        if message is not None:
            if not done:
                started = time.monotonic()
            worker.apply(to_record(message))
            done += 1
        if stopped.is_set() or done == commands > 0:
            break
    worker.flush()
    seconds = time.monotonic() - started
    records.close()
    worker.close()
    return Measured(done, seconds)


def main() -> None:
    """Run as a process of its own, as a worker does."""
    parser = argparse.ArgumentParser(description="The bench's baseline: one command at a time.")
    parser.add_argument("--commands", type=int, default=0)
    commands = parser.parse_args().commands
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    # As the worker does: what is there from the start is not walked again and again.
    gc.freeze()
    measured = run(
        Settings.from_environ(),
        commands,
        stopped=stopped,
        announce=lambda: print("ready", flush=True),
    )
    print(msgspec.json.encode(measured).decode(), flush=True)


if __name__ == "__main__":
    main()
