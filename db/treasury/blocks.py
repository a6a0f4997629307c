"""What a block brings to us and takes from us: coins, spends, receipts, and their undoing.

A block's statements go together: what is asked is answered once it is wanted (``db.together``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from psycopg import errors

from db.engine import Cursor
from db.plain import booleans, columns, longs, texts
from db.together import Answer, Together

#: A block says what cannot be beside what is recorded: a coin is spent twice, a height has two
#: blocks, a transaction stands there twice.
CONTRADICTED: Final = (errors.UniqueViolation, errors.CardinalityViolation)


class Coin(NamedTuple):
    """An output that pays a script of ours."""

    txid: str
    vout: int
    public_key_hash: bytes
    amount: int
    coinbase: bool


class Payment(NamedTuple):
    """A coin that pays a user."""

    txid: str
    vout: int
    user_id: str
    address: str
    amount: int
    coinbase: bool


class Spender(NamedTuple):
    """A transaction that spends a coin of ours; ``paid`` is what all its outputs add up to."""

    txid: str
    outputs_hash: bytes
    paid: int
    inputs: int


class Spend(NamedTuple):
    """An outpoint of ours, and who spends it."""

    txid: str
    vout: int
    spender_txid: str


class Receipt(NamedTuple):
    """A payment as it stands in a block."""

    txid: str
    vout: int
    user_id: str
    address: str
    amount: int
    block_hash: str
    height: int
    creditings: int


class Crediting(NamedTuple):
    """How often the ledger has credited a deposit, and whether that stands."""

    creditings: int
    credited: bool


class Standing(NamedTuple):
    """What is asked of a payment when it is first seen, and what the ledger knows of it."""

    sufficient: bool
    required: int
    crediting: Crediting


_RECEIPT = "r.txid, r.vout, r.user_id::text, r.address, r.amount, r.block_hash, r.height, {}"


class CoinNeverPlaced(Exception):
    """A coin is spent that was never placed."""


def place_coins(server: Together, block_hash: str, height: int, coins: Sequence[Coin]) -> None:
    """Our outputs of a block; one that was undone has its block again."""
    if not coins:
        return
    server.ask(
        """
        INSERT INTO coins (txid, vout, public_key_hash, amount, coinbase, block_hash, height)
        SELECT c.txid, c.vout, c.hash, c.amount, c.coinbase, %s, %s
          FROM unnest(%s::text[], %s::int[], %s::bytea[], %s::bigint[], %s::bool[])
               c (txid, vout, hash, amount, coinbase)
            ON CONFLICT (txid, vout) DO UPDATE
           SET block_hash = excluded.block_hash, height = excluded.height
        """,
        (block_hash, height, *columns(coins)),
    )


def coins_among(
    server: Together, outpoints: Collection[tuple[str, int]]
) -> Answer[set[tuple[str, int]]]:
    """Those of the outpoints that are coins of ours on the active chain."""
    if not outpoints:
        return set
    found = server.ask(
        "SELECT txid, vout FROM coins WHERE txid = ANY(%s) AND height IS NOT NULL",
        (texts({txid for txid, _ in outpoints}),),
    )
    return lambda: {coin for row in found if (coin := (row[0], row[1])) in outpoints}


def place_spends(
    server: Together,
    block_hash: str,
    height: int,
    spenders: Sequence[Spender],
    spends: Sequence[Spend],
) -> None:
    """Who spends which coins in a block; a coin that is spent already is refused.

    The coins stand already, those of the same block too.
    """
    if not spends:
        return
    server.ask(
        """
        INSERT INTO spenders (txid, outputs_hash, paid, inputs, block_hash, height)
        SELECT s.txid, s.outputs_hash, s.paid, s.inputs, %s, %s
          FROM unnest(%s::text[], %s::bytea[], %s::bigint[], %s::int[])
               s (txid, outputs_hash, paid, inputs)
            ON CONFLICT (txid) DO UPDATE
           SET block_hash = excluded.block_hash, height = excluded.height
        """,
        (block_hash, height, *columns(spenders)),
    )
    server.ask(
        """
        INSERT INTO spends (txid, vout, spender_txid, height)
        SELECT s.txid, s.vout, s.spender, %s
          FROM unnest(%s::text[], %s::int[], %s::text[]) s (txid, vout, spender)
        """,
        (height, *columns(spends)),
    )
    server.change(
        """
        UPDATE coins c SET spent_height = %s
          FROM unnest(%s::text[], %s::int[], %s::text[]) s (txid, vout, spender)
         WHERE c.txid = s.txid AND c.vout = s.vout
        """,
        (height, *columns(spends)),
        rows=len(spends),
        otherwise=lambda there: CoinNeverPlaced(f"{len(spends)} at {height}, {there} there"),
    )


# ---------------------------------------------------------------------- receipts


def creditings_known(
    server: Together, outpoints: Sequence[tuple[str, int]]
) -> Answer[dict[tuple[str, int], Crediting]]:
    """What the ledger knows of outpoints: all there is, where this watcher's tables were lost."""
    found = server.ask(
        """
        SELECT d.txid, d.vout, d.creditings, d.status = 'credited'
          FROM unnest(%s::text[], %s::int[]) o (txid, vout)
          JOIN deposits d ON d.txid = o.txid AND d.vout = o.vout
        """,
        columns(outpoints),
    )
    return lambda: {(row[0], row[1]): Crediting(row[2], row[3]) for row in found}


def exposures(
    server: Together, user_ids: Sequence[str], above_height: int
) -> Answer[dict[str, int]]:
    """What each user received in the blocks above a height, of what is enough to be credited."""
    found = server.ask(
        """
        SELECT user_id::text, sum(amount) FROM receipts
         WHERE user_id = ANY(%s::text[]::uuid[]) AND height > %s AND sufficient
         GROUP BY user_id
        """,
        (texts(user_ids), above_height),
    )
    return lambda: {row[0]: int(row[1]) for row in found}


def place_receipts(
    server: Together,
    block_hash: str,
    height: int,
    payments: Sequence[Payment],
    standings: Sequence[Standing],
) -> Answer[list[Receipt]]:
    """Payments to users in a block, and how they stand; one that was undone has its block again.

    What is asked of it may rise and never falls.
    """
    placed = server.ask(
        f"""
        INSERT INTO receipts AS r
               (txid, vout, user_id, address, amount, coinbase, block_hash, height,
                sufficient, required, creditings, credited)
        SELECT p.txid, p.vout, p.user_id, p.address, p.amount, p.coinbase, %s, %s,
               p.sufficient, p.required, p.creditings, p.credited
          FROM unnest(%s::text[], %s::int[], %s::uuid[], %s::text[], %s::bigint[], %s::bool[],
                      %s::bool[], %s::int[], %s::int[], %s::bool[])
               p (txid, vout, user_id, address, amount, coinbase,
                  sufficient, required, creditings, credited)
            ON CONFLICT (txid, vout) DO UPDATE
           SET block_hash = excluded.block_hash, height = excluded.height,
               required = greatest(r.required, excluded.required)
        RETURNING {_RECEIPT.format("r.creditings")}
        """,
        (
            block_hash,
            height,
            *columns(payments),
            booleans([standing.sufficient for standing in standings]),
            longs([standing.required for standing in standings]),
            longs([standing.crediting.creditings for standing in standings]),
            booleans([standing.crediting.credited for standing in standings]),
        ),
    )
    return lambda: [Receipt(*row) for row in placed]


def raise_required(server: Together, required: Mapping[str, int], above_height: int) -> None:
    """Ask at least so many confirmations of what each user received above a height."""
    server.ask(
        """
        UPDATE receipts r SET required = u.required
          FROM unnest(%s::text[]::uuid[], %s::bigint[]) u (user_id, required)
         WHERE r.user_id = u.user_id AND r.height > %s AND NOT r.credited
           AND r.required < u.required
        """,
        (texts(required), longs(list(required.values())), above_height),
    )


_DUE = """
         r.sufficient AND NOT r.credited AND r.height IS NOT NULL
         AND r.height <= %s - r.required + 1 AND (r.creditings > 0 OR r.amount >= %s)
"""


class Due(NamedTuple):
    """A block with a payment that has the confirmations it needs."""

    block_hash: str
    required: int


def due_blocks(cursor: Cursor, tip_height: int, minimum: int) -> list[Due]:
    """The blocks of all that is due at a tip, each with the most that is asked there."""
    cursor.execute(
        f"SELECT r.block_hash, max(r.required) FROM receipts r WHERE {_DUE} GROUP BY r.block_hash",
        (tip_height, minimum),
    )
    return [Due(*row) for row in cursor]


def credit_due(
    server: Together, tip_height: int, minimum: int, blocks: Sequence[str] | None = None
) -> Answer[list[Receipt]]:
    """Count as credited, once more, all that is due at a tip; of given blocks alone, if any are.

    ``minimum`` is the least deposit of the rules as they are now: the ledger would refuse less.
    """
    agreed = "" if blocks is None else "AND r.block_hash = ANY(%s)"
    credited = server.ask(
        f"""
        WITH due AS (
            UPDATE receipts r SET credited = true, creditings = r.creditings + 1
             WHERE {_DUE} {agreed}
            RETURNING r.*)
        SELECT {_RECEIPT.format("r.creditings")} FROM due r ORDER BY r.height, r.txid, r.vout
        """,
        (tip_height, minimum, *(() if blocks is None else (list(blocks),))),
    )
    return lambda: [Receipt(*row) for row in credited]


# ---------------------------------------------------------------------- undoing


def unplace(cursor: Cursor, height: int) -> list[Receipt]:
    """Take everything of the tip's block, at ``height``, out of the chain.

    Answers the receipts that were credited and no longer are, with the crediting that falls.
    """
    cursor.execute(
        f"""
        WITH fallen AS (
            UPDATE receipts r SET credited = false WHERE height = %s AND credited RETURNING r.*)
        SELECT {_RECEIPT.format("r.creditings")} FROM fallen r ORDER BY r.txid, r.vout
        """,
        (height,),
    )
    fallen = [Receipt(*row) for row in cursor]
    cursor.execute(
        """
        WITH gone AS (DELETE FROM spends WHERE height = %s RETURNING txid, vout)
        UPDATE coins c SET spent_height = NULL
          FROM gone g WHERE c.txid = g.txid AND c.vout = g.vout
        """,
        (height,),
    )
    for table in ("receipts", "coins", "spenders"):
        cursor.execute(
            f"UPDATE {table} SET block_hash = NULL, height = NULL WHERE height = %s", (height,)
        )
    return fallen
