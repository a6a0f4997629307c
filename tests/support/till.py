"""Appliers on a real database, fed from a log in memory: what the worker does, without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg

from db.engine import connect, look_up_by_index
from db.ledger import partitions
from db.ledger.rules import seed_rules
from db.plain import use_plain_values
from processors.apply import Applied, Applier, Claim, StagedSlice
from processors.incoming import Record
from processors.telling import DEAD_LETTER_FRAME, EVENT_FRAME, MANIFEST_FRAME
from schemas.commands import AssignAddress, Data, ProcessDeposit
from schemas.events import CloudEvent
from schemas.publications import DeadLetterNotice, Manifest
from schemas.records import Rules
from schemas.topics import CommandTopic
from tests.conftest import Database
from tests.support.audit import audit
from tests.support.books import ANN, BLOCK, RULES, derived, doge, txid_of
from tests.support.commands import MemoryLog, id_of, wire

Connection = psycopg.Connection[tuple[Any, ...]]

_event: Final = msgspec.json.Decoder(CloudEvent)
_letter: Final = msgspec.json.Decoder(DeadLetterNotice)
_manifest: Final = msgspec.json.Decoder(Manifest)


class Till:
    """One applier that holds every partition, and looks at what it did."""

    def __init__(self, database: Database, log: MemoryLog, connection: Connection) -> None:
        self.log = log
        self.connection = connection
        self.claims: dict[tuple[int, int], Claim] = {}
        self.told: list[StagedSlice] = []
        self.on_step: Callable[[str], None] = lambda name: None
        self.applier = Applier(
            connection, owner="till", derive=derived, step=lambda name: self.on_step(name)
        )
        self._look = connect(database.superuser_url, application_name="look", autocommit=True)
        self._deposits = 0

    def take_over(
        self,
        numbers: Sequence[int] | None = None,
        topics: Iterable[CommandTopic] = CommandTopic,
    ) -> None:
        """Take over some partitions of some topics; all if not told."""
        wanted = range(self.log.partitions) if numbers is None else numbers
        with self.connection.transaction(), self.connection.cursor(binary=True) as cursor:
            for topic in topics:
                for number in wanted:
                    row = partitions.take_over(
                        cursor, topic, number, topic_id=f"topic-{topic}", owner="till"
                    )
                    self.claims[topic, number] = Claim(row.epoch, row.generation)

    def put(self, data: Data, user: str = ANN, key: str = "") -> Record:
        """Append a command to the log."""
        return self.log.append(wire(data, user, key))

    def apply(self, *records: Record) -> Applied:
        """Apply one batch; remembers what it staged."""
        applied = self.applier.apply(records, self.claims)
        self.told += applied.slices
        return applied

    def do(self, data: Data, user: str = ANN, key: str = "") -> Record:
        """Append a command and apply it alone; it must be accepted."""
        record = self.put(data, user, key)
        self.apply(record)
        assert self.outcome(record) == ("accepted", None), data
        return record

    def fund(self, amount: float, user: str = ANN) -> None:
        """Give the user an address and credit a deposit there."""
        self.do(AssignAddress(), user)
        self.fund_assigned(amount, user)

    def fund_assigned(self, amount: float, user: str = ANN) -> None:
        """Credit a deposit to the address that the user has."""
        self._deposits += 1
        self.do(
            ProcessDeposit(
                txid=txid_of(self._deposits),
                vout=0,
                address=str(
                    self.value(
                        "SELECT address FROM deposit_addresses WHERE user_id = %s AND active", user
                    )
                ),
                amount=doge(amount),
                block_hash=BLOCK,
                height=100,
                ordinal=1,
            ),
            user,
        )

    # Looking.

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query, as another session sees them."""
        return self._look.execute(query, parameters).fetchall()

    def value(self, query: str, *parameters: object) -> Any:
        """The one value of a query."""
        ((value,),) = self.rows(query, *parameters)
        return value

    def outcome(self, record: Record) -> tuple[str, str | None]:
        """Outcome and code of a record; a dead letter's outcome is ``dead``."""
        rows = self.rows(
            "SELECT outcome::text, code FROM commands WHERE id = %s"
            " UNION ALL SELECT 'dead', code FROM dead_letters WHERE id = %s",
            id_of(record),
            id_of(record),
        )
        assert len(rows) == 1, f"{len(rows)} outcomes of {record}"
        return rows[0][0], rows[0][1]

    def balance(self, user: str = ANN) -> tuple[int, int, int, int]:
        """available, bids, escrow, pending in koinu."""
        ((available, bids, escrow, pending),) = self.rows(
            "SELECT available, bids, escrow, pending FROM wallets WHERE user_id = %s", user
        )
        return available, bids, escrow, pending

    def events(self) -> list[CloudEvent]:
        """All events that were staged so far."""
        return [_event.decode(value) for value in self._frames(EVENT_FRAME)]

    def letters(self) -> list[DeadLetterNotice]:
        """All dead letters that were staged so far."""
        return [_letter.decode(value) for value in self._frames(DEAD_LETTER_FRAME)]

    def manifests(self) -> list[Manifest]:
        """All manifests that were staged so far."""
        return [_manifest.decode(value) for value in self._frames(MANIFEST_FRAME)]

    def _frames(self, kind: int) -> Iterator[bytes]:
        return (f.value for staged in self.told for f in staged.frames if f.kind == kind)

    def audit(self) -> None:
        """Books and chain are sound, and every user's events are numbered without a gap."""
        audit(self._look)
        sequences: dict[str, list[int]] = {}
        for event in self.events():
            sequences.setdefault(event.subject, []).append(event.sequence)
        known = dict(self.rows("SELECT user_id::text, sequence FROM wallets WHERE sequence > 0"))
        assert {user: sorted(found) for user, found in sequences.items()} == {
            user: list(range(1, last + 1)) for user, last in known.items()
        }

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()
        self._look.close()


def worker_connection(database: Database) -> Connection:
    """A connection as the worker has it."""
    connection = connect(database.worker_url, application_name="wallet-worker", autocommit=True)
    use_plain_values(connection)
    look_up_by_index(connection)
    return connection


def seeded(database: Database) -> Database:
    """The database with version 1 of the rules."""
    rules = msgspec.convert(msgspec.to_builtins(RULES, enc_hook=int), Rules)
    with connect(database.owner_url, application_name="test") as connection:
        seed_rules(connection, rules)
    return database


@contextmanager
def till_on(database: Database, log: MemoryLog | None = None) -> Iterator[Till]:
    """A till on a seeded database that has taken over nothing yet."""
    till = Till(database, log or MemoryLog(), worker_connection(database))
    try:
        yield till
    finally:
        till.close()
