"""Where a node keeps its chain: one SQLite file, which a kill leaves whole.

Nothing is lost by kill -9, since the system has every write by then; a machine that loses power
may lose the last blocks, which a test chain can bear.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.local.node.blocks import Block, Carried, Header

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS blocks (
    arrival INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    height INTEGER NOT NULL,
    previous TEXT NOT NULL,
    header BLOB NOT NULL,
    transactions BLOB NOT NULL,
    undo BLOB,
    invalid INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS best ON blocks (invalid, height DESC, arrival);
CREATE INDEX IF NOT EXISTS children ON blocks (previous);
CREATE TABLE IF NOT EXISTS chain (height INTEGER PRIMARY KEY, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS coins (
    txid TEXT NOT NULL, vout INTEGER NOT NULL, amount INTEGER NOT NULL, script BLOB NOT NULL,
    height INTEGER NOT NULL, coinbase INTEGER NOT NULL, PRIMARY KEY (txid, vout)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners ON coins (script);
CREATE TABLE IF NOT EXISTS places (
    txid TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (txid, hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pool (
    arrival INTEGER PRIMARY KEY, raw BLOB NOT NULL, fee INTEGER NOT NULL, time INTEGER NOT NULL,
    height INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


#: A block and all that follow it, or all that it follows.
_AFTER: Final = """
    WITH RECURSIVE family (hash) AS (
        VALUES (?) UNION SELECT blocks.hash FROM blocks JOIN family ON previous = family.hash
    )
    UPDATE blocks SET invalid = ? WHERE hash IN (SELECT hash FROM family)"""
_BEFORE: Final = """
    WITH RECURSIVE family (hash) AS (
        VALUES (?) UNION SELECT blocks.previous FROM blocks JOIN family ON blocks.hash = family.hash
    )
    UPDATE blocks SET invalid = ? WHERE hash IN (SELECT hash FROM family)"""


class Coin(NamedTuple):
    """An output that nobody has spent."""

    amount: int
    script: bytes
    height: int
    coinbase: bool


#: Transaction and number of the output.
Outpoint = tuple[str, int]


class Spent(NamedTuple):
    """What a block took away, so that it can be given back."""

    txid: str
    vout: int
    amount: int
    script: bytes
    height: int
    coinbase: bool


class Place(NamedTuple):
    """Where a block stands among all that were ever seen."""

    hash: str
    height: int
    previous: str
    header: Header
    invalid: bool


class Store:
    """Reads and writes; what a chain is, ``Chain`` knows. For one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        self._base = sqlite3.connect(
            ":memory:" if path is None else path, isolation_level=None, check_same_thread=False
        )
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.executescript(_TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All that is written inside is there at once, or not at all."""
        if self._base.in_transaction:
            yield
            return
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    # Blocks

    def add_block(self, block: Block, height: int) -> None:
        """Keep a block that was not seen before."""
        self._base.execute(
            "INSERT INTO blocks (hash, height, previous, header, transactions) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                block.hash,
                height,
                block.header.previous,
                block.header.serialize(),
                msgspec.msgpack.encode([each.raw for each in block.transactions]),
            ),
        )
        self._base.executemany(
            "INSERT OR IGNORE INTO places VALUES (?, ?)",
            [(each.txid, block.hash) for each in block.transactions],
        )

    def place(self, hash: str) -> Place | None:
        """A block's place, whether on the chain or not."""
        row = self._base.execute(
            "SELECT hash, height, previous, header, invalid FROM blocks WHERE hash = ?", (hash,)
        ).fetchone()
        if row is None:
            return None
        return Place(row[0], row[1], row[2], Header.parse(row[3]), bool(row[4]))

    def block(self, hash: str) -> Block:
        """A whole block that is known to be there."""
        header, transactions = self._base.execute(
            "SELECT header, transactions FROM blocks WHERE hash = ?", (hash,)
        ).fetchone()
        raws = msgspec.msgpack.decode(transactions, type=list[bytes])
        return Block(Header.parse(header), tuple(map(Carried, raws)))

    def best(self) -> str:
        """The highest block that nothing is held against; of equals the first that came."""
        best: str = self._base.execute(
            "SELECT hash FROM blocks WHERE invalid = 0 ORDER BY height DESC, arrival LIMIT 1"
        ).fetchone()[0]
        return best

    def leaves(self) -> list[str]:
        """The tip, and all blocks that no block follows."""
        rows = self._base.execute(
            "SELECT hash FROM blocks AS leaf WHERE NOT EXISTS "
            "(SELECT 1 FROM blocks WHERE previous = leaf.hash) "
            "OR hash = (SELECT hash FROM chain ORDER BY height DESC LIMIT 1) "
            "ORDER BY height DESC, arrival"
        )
        return [row[0] for row in rows]

    def condemn(self, hash: str) -> None:
        """Hold it against a block, and against all that follow it."""
        self._base.execute(_AFTER, (hash, 1))

    def pardon(self, hash: str) -> None:
        """Hold nothing against a block any longer, nor those before and after it."""
        self._base.execute(_AFTER, (hash, 0))
        self._base.execute(_BEFORE, (hash, 0))

    # The chain that is in force

    def height(self) -> int:
        """Of the tip; -1 before the first block."""
        height: int = self._base.execute("SELECT max(height) FROM chain").fetchone()[0]
        return -1 if height is None else height

    def hash_at(self, height: int) -> str | None:
        """The chain's block at a height."""
        row = self._base.execute("SELECT hash FROM chain WHERE height = ?", (height,)).fetchone()
        return None if row is None else str(row[0])

    def times_before(self, height: int, count: int) -> list[Header]:
        """Headers of the chain that end at ``height``, at most ``count``."""
        rows = self._base.execute(
            "SELECT header FROM chain JOIN blocks USING (hash) "
            "WHERE chain.height <= ? ORDER BY chain.height DESC LIMIT ?",
            (height, count),
        )
        return [Header.parse(row[0]) for row in rows]

    def extend(self, hash: str, height: int, undo: Iterable[Spent]) -> None:
        """Make a block the tip, and note what it spent."""
        self._base.execute("INSERT INTO chain VALUES (?, ?)", (height, hash))
        self._base.execute(
            "UPDATE blocks SET undo = ? WHERE hash = ?", (msgspec.msgpack.encode(list(undo)), hash)
        )

    def shorten(self, hash: str, height: int) -> list[Spent]:
        """Take the tip off; what it had spent."""
        self._base.execute("DELETE FROM chain WHERE height = ?", (height,))
        row = self._base.execute("SELECT undo FROM blocks WHERE hash = ?", (hash,)).fetchone()
        return msgspec.msgpack.decode(row[0], type=list[Spent])

    # Coins

    def coin(self, outpoint: Outpoint) -> Coin | None:
        """An unspent output of the chain."""
        row = self._base.execute(
            "SELECT amount, script, height, coinbase FROM coins WHERE txid = ? AND vout = ?",
            outpoint,
        ).fetchone()
        return None if row is None else Coin(row[0], row[1], row[2], bool(row[3]))

    def has_coins(self, txid: str) -> bool:
        """Whether anything of a transaction in the chain is unspent."""
        row = self._base.execute("SELECT 1 FROM coins WHERE txid = ? LIMIT 1", (txid,)).fetchone()
        return row is not None

    def coins_of(self, script: bytes) -> list[tuple[Outpoint, Coin]]:
        """Unspent outputs that one script may spend, oldest first."""
        rows = self._base.execute(
            "SELECT txid, vout, amount, script, height, coinbase FROM coins WHERE script = ? "
            "ORDER BY height, txid, vout",
            (script,),
        )
        return [((row[0], row[1]), Coin(row[2], row[3], row[4], bool(row[5]))) for row in rows]

    def add_coins(self, coins: Iterable[Spent]) -> None:
        """Outputs that can be spent from now on."""
        self._base.executemany("INSERT INTO coins VALUES (?, ?, ?, ?, ?, ?)", coins)

    def remove_coins(self, outpoints: Iterable[Outpoint]) -> None:
        """Outputs that cannot be spent any longer."""
        self._base.executemany("DELETE FROM coins WHERE txid = ? AND vout = ?", outpoints)

    def blocks_with(self, txid: str) -> list[str]:
        """The blocks that a transaction ever stood in, those undone included."""
        rows = self._base.execute("SELECT hash FROM places WHERE txid = ?", (txid,))
        return [row[0] for row in rows]

    # Mempool and notes

    def pool_add(self, raw: bytes, fee: int, time: int, height: int) -> int:
        """Keep a waiting transaction; its number of arrival."""
        cursor = self._base.execute(
            "INSERT INTO pool (raw, fee, time, height) VALUES (?, ?, ?, ?)",
            (raw, fee, time, height),
        )
        arrival = cursor.lastrowid
        assert arrival is not None
        return arrival

    def pool_remove(self, arrival: int) -> None:
        """Forget a waiting transaction."""
        self._base.execute("DELETE FROM pool WHERE arrival = ?", (arrival,))

    def pool_rows(self) -> list[tuple[int, bytes, int, int, int]]:
        """All that wait: arrival, bytes, fee, time, height."""
        return self._base.execute(
            "SELECT arrival, raw, fee, time, height FROM pool ORDER BY arrival"
        ).fetchall()

    def note(self, name: str) -> int:
        """A number that was kept; 0 by default."""
        row = self._base.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def keep(self, name: str, value: int) -> None:
        """Keep a number."""
        self._base.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))
