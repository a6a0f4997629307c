"""Our coins as the payer sees them: which may be spent, which are reserved, which were spent.

A coin is in one living payout at most, which the reservations' primary key guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from db.engine import Cursor
from db.rows import grouped, number


class CoinsTaken(Exception):
    """A coin that was to be reserved is no longer free; nothing was reserved."""


class SpendableCoin(NamedTuple):
    """A coin of ours that may be spent now, with the path of its key."""

    txid: str
    vout: int
    amount: int
    chain: int
    derivation_index: int
    address: str


class Spent(NamedTuple):
    """Who spends an outpoint on the active chain, and with which outputs."""

    txid: str
    vout: int
    spender_txid: str
    height: int
    outputs_hash: bytes


#: Deposits once they are credited, change from one confirmation, coinbase once it is mature.
_RIPE: Final = """c.height <= %(tip)s
   AND (NOT c.coinbase OR %(tip)s - c.height + 1 >= %(maturity)s)
   AND (s.chain = 1 OR coalesce(r.credited, false))"""
#: What is ripe, and neither spent on the active chain nor reserved.
_SPENDABLE: Final = f"""
  FROM coins c JOIN watched_scripts s ON s.public_key_hash = c.public_key_hash
  LEFT JOIN receipts r ON r.txid = c.txid AND r.vout = c.vout
 WHERE c.height IS NOT NULL AND c.spent_height IS NULL AND s.account_key = ANY(%(account_keys)s)
   AND {_RIPE}
   AND NOT EXISTS (SELECT FROM reservations v WHERE v.txid = c.txid AND v.vout = c.vout)
"""


class Purse(NamedTuple):
    """Whose coins, as of which height, with which maturity of coinbase outputs."""

    account_keys: tuple[str, ...]
    tip: int
    maturity: int

    @property
    def parameters(self) -> dict[str, object]:
        """As the queries name them."""
        return {"account_keys": list(self.account_keys), "tip": self.tip, "maturity": self.maturity}


def spendable(
    cursor: Cursor, purse: Purse, limit: int, *, smallest_first: bool = False
) -> list[SpendableCoin]:
    """Coins that may be spent now, the largest first."""
    order = "c.amount, c.txid, c.vout" if smallest_first else "c.amount DESC, c.txid, c.vout"
    cursor.execute(
        "SELECT c.txid, c.vout, c.amount, s.chain, s.derivation_index, s.address"
        f" {_SPENDABLE} ORDER BY {order} LIMIT %(limit)s",
        {**purse.parameters, "limit": limit},
    )
    return [SpendableCoin(*row) for row in cursor]


def spendable_total(cursor: Cursor, purse: Purse) -> int:
    """Koinu that may be spent now."""
    query = f"SELECT coalesce(sum(c.amount), 0)::numeric {_SPENDABLE}"
    return number(cursor.execute(query, purse.parameters))


class Holding(NamedTuple):
    """What is unspent on the chain of one account's coins: how many, and koinu by what they are."""

    account_key: str
    coins: int
    #: May be spent now.
    spendable: int
    #: Reserved for payments that are under way.
    reserved: int
    #: Neither: deposits that are not credited, coinbase that is not mature.
    waiting: int


def holdings(cursor: Cursor, tip: int, maturity: int) -> list[Holding]:
    """Every account that has coins, whether the settings know it or not."""
    cursor.execute(
        f"""
        SELECT account_key, count(*), coalesce(sum(amount) FILTER (WHERE free), 0)::bigint,
               coalesce(sum(amount) FILTER (WHERE held), 0)::bigint,
               coalesce(sum(amount) FILTER (WHERE NOT free AND NOT held), 0)::bigint
          FROM (SELECT s.account_key, c.amount, v.txid IS NOT NULL AS held,
                       v.txid IS NULL AND {_RIPE} AS free
                  FROM coins c JOIN watched_scripts s USING (public_key_hash)
                  LEFT JOIN receipts r ON r.txid = c.txid AND r.vout = c.vout
                  LEFT JOIN reservations v ON v.txid = c.txid AND v.vout = c.vout
                 WHERE c.height IS NOT NULL AND c.spent_height IS NULL) x
         GROUP BY account_key ORDER BY account_key
        """,
        {"tip": tip, "maturity": maturity},
    )
    return [Holding(*row) for row in cursor]


def accounts_under_way(cursor: Cursor) -> list[str]:
    """Accounts whose coins payments spend that are not buried yet."""
    cursor.execute(
        "SELECT DISTINCT s.account_key FROM reservations v JOIN coins c USING (txid, vout)"
        " JOIN watched_scripts s USING (public_key_hash) ORDER BY 1"
    )
    return [str(row[0]) for row in cursor]


def index_end(cursor: Cursor) -> int:
    """The first index that no watched script of any account reaches."""
    return number(
        cursor.execute("SELECT coalesce(max(derivation_index), -1) + 1 FROM watched_scripts")
    )


def owed(cursor: Cursor) -> int:
    """Koinu of withdrawals that no payout pays yet, whether they are claimed or not."""
    return number(
        cursor.execute(
            "SELECT coalesce(sum(w.amount), 0)::numeric FROM withdrawals w"
            " LEFT JOIN claims c ON c.withdrawal_id = w.id"
            " WHERE w.status IN ('PENDING', 'PROCESSING') AND c.payout_id IS NULL"
        )
    )


def is_watched(cursor: Cursor, address: str) -> bool:
    """Whether an address is one of ours."""
    cursor.execute("SELECT FROM watched_scripts WHERE address = %s", (address,))
    return cursor.fetchone() is not None


def reserve(
    cursor: Cursor, payout_id: int, outpoints: Sequence[tuple[str, int]], purse: Purse
) -> None:
    """Reserve coins for a payout; raises ``CoinsTaken`` unless each may be spent."""
    cursor.execute(
        f"""
        INSERT INTO reservations (txid, vout, payout_id)
        SELECT c.txid, c.vout, %(payout_id)s {_SPENDABLE}
           AND (c.txid, c.vout) IN (SELECT * FROM unnest(%(txids)s::text[], %(vouts)s::int[]))
            ON CONFLICT DO NOTHING
        """,
        {
            **purse.parameters,
            "payout_id": payout_id,
            "txids": [txid for txid, _ in outpoints],
            "vouts": [vout for _, vout in outpoints],
        },
    )
    if cursor.rowcount != len(outpoints):
        raise CoinsTaken(f"{cursor.rowcount} of {len(outpoints)} coins were free")


def hold(cursor: Cursor, payout_id: int, outpoints: Sequence[tuple[str, int]]) -> None:
    """Reserve coins that a payment in a block has spent; raises ``CoinsTaken`` unless each is free.

    So the payment is watched, and its coins stay bound if a reorganisation takes it back.
    """
    if not outpoints:
        return
    cursor.execute(
        "INSERT INTO reservations (txid, vout, payout_id)"
        " SELECT c.txid, c.vout, %s FROM unnest(%s::text[], %s::int[]) o (txid, vout)"
        "  JOIN coins c ON c.txid = o.txid AND c.vout = o.vout ON CONFLICT DO NOTHING",
        (payout_id, [txid for txid, _ in outpoints], [vout for _, vout in outpoints]),
    )
    if cursor.rowcount != len(outpoints):
        raise CoinsTaken(
            f"{len(outpoints) - cursor.rowcount} of its {len(outpoints)} coins are reserved for "
            "another payout: wait until that has failed"
        )


def release(cursor: Cursor, payout_id: int) -> None:
    """Let go of a payout's coins."""
    cursor.execute("DELETE FROM reservations WHERE payout_id = %s", (payout_id,))


class Held(NamedTuple):
    """A reserved coin; ``height`` is None where its transaction is in no block."""

    txid: str
    vout: int
    height: int | None


def held(cursor: Cursor, payout_ids: Sequence[int]) -> dict[int, list[Held]]:
    """The reserved coins of payouts, by payout."""
    if not payout_ids:
        return {}
    cursor.execute(
        "SELECT v.payout_id, v.txid, v.vout, c.height FROM reservations v"
        " LEFT JOIN coins c ON c.txid = v.txid AND c.vout = v.vout"
        " WHERE v.payout_id = ANY(%s) ORDER BY v.txid, v.vout",
        (list(payout_ids),),
    )
    return grouped(cursor, Held)


def spends_of(cursor: Cursor, payout_ids: Sequence[int]) -> dict[int, list[Spent]]:
    """The spends of payouts' reserved coins on the active chain, by payout."""
    if not payout_ids:
        return {}
    cursor.execute(
        "SELECT v.payout_id, x.txid, x.vout, x.spender_txid, x.height, p.outputs_hash"
        " FROM reservations v JOIN spends x ON x.txid = v.txid AND x.vout = v.vout"
        " JOIN spenders p ON p.txid = x.spender_txid"
        " WHERE v.payout_id = ANY(%s) ORDER BY x.txid, x.vout",
        (list(payout_ids),),
    )
    return grouped(cursor, Spent)


def lock_change_index(cursor: Cursor, account_key: str) -> int:
    """The next index on the change chain, held until the transaction ends.

    Never one that was watched before, so that a lost counter uses no address twice.
    """
    cursor.execute(
        """
        INSERT INTO change_counters (account_key, next_index)
        SELECT %(key)s, coalesce(max(derivation_index), -1) + 1 FROM watched_scripts
         WHERE account_key = %(key)s AND chain = 1
            ON CONFLICT DO NOTHING
        """,
        {"key": account_key},
    )
    return number(
        cursor.execute(
            "SELECT next_index FROM change_counters WHERE account_key = %s FOR UPDATE",
            (account_key,),
        )
    )


def use_change_index(cursor: Cursor, account_key: str, index: int) -> None:
    """Count on from an index that ``lock_change_index`` gave."""
    cursor.execute(
        "UPDATE change_counters SET next_index = %s WHERE account_key = %s AND next_index = %s",
        (index + 1, account_key, index),
    )
    assert cursor.rowcount == 1, f"change index {index} is used already"


def watch_change(
    cursor: Cursor, public_key_hash: bytes, address: str, account_key: str, index: int
) -> None:
    """Let the watcher look for change, before anything can pay it."""
    cursor.execute(
        "INSERT INTO watched_scripts"
        " (public_key_hash, address, user_id, account_key, chain, derivation_index)"
        " VALUES (%s, %s, NULL, %s, 1, %s) ON CONFLICT DO NOTHING",
        (public_key_hash, address, account_key, index),
    )


def free_koinu(cursor: Cursor, purse: Purse) -> int:
    """What could be spent beyond the withdrawals that wait; below zero where coins are missing."""
    return spendable_total(cursor, purse) - owed(cursor)
