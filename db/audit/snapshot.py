"""Looks at the whole books in one snapshot, for `wallet doctor` and `wallet rebuild`.

Nothing is locked: the service goes on while it lasts. All that is large is streamed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import psycopg

from db.audit import coins
from db.audit.books import BOOKS, Check
from db.audit.coins import Closing, Followed
from db.audit.guards import GUARDS
from db.audit.log import LOG
from db.audit.told import TOLD
from db.copy import COMMAND_COLUMNS, ENTRY_COLUMNS, read_rows
from db.engine import Connection, connect, require_schema
from db.ledger import statehash
from db.ledger.rules import decode_rules
from schemas.ids import LEG_MAX, Place, number_of, place_of, text_of
from schemas.records import Rules

CHECKS: Final = (*GUARDS, *LOG, *BOOKS, *TOLD)
#: What a check tells in full; the rest is counted.
FIRST_MAX: Final = 20
#: Commands read in one go, so that many small slices cost few queries.
_CHUNK_COMMANDS: Final = 20_000
_CHUNK_SLICES: Final = 2_000
#: Sorts and sums over all entries: more than the server's 4 MB, little enough to run beside it.
_WORK_MEM: Final = "64MB"
_ID_MAX: Final = 2**128 - 1


class Found(NamedTuple):
    """What a check came to: how many subjects it looked at, how many are wrong, the first ones."""

    subjects: int
    wrong: int
    first: tuple[tuple[str, str], ...]


class StoredSlice(NamedTuple):
    """A row of ``batch_slices``."""

    batch_id: int
    topic: int
    partition: int
    generation: int
    first_offset: int
    last_offset: int
    commands: int
    entries: int
    digest: bytes
    chain: bytes


class StoredBatch(NamedTuple):
    """The versions by which a batch was decided."""

    rules_version: int
    logic_version: int


class Digested(NamedTuple):
    """A slice and what its stored rows come to; ``strays`` are rows of no slice just before it."""

    slice: StoredSlice | None
    commands: int
    entries: int
    digest: bytes
    strays: int


class Waiting(NamedTuple):
    """A slice that the group has not published, by the outbox; ``packed`` is whether it is in."""

    topic: int
    partition: int
    first_offset: int
    last_offset: int
    batch_id: int
    packed: bool
    age_seconds: float


class Standing(NamedTuple):
    """How far a partition is applied, and of which topic."""

    topic: int
    partition: int
    topic_id: str | None
    generation: int
    next_offset: int


class StoredRules(NamedTuple):
    """A version of the rules, and the command that made it: its type and its request's hash."""

    version: int
    rules: Rules
    made_by: str | None
    request_hash: bytes | None


class KeyPlace(NamedTuple):
    """Where a key is derived: whose account, on which chain, at which index."""

    account_key: str
    chain: int
    derivation_index: int


class WatchedScript(NamedTuple):
    """A script that pays us: of whose key, and under which address it is known."""

    public_key_hash: bytes
    address: str
    place: KeyPlace


class UnspentCoin(NamedTuple):
    """A coin of ours that nothing spends; ``amount`` is in koinu."""

    txid: str
    vout: int
    public_key_hash: bytes
    amount: int


@contextmanager
def snapshot(url: str) -> Iterator[Snapshot]:
    """The books as they stand now, however long it takes to look at them.

    While it lasts, vacuum cannot remove what was overwritten since. Raises
    ``SchemaMismatchError`` for tables of another release.
    """
    with connect(
        url,
        application_name="wallet-doctor",
        statement_seconds=0,
        idle_in_transaction_seconds=0,
    ) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        require_schema(connection)
        connection.execute(f"SET LOCAL work_mem = '{_WORK_MEM}'")
        # Else a large sum is split over helpers, which take the processors from the service.
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        yield Snapshot(connection)


class Snapshot:
    """One reading of the books."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def role(self) -> str:
        """Who is asking."""
        return str(self._value("SELECT current_user"))

    def unreadable(self, tables: Sequence[str]) -> list[str]:
        """Those of the tables that this role may not read."""
        rows = self._connection.execute(
            "SELECT t FROM unnest(%s::text[]) t WHERE NOT has_table_privilege(t, 'SELECT')",
            (list(tables),),
        )
        return [row[0] for row in rows]

    def look(self, check: Check) -> Found:
        """Run one check."""
        counts = self._connection.execute(
            f"SELECT count(*), count(detail) FROM ({check.query}) AS looked"
        ).fetchone()
        assert counts is not None
        subjects, wrong = counts
        if not wrong:
            return Found(subjects, 0, ())
        rows = self._connection.execute(
            f"SELECT subject, detail FROM ({check.query}) AS looked WHERE detail IS NOT NULL"
            f" ORDER BY subject LIMIT {FIRST_MAX}"
        )
        return Found(subjects, wrong, tuple((row[0], row[1]) for row in rows))

    # ------------------------------------------------------------------ slices

    def slice_count(self) -> int:
        """How many slices there are."""
        return int(self._value("SELECT count(*) FROM batch_slices"))

    def slices(self) -> Iterator[StoredSlice]:
        """Every slice in the order of its commands' ids, which is a partition's own order."""
        with self._connection.cursor(name="slices") as cursor:
            cursor.execute(
                "SELECT batch_id, topic, partition, generation, first_offset, last_offset,"
                " commands, entries, digest, chain FROM batch_slices"
                " ORDER BY topic, generation, partition, first_offset"
            )
            cursor.itersize = _CHUNK_SLICES
            for row in cursor:
                yield StoredSlice(*row)

    def digests(self) -> Iterator[Digested]:
        """The digest of every slice's stored rows, taken again; all rows are read, once.

        Ends with one that has no slice: rows after the last.
        """
        low = -1
        for chunk in _chunks(self.slices()):
            high = [number_of(_end_of(part), LEG_MAX) for part in chunk]
            yield from self._digest_chunk(low, chunk, high)
            low = high[-1]
        strays = sum(
            1 for table, columns in _TABLES for _ in self._rows(table, columns, low, _ID_MAX)
        )
        yield Digested(None, 0, 0, b"", strays)

    def _digest_chunk(
        self, low: int, chunk: Sequence[StoredSlice], high: Sequence[int]
    ) -> Iterator[Digested]:
        first = [number_of(_start_of(part)) for part in chunk]
        hashes = [blake2b(digest_size=32) for _ in chunk]
        counts = {table: [0] * len(chunk) for table, _ in _TABLES}
        strays = [0] * len(chunk)
        for table, columns in _TABLES:
            place = 0
            counted = counts[table]
            for row in self._rows(table, columns, low, high[-1]):
                # Two bytes of field count, four of length, then the id.
                number = int.from_bytes(row[6:22], "big")
                while number > high[place]:
                    place += 1
                if number < first[place]:
                    strays[place] += 1
                else:
                    hashes[place].update(row)
                    counted[place] += 1
        for place, part in enumerate(chunk):
            yield Digested(
                part,
                counts["commands"][place],
                counts["entries"][place],
                hashes[place].digest(),
                strays[place],
            )

    def _rows(self, table: str, columns: str, low: int, high: int) -> Iterator[bytes]:
        after = "" if low < 0 else f"id > '{text_of(low)}' AND "
        with self._connection.cursor() as cursor:
            yield from read_rows(
                cursor,
                f"SELECT {columns} FROM {table} WHERE {after}id <= '{text_of(high)}' ORDER BY id",
            )

    # ------------------------------------------------------------------ what the log is held to

    def standings(self) -> list[Standing]:
        """Every partition that was ever taken over."""
        rows = self._connection.execute(
            "SELECT topic, partition, topic_id, generation, next_offset FROM partitions"
            " ORDER BY topic, partition"
        )
        return [Standing(*row) for row in rows]

    def waiting(self, topic: int, partition: int, generation: int, offset: int) -> list[Waiting]:
        """Slices of a partition from ``offset`` on: applied, and not yet published."""
        rows = self._connection.execute(
            """
            SELECT s.topic, s.partition, s.first_offset, s.last_offset, s.batch_id,
                   o.batch_id IS NOT NULL, extract(epoch FROM now() - b.created_at)::float8
              FROM batch_slices s
              JOIN batches b ON b.id = s.batch_id
              LEFT JOIN outbox o USING (batch_id, topic, partition)
             WHERE s.topic = %s AND s.partition = %s AND s.generation = %s
               AND s.last_offset >= %s
             ORDER BY s.first_offset
            """,
            (topic, partition, generation, offset),
        )
        return [Waiting(*row) for row in rows]

    def slice_of(self, batch_id: int, topic: int, partition: int) -> StoredSlice | None:
        """One slice."""
        row = self._connection.execute(
            "SELECT batch_id, topic, partition, generation, first_offset, last_offset, commands,"
            " entries, digest, chain FROM batch_slices"
            " WHERE batch_id = %s AND topic = %s AND partition = %s",
            (batch_id, topic, partition),
        ).fetchone()
        return None if row is None else StoredSlice(*row)

    def batch_of(self, batch_id: int) -> StoredBatch | None:
        """One batch."""
        row = self._connection.execute(
            "SELECT rules_version, logic_version FROM batches WHERE id = %s", (batch_id,)
        ).fetchone()
        return None if row is None else StoredBatch(*row)

    def slices_below(self, standing: Standing, offset: int) -> int:
        """How many slices of a partition end before an offset of its present generation."""
        return int(
            self._value(
                "SELECT count(*) FROM batch_slices WHERE topic = %s AND partition = %s"
                " AND (generation < %s OR (generation = %s AND last_offset < %s))",
                standing.topic,
                standing.partition,
                standing.generation,
                standing.generation,
                offset,
            )
        )

    def outcomes_in(self, part: StoredSlice) -> set[int]:
        """Offsets of a slice whose commands have an outcome."""
        rows = self._connection.execute(
            "SELECT id::text FROM commands WHERE id BETWEEN %s AND %s",
            (text_of(number_of(_start_of(part))), text_of(number_of(_end_of(part), LEG_MAX))),
        )
        return {place_of(row[0])[0].offset for row in rows}

    def letters_in(self, part: StoredSlice) -> dict[int, tuple[bytes | None, bytes | None]]:
        """Key and value of a slice's dead letters, by offset."""
        rows = self._connection.execute(
            'SELECT "offset", key, value FROM dead_letters WHERE id BETWEEN %s AND %s',
            (text_of(number_of(_start_of(part))), text_of(number_of(_end_of(part)))),
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def addresses(self) -> Iterator[tuple[KeyPlace, str]]:
        """Every deposit address, and where it is derived."""
        with self._connection.cursor(name="addresses") as cursor:
            cursor.execute(
                "SELECT account_key, chain, derivation_index, address FROM deposit_addresses"
                " ORDER BY account_key, chain, derivation_index"
            )
            for row in cursor:
                yield KeyPlace(*row[:3]), row[3]

    def rules(self) -> list[StoredRules]:
        """Every version of the rules, in order."""
        rows = self._connection.execute(
            "SELECT r.version, r.data::text, c.type, c.request_hash"
            "  FROM rules r LEFT JOIN commands c ON c.id = r.command_id AND c.outcome = 'accepted'"
            " ORDER BY r.version"
        )
        return [StoredRules(row[0], decode_rules(row[1]), *row[2:]) for row in rows]

    # ------------------------------------------------------------------ the chain

    def followed(self) -> Followed | None:
        """How far the chain is followed; None where its side is not in use."""
        return coins.followed(self._connection)

    def closing(self) -> Closing:
        """Our coins, the ledger's account, and what is under way between the two."""
        return coins.closing(self._connection)

    def watched(self) -> Iterator[WatchedScript]:
        """Every script that is watched."""
        with self._connection.cursor(name="watched") as cursor:
            cursor.execute(
                "SELECT public_key_hash, address, account_key, chain, derivation_index"
                " FROM watched_scripts ORDER BY account_key, chain, derivation_index"
            )
            for row in cursor:
                yield WatchedScript(row[0], row[1], KeyPlace(*row[2:]))

    def some_coins(self, most: int) -> list[UnspentCoin]:
        """Unspent coins of ours on the chain: all, or so many drawn at random."""
        rows = self._connection.execute(
            "SELECT txid, vout, public_key_hash, amount FROM coins c WHERE height IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM spends x WHERE x.txid = c.txid AND x.vout = c.vout)"
            " ORDER BY random() LIMIT %s",
            (most,),
        )
        return [UnspentCoin(*row) for row in rows]

    # ------------------------------------------------------------------ to compare databases

    def batch_ids(self) -> Iterator[int]:
        """The number of every batch, in order."""
        with self._connection.cursor(name="batch_ids") as cursor:
            cursor.execute("SELECT id FROM batches ORDER BY id")
            for row in cursor:
                yield row[0]

    def adopted(self) -> list[statehash.Place]:
        """Partitions that an operator has adopted, and that had no batch since."""
        return statehash.adopted(self._connection)

    def hash_of(self, table: str, left_out: Collection[statehash.Place]) -> statehash.TableHash:
        """The hash of a table of ``db.ledger.statehash``."""
        return statehash.table_hash(self._connection, table, left_out)

    def rows_of(
        self, table: str, left_out: Collection[statehash.Place]
    ) -> Iterator[tuple[Any, ...]]:
        """The rows that the hash is over."""
        return statehash.table_rows(self._connection, table, left_out)

    def now(self) -> datetime:
        """When the snapshot was taken, by the server's clock."""
        found = self._value("SELECT now()")
        assert isinstance(found, datetime)
        return found

    def _value(self, query: str, *parameters: object) -> Any:
        row = self._connection.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]


_TABLES: Final = (("entries", ENTRY_COLUMNS), ("commands", COMMAND_COLUMNS))


def _start_of(part: StoredSlice) -> Place:
    return Place(part.topic, part.generation, part.partition, part.first_offset)


def _end_of(part: StoredSlice) -> Place:
    return Place(part.topic, part.generation, part.partition, part.last_offset)


def _chunks(slices: Iterator[StoredSlice]) -> Iterator[list[StoredSlice]]:
    """Slices in groups of about as many commands."""
    chunk: list[StoredSlice] = []
    commands = 0
    for part in slices:
        chunk.append(part)
        commands += part.commands
        if commands >= _CHUNK_COMMANDS or len(chunk) >= _CHUNK_SLICES:
            yield chunk
            chunk, commands = [], 0
    if chunk:
        yield chunk
