"""Withdrawals that the ledger has as claimed or sent, and that no payout of the payer's pays.

What became of them stood in tables that were lost, or are older than the ledger. They are found,
told and looked at; the payer pays none of them by itself, for its signed bytes may be out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from db.engine import Cursor
from db.treasury.orders import TREASURY
from db.treasury.payouts import SAME_INPUTS

#: The height while no block is followed.
UNKNOWN: Final = -1


class Stranded(NamedTuple):
    """One of them; ``height`` is the node's when it was found, None while that is not known."""

    withdrawal_id: str
    user_id: str
    amount: int
    destination_address: str
    status: str
    txid: str | None
    height: int | None


#: The payer's own claim of a withdrawal ``w`` was accepted: so nobody else plays the payer there.
CLAIMED_BY_PAYER: Final = f"""EXISTS (
    SELECT FROM commands k WHERE k.user_id = w.user_id AND k.topic = {TREASURY}
       AND (k.idempotency_key = 'claim:' || w.id
            OR starts_with(k.idempotency_key, 'claim:' || w.id || ':'))
       AND k.type = 'claim_withdrawal' AND k.outcome = 'accepted')"""

#: Of a withdrawal ``w``, its claim ``c`` and its row ``s`` of the stranded, if there are any: that
#: it is under way in the ledger, and neither a payout's nor about to be.
_FOUND: Final = """
   w.status IN ('PROCESSING', 'BROADCAST') AND c.payout_id IS NULL
   AND (s.withdrawal_id IS NOT NULL OR w.status = 'BROADCAST' OR c.withdrawal_id IS NULL
        OR c.outcome IS NOT DISTINCT FROM 'rejected')
"""


def find(cursor: Cursor, *, played: bool) -> list[Stranded]:
    """All of them, the oldest first.

    Where operators or a load generator play the payer (``played``), those alone that the payer
    itself had claimed.
    """
    ours = f"AND (c.withdrawal_id IS NOT NULL OR {CLAIMED_BY_PAYER})" if played else ""
    cursor.execute(
        f"""
        SELECT w.id::text, w.user_id::text, w.amount, w.destination_address, w.status::text,
               w.txid, nullif(s.height, {UNKNOWN})
          FROM withdrawals w
          LEFT JOIN claims c ON c.withdrawal_id = w.id
          LEFT JOIN stranded s ON s.withdrawal_id = w.id
         WHERE {_FOUND} {ours}
         ORDER BY w.requested_at, w.id
        """
    )
    return [Stranded(*row) for row in cursor]


def unpaid(cursor: Cursor) -> list[str]:
    """Withdrawals that are claimed, and that the payer would put into a payout."""
    cursor.execute(
        "SELECT w.id::text FROM withdrawals w JOIN claims c ON c.withdrawal_id = w.id"
        " WHERE w.status = 'PROCESSING' AND c.payout_id IS NULL"
        " AND c.outcome IS DISTINCT FROM 'rejected'"
        " AND NOT EXISTS (SELECT FROM stranded s WHERE s.withdrawal_id = w.id)"
        " ORDER BY w.requested_at, w.id"
    )
    return [row[0] for row in cursor]


def note(cursor: Cursor, withdrawal_ids: Sequence[str], height: int) -> None:
    """Note that they are stranded, found at a height of the node's or at one ``UNKNOWN``.

    The first that is known stays.
    """
    cursor.execute(
        "INSERT INTO stranded AS s (withdrawal_id, height)"
        " SELECT id, %s FROM unnest(%s::uuid[]) AS t(id)"
        " ON CONFLICT (withdrawal_id) DO UPDATE SET height = excluded.height WHERE s.height = %s",
        (height, list(withdrawal_ids), UNKNOWN),
    )


class Stranger(NamedTuple):
    """A transaction in a block that spends our coins, and that no payout's version is."""

    txid: str
    block_hash: str
    height: int


def strangers(cursor: Cursor, withdrawal_ids: Sequence[str]) -> list[Stranger]:
    """Those that may pay one of the withdrawals: not older than the first of them.

    A block's time is its miner's, which may be two hours off. A malleated twin is known by its
    outputs and by what it spends.
    """
    cursor.execute(
        f"""
        SELECT s.txid, s.block_hash, s.height
          FROM spenders s JOIN blocks b ON b.hash = s.block_hash AND b.active
         WHERE b.time > (SELECT min(requested_at) - interval '3 hours' FROM withdrawals
                          WHERE id = ANY(%s::uuid[]))
           AND NOT EXISTS (SELECT FROM payout_versions v
                            WHERE v.txid = s.txid
                               OR v.outputs_hash = s.outputs_hash AND {SAME_INPUTS})
         ORDER BY s.height, s.txid
        """,
        (list(withdrawal_ids),),
    )
    return [Stranger(*row) for row in cursor]


def rivals(cursor: Cursor) -> list[tuple[int, Stranger]]:
    """Transactions in blocks that spend a coin of an open payout, and are no version of it."""
    cursor.execute(
        f"""
        SELECT DISTINCT p.id, s.txid, s.block_hash, s.height
          FROM payouts p
          JOIN reservations r ON r.payout_id = p.id
          JOIN spends x ON x.txid = r.txid AND x.vout = r.vout
          JOIN spenders s ON s.txid = x.spender_txid AND s.height IS NOT NULL
         WHERE p.status IN ('reserved', 'signed', 'broadcast')
           AND NOT EXISTS (SELECT FROM payout_versions v WHERE v.payout_id = p.id
                              AND (v.txid = s.txid
                                   OR v.outputs_hash = s.outputs_hash AND {SAME_INPUTS}))
         ORDER BY p.id, s.height, s.txid
        """
    )
    return [(row[0], Stranger(*row[1:])) for row in cursor]


class OurCoin(NamedTuple):
    """A coin of ours, spent or not, with the path of its key."""

    txid: str
    vout: int
    amount: int
    chain: int
    derivation_index: int
    address: str


def coins_at(cursor: Cursor, outpoints: Sequence[tuple[str, int]]) -> list[OurCoin]:
    """Those of the outpoints that are coins of ours."""
    cursor.execute(
        "SELECT c.txid, c.vout, c.amount, s.chain, s.derivation_index, s.address"
        "  FROM unnest(%s::text[], %s::int[]) o (txid, vout)"
        "  JOIN coins c ON c.txid = o.txid AND c.vout = o.vout"
        "  JOIN watched_scripts s USING (public_key_hash)",
        ([txid for txid, _ in outpoints], [vout for _, vout in outpoints]),
    )
    return [OurCoin(*row) for row in cursor]


def change_indices(cursor: Cursor, addresses: Sequence[str]) -> dict[str, int]:
    """Those of the addresses that are for change, by their index."""
    cursor.execute(
        "SELECT address, derivation_index FROM watched_scripts"
        " WHERE chain = 1 AND address = ANY(%s)",
        (list(addresses),),
    )
    return {row[0]: row[1] for row in cursor}


class Paid(NamedTuple):
    """A withdrawal that a transaction may have paid; ``retold`` counts confirmations taken back."""

    withdrawal_id: str
    user_id: str
    amount: int
    destination_address: str
    status: str
    retold: int


def paid_by(cursor: Cursor, txid: str, withdrawal_ids: Sequence[str]) -> list[Paid]:
    """The given withdrawals, and those that the ledger says ``txid`` has paid; its own first."""
    cursor.execute(
        f"""
        SELECT w.id::text, w.user_id::text, w.amount, w.destination_address, w.status::text,
               (SELECT count(*) FROM commands k
                 WHERE k.user_id = w.user_id AND k.topic = {TREASURY}
                   AND starts_with(k.idempotency_key, 'unconfirm:' || w.id || ':')
                   AND k.outcome = 'accepted')
          FROM withdrawals w LEFT JOIN claims c ON c.withdrawal_id = w.id
         WHERE c.payout_id IS NULL
           AND (w.id = ANY(%(ids)s::uuid[]) OR w.txid = %(txid)s AND w.status = 'CONFIRMED')
         ORDER BY w.txid IS NOT DISTINCT FROM %(txid)s DESC, w.requested_at, w.id
        """,
        {"ids": list(withdrawal_ids), "txid": txid},
    )
    return [Paid(*row) for row in cursor]


class Loose(NamedTuple):
    """Coins that a lost transaction could still spend."""

    coins: int
    amount: int


def loose(cursor: Cursor, born: int, buried: int) -> Loose:
    """Coins at or below height ``born``, or in no block, that nothing spends at or below
    ``buried``."""
    cursor.execute(
        "SELECT count(*), coalesce(sum(c.amount), 0)::numeric FROM coins c"
        " WHERE (c.height IS NULL OR c.height <= %s)"
        " AND (c.spent_height IS NULL OR c.spent_height > %s)",
        (born, buried),
    )
    (row,) = cursor.fetchall()
    return Loose(int(row[0]), int(row[1]))
