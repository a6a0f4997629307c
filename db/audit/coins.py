"""What must hold of our coins on the chain, of receipts and payouts, and of the books by them.

Each query answers as those of ``db.audit.books`` do. What is decided and not yet applied is no
fault: an order of an outbox counts as under way until the ledger has an outcome for its key.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from db.audit.books import Check
from db.audit.payouts import RESERVATIONS, VERSIONS, payouts_check
from db.engine import Connection
from db.treasury.orders import OUTPUTS, TREASURY, under_way
from db.treasury.payouts import SAME_INPUTS
from schemas.ledger import HOUSE

_BLOCKS: Final = """
SELECT hash AS subject,
       CASE WHEN below_hash <> previous_hash OR below_height <> height - 1
            THEN format('it stands at height %s on %s, but the block below it is %s at height %s',
                        height, previous_hash, below_hash, below_height)
       END AS detail
  FROM (SELECT hash, height, previous_hash, lag(hash) OVER upwards AS below_hash,
               lag(height) OVER upwards AS below_height
          FROM blocks WHERE active WINDOW upwards AS (ORDER BY height)) b
"""

_SCRIPTS: Final = """
SELECT s.address AS subject,
       CASE WHEN s.chain = 0 AND d.address IS NULL
            THEN format('it is watched for %s, who was never given it', s.user_id)
            WHEN s.chain = 1 AND s.derivation_index >= coalesce(n.next_index, 0)
            THEN format('it is watched as change %s, but the next index is %s',
                        s.derivation_index, coalesce(n.next_index, 0))
       END AS detail
  FROM watched_scripts s
  LEFT JOIN deposit_addresses d ON d.address = s.address AND d.user_id = s.user_id
   AND d.account_key = s.account_key AND d.chain = 0 AND d.derivation_index = s.derivation_index
  LEFT JOIN change_counters n ON n.account_key = s.account_key
UNION ALL
SELECT d.address, 'nobody watches it, but one that was given out later'
  FROM deposit_addresses d
  JOIN (SELECT account_key, max(derivation_index) AS highest FROM watched_scripts
         WHERE chain = 0 GROUP BY account_key) m USING (account_key)
 WHERE d.chain = 0 AND d.derivation_index < m.highest
   AND NOT EXISTS (SELECT FROM watched_scripts s WHERE s.account_key = d.account_key
                      AND s.chain = 0 AND s.derivation_index = d.derivation_index)
"""

_COINS: Final = """
SELECT format('%s:%s', c.txid, c.vout) AS subject,
       CASE WHEN s.address IS NULL THEN 'it pays no script that is watched'
            WHEN c.height IS NOT NULL AND b.hash IS NULL
            THEN format('block %s at height %s is not on the chain', c.block_hash, c.height)
            WHEN s.chain = 0 AND r.txid IS NULL THEN 'it pays a user, who has no receipt of it'
            WHEN s.chain = 1 AND r.txid IS NOT NULL THEN 'it is change, but a user''s receipt'
            WHEN s.chain = 0 AND ((r.user_id, r.address, r.amount, r.coinbase)
                                  <> (s.user_id, s.address, c.amount, c.coinbase)
                                  OR r.height IS DISTINCT FROM c.height
                                  OR r.block_hash IS DISTINCT FROM c.block_hash)
            THEN format('%s koinu to %s in block %s, but the receipt says %s to %s in %s',
                        c.amount, s.address, coalesce(c.block_hash, 'none'), r.amount, r.address,
                        coalesce(r.block_hash, 'none'))
       END AS detail
  FROM coins c
  LEFT JOIN watched_scripts s USING (public_key_hash)
  LEFT JOIN receipts r ON r.txid = c.txid AND r.vout = c.vout
  LEFT JOIN blocks b ON b.hash = c.block_hash AND b.height = c.height AND b.active
UNION ALL
SELECT format('%s:%s', r.txid, r.vout), 'a user''s receipt, but no coin'
  FROM receipts r
 WHERE NOT EXISTS (SELECT FROM coins c WHERE c.txid = r.txid AND c.vout = r.vout)
"""

_SPENDS: Final = """
SELECT format('%s:%s', x.txid, x.vout) AS subject,
       CASE WHEN c.txid IS NULL THEN format('%s spends it, but it is no coin of ours',
                                            x.spender_txid)
            WHEN c.height IS NULL OR c.height > x.height
            THEN format('%s spends it at height %s, before it is there', x.spender_txid, x.height)
            WHEN s.txid IS NULL
            THEN format('%s spends it, of which nothing is known', x.spender_txid)
            WHEN b.hash IS NULL OR s.height <> x.height
            THEN format('%s spends it at height %s, but is not in the chain''s block there',
                        x.spender_txid, x.height)
            WHEN c.spent_height IS DISTINCT FROM x.height
            THEN format('%s spends it at height %s, but the coin says %s',
                        x.spender_txid, x.height, coalesce(c.spent_height::text, 'unspent'))
       END AS detail
  FROM spends x
  LEFT JOIN coins c ON c.txid = x.txid AND c.vout = x.vout
  LEFT JOIN spenders s ON s.txid = x.spender_txid
  LEFT JOIN blocks b ON b.hash = s.block_hash AND b.height = s.height AND b.active
UNION ALL
SELECT format('%s:%s', c.txid, c.vout),
       format('it is spent at height %s, but nothing spends it', c.spent_height)
  FROM coins c WHERE c.spent_height IS NOT NULL
   AND NOT EXISTS (SELECT FROM spends x WHERE x.txid = c.txid AND x.vout = c.vout)
UNION ALL
SELECT s.txid,
       CASE WHEN coalesce(i.count, 0) = 0 THEN 'it is in a block, but spends no coin of ours'
            WHEN i.count > s.inputs
            THEN format('it has %s inputs, but spends %s coins of ours', s.inputs, i.count)
            WHEN i.count = s.inputs AND s.paid > i.amount
            THEN format('it pays %s koinu, but its inputs are %s', s.paid, i.amount)
       END
  FROM spenders s
  LEFT JOIN (SELECT x.spender_txid, count(*) AS count, sum(c.amount) AS amount
               FROM spends x JOIN coins c USING (txid, vout) GROUP BY 1) i
    ON i.spender_txid = s.txid
 WHERE s.height IS NOT NULL
"""

_OUTPOINT: Final = "r.txid || ':' || r.vout"
_DETECTING: Final = under_way(
    "watcher", "r.user_id", f"'detect:' || {_OUTPOINT} || ':' || r.block_hash"
)
_CREDITING: Final = under_way(
    "watcher", "r.user_id", f"'deposit:' || {_OUTPOINT} || ':' || r.creditings"
)
_REVERSING: Final = under_way(
    "watcher", "r.user_id", f"'reversal:' || {_OUTPOINT} || ':' || r.creditings"
)

_RECEIPTS: Final = f"""
SELECT format('%s:%s', r.txid, r.vout) AS subject,
       CASE WHEN d.txid IS NULL AND (r.height IS NOT NULL OR r.creditings > 0)
             AND NOT {_DETECTING} AND NOT {_CREDITING} AND NOT {_REVERSING}
            THEN 'the ledger has not heard of it'
            WHEN (d.user_id, d.address, d.amount) <> (r.user_id, r.address, r.amount)
            THEN format('%s koinu of %s to %s, but the ledger''s deposit is %s of %s to %s',
                        r.amount, r.user_id, r.address, d.amount, d.user_id, d.address)
            WHEN r.credited AND r.height IS NULL THEN 'it is credited, but in no block'
            WHEN r.credited AND (d.status <> 'credited' OR d.creditings <> r.creditings)
             AND NOT {_CREDITING}
              OR NOT r.credited AND (d.status = 'credited' OR d.creditings <> r.creditings)
             AND NOT {_REVERSING}
            THEN format('it is %s after %s creditings, but in the ledger %s after %s',
                        CASE WHEN r.credited THEN 'credited' ELSE 'not credited' END,
                        r.creditings, d.status, d.creditings)
       END AS detail
  FROM receipts r LEFT JOIN deposits d ON d.txid = r.txid AND d.vout = r.vout
UNION ALL
SELECT format('%s:%s', d.txid, d.vout), 'it was credited because of a receipt that is gone'
  FROM deposits d
 WHERE d.creditings > 0
   AND NOT EXISTS (SELECT FROM receipts r WHERE r.txid = d.txid AND r.vout = d.vout)
   AND EXISTS (SELECT FROM watcher_outbox o WHERE o.user_id = d.user_id AND o.idempotency_key
                    = 'deposit:' || d.txid || ':' || d.vout || ':' || d.creditings)
"""

#: What spends our coins on the chain: what it takes from us, and which payout it pays. A malleated
#: twin is known by its outputs and by what it spends; after a loss of the payer's tables the
#: ledger's fee is the witness.
_FLOWS: Final = f"""
taken AS (
    SELECT x.spender_txid AS txid, sum(c.amount) AS amount
      FROM spends x JOIN coins c USING (txid, vout) GROUP BY 1
), returned AS (
    SELECT c.txid, sum(c.amount) AS amount
      FROM coins c JOIN watched_scripts s USING (public_key_hash)
     WHERE s.chain = 1 AND c.height IS NOT NULL GROUP BY 1
), due AS (
    SELECT v.payout_id, v.version,
           v.fee + coalesce(sum(o.amount) FILTER (WHERE o.purpose <> 'change'), 0) AS amount
      FROM payout_versions v LEFT JOIN ({OUTPUTS}) o USING (payout_id, version)
     WHERE v.txid IS NOT NULL
     GROUP BY v.payout_id, v.version
), known AS (
    SELECT DISTINCT ON (s.txid) s.txid, v.payout_id, v.version
      FROM spenders s JOIN payout_versions v ON v.outputs_hash = s.outputs_hash
     WHERE s.height IS NOT NULL AND (v.txid = s.txid OR {SAME_INPUTS})
     ORDER BY s.txid, v.txid = s.txid DESC, v.payout_id, v.version
), flows AS (
    SELECT s.txid, t.amount - coalesce(r.amount, 0) AS taken,
           d.payout_id, d.amount AS due,
           f.txid IS NOT NULL AS in_books
      FROM spenders s
      JOIN taken t ON t.txid = s.txid
      LEFT JOIN returned r ON r.txid = s.txid
      LEFT JOIN known w ON w.txid = s.txid
      LEFT JOIN due d ON d.payout_id = w.payout_id AND d.version = w.version
      LEFT JOIN network_fees f ON f.txid = s.txid
     WHERE s.height IS NOT NULL
)"""

_OUTFLOWS: Final = f"""
WITH {_FLOWS}
SELECT f.txid AS subject,
       CASE WHEN f.payout_id IS NULL AND NOT f.in_books
            THEN format('it takes %s koinu from us, and nothing here has signed it: '
                        'does somebody else have the key?', f.taken)
            WHEN p.status = 'failed' THEN format('payout %s was given up, but is paid', p.id)
            WHEN f.taken <> f.due
            THEN format('it takes %s koinu from us, but payout %s was to take %s',
                        f.taken, p.id, f.due)
       END AS detail
  FROM flows f LEFT JOIN payouts p ON p.id = f.payout_id
"""


#: What holds at every moment.
FOLLOWED: Final = (
    Check("blocks", "each block that was followed stands on the one below", ("blocks",), _BLOCKS),
    Check(
        "scripts",
        "each watched script is a user's address or change, and each address is watched",
        ("watched_scripts", "deposit_addresses", "change_counters"),
        _SCRIPTS,
    ),
    Check(
        "coins",
        "each coin pays a script of ours in a block of the chain, and each receipt is a coin",
        ("coins", "watched_scripts", "receipts", "blocks"),
        _COINS,
    ),
    Check(
        "spends",
        "each spend is of a coin of ours, by a transaction in a block of the chain",
        ("spends", "spenders", "coins", "blocks"),
        _SPENDS,
    ),
)
_AT_TIP: Final = (
    RESERVATIONS,
    VERSIONS,
    Check(
        "receipts",
        "each receipt is credited and reversed as often as in the ledger, or that is under way",
        ("receipts", "deposits", "watcher_outbox", "commands"),
        _RECEIPTS,
    ),
    Check(
        "outflows",
        "whatever spends our coins is a payment of ours, and takes what it was to take",
        (
            *("spenders", "spends", "coins", "watched_scripts", "payout_versions", "payouts"),
            "network_fees",
        ),
        _OUTFLOWS,
    ),
)


def at_tip(*, played: bool) -> tuple[Check, ...]:
    """What holds once the chain is followed to where it was before."""
    return (*_AT_TIP, payouts_check(played=played))


class Followed(NamedTuple):
    """How far the chain is followed; no height before the first block."""

    height: int | None
    hash: str | None
    node_height: int
    halted: str | None
    rescan_from: int | None


def followed(connection: Connection) -> Followed | None:
    """How far the chain is followed; None where its side is not in use."""
    row = connection.execute(
        "SELECT b.height, b.hash, s.node_height, s.halted, s.rescan_from FROM chain_state s"
        " LEFT JOIN LATERAL (SELECT height, hash FROM blocks WHERE active"
        " ORDER BY height DESC LIMIT 1) b ON true"
    ).fetchone()
    return None if row is None else Followed(*row)


class Closing(NamedTuple):
    """Both sides of the books at the tip, in koinu."""

    #: Unspent on the chain.
    coins: int
    #: The ledger's account.
    chain: int
    #: Received, and not credited by the ledger.
    uncredited: int
    #: Credited by the ledger, and no longer on the chain.
    orphaned: int
    #: Gone by payments of ours and their fees, less what the ledger has posted of them.
    unposted: int
    #: Capital, revenue and custody that operators booked; the payer's own moves are none of it.
    house: int
    #: Deposits credited and withdrawals posted, of which watcher, payer and chain know nothing.
    invented: int
    #: Coins on change addresses that no payment of ours brought there, spent since or not.
    outside: int

    @property
    def by_hand(self) -> int:
        """In the ledger by hand."""
        return self.house + self.invented

    @property
    def lacking(self) -> int:
        """What the books have, and there are no coins for; negative where there are more."""
        return self.chain + self.uncredited - self.orphaned - self.unposted - self.coins

    @property
    def without_coins(self) -> int:
        """What was booked by hand and has no coins: coins that came in are taken to be what was
        booked as the owners' own, up to its sum."""
        return self.by_hand - min(self.outside, max(self.house, 0))

    @property
    def unexplained(self) -> int:
        """What is lacking beside that: a loss, or where negative a gain that nobody booked."""
        return self.lacking - self.without_coins


CLOSING_TABLES: Final = (
    *("coins", "spends", "spenders", "receipts", "deposits", "entries", "withdrawals", "commands"),
    *("watched_scripts", "payout_versions", "payouts", "network_fees", "watcher_outbox", "blocks"),
)

#: Of a deposit ``d`` that has no receipt: whether the watcher or the chain's own blocks know of it,
#: so that its coins were here, and are lost with the receipt.
_WAS_RECEIVED: Final = """(
    EXISTS (SELECT FROM blocks b WHERE b.hash = d.block_hash)
    OR EXISTS (SELECT FROM watcher_outbox o WHERE o.user_id = d.user_id AND o.idempotency_key
                    = 'deposit:' || d.txid || ':' || d.vout || ':' || d.creditings))"""

#: Of a posting ``p`` whose transaction is not known to spend our coins: whether we signed it.
_WAS_SIGNED: Final = """(
    EXISTS (SELECT FROM payout_versions v WHERE v.txid = p.txid)
    OR EXISTS (SELECT FROM payouts c WHERE c.confirmed_txid = p.txid))"""

_CLOSING: Final = f"""
WITH {_FLOWS}, moves AS (
    SELECT split_part(k.idempotency_key, ':', 2) AS txid, e.credit - e.debit AS amount
      FROM commands k JOIN entries e ON e.command_id = k.id AND e.account = 'chain'
     WHERE k.user_id = '{HOUSE}' AND k.topic = {TREASURY} AND k.type = 'move_custody'
       AND k.outcome = 'accepted' AND starts_with(k.idempotency_key, 'custody:')
), posted AS (
    SELECT txid, sum(amount) AS amount
      FROM (SELECT txid, amount FROM withdrawals WHERE status = 'CONFIRMED'
             UNION ALL
            SELECT txid, amount FROM network_fees WHERE posted
             UNION ALL
            SELECT txid, amount FROM moves) p
     GROUP BY txid
), payments AS (
    SELECT coalesce(sum(coalesce(f.due, p.amount, 0) - coalesce(p.amount, 0)), 0) AS unposted
      FROM flows f LEFT JOIN posted p ON p.txid = f.txid
     WHERE f.payout_id IS NOT NULL OR f.in_books
), uprooted AS (
    SELECT coalesce(sum(p.amount), 0) AS posted
      FROM posted p JOIN spenders s ON s.txid = p.txid AND s.height IS NULL
), strange AS (
    SELECT coalesce(sum(p.amount), 0) AS posted
      FROM posted p
     WHERE NOT EXISTS (SELECT FROM spenders s WHERE s.txid = p.txid) AND NOT {_WAS_SIGNED}
), brought AS (
    SELECT coalesce(sum(c.amount), 0) AS amount
      FROM coins c JOIN watched_scripts w USING (public_key_hash)
     WHERE w.chain = 1 AND c.height IS NOT NULL
       AND NOT EXISTS (SELECT FROM spenders s WHERE s.txid = c.txid AND s.height IS NOT NULL)
), booked AS (
    SELECT coalesce(sum(debit - credit), 0) AS chain,
           coalesce(sum(debit - credit)
                    FILTER (WHERE entry_type IN ('CAPITAL', 'REVENUE', 'CUSTODY')), 0)
               + (SELECT coalesce(sum(amount), 0) FROM moves) AS house
      FROM entries WHERE account = 'chain'
), received AS (
    SELECT coalesce(sum(r.amount) FILTER (WHERE r.height IS NOT NULL
                                            AND d.status IS DISTINCT FROM 'credited'), 0)
               AS uncredited,
           coalesce(sum(d.amount) FILTER (WHERE r.height IS NULL AND r.txid IS NOT NULL
                                            AND d.status = 'credited'), 0) AS orphaned,
           coalesce(sum(d.amount) FILTER (WHERE r.txid IS NULL AND d.status = 'credited'
                                            AND NOT {_WAS_RECEIVED}), 0) AS invented
      FROM receipts r FULL JOIN deposits d ON d.txid = r.txid AND d.vout = r.vout
)
SELECT (SELECT coalesce(sum(c.amount), 0) FROM coins c WHERE c.height IS NOT NULL
           AND NOT EXISTS (SELECT FROM spends x WHERE x.txid = c.txid AND x.vout = c.vout)),
       b.chain, r.uncredited, r.orphaned, p.unposted - u.posted, b.house, r.invented - s.posted,
       o.amount
  FROM booked b, received r, payments p, uprooted u, strange s, brought o
"""


def closing(connection: Connection) -> Closing:
    """Add up both sides."""
    row = connection.execute(_CLOSING).fetchone()
    assert row is not None
    return Closing(*(int(value) for value in row))
