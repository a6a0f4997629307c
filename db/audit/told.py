"""What must hold between records and what their commands told of them, one query each.

A command's stored outcome says how it left a withdrawal, an escrow, a deposit, a lock, an address
or a freeze. It cannot be changed unseen, for the chain of digests is over it; these records can.
Sums do not show where a withdrawal goes, who sells in an escrow, or which of two locks holds more.

Every query answers (subject, detail) for all that it looked at; ``detail`` is NULL where all is
well. A wallet's version rises with each acceptance, so it tells which outcome came last.
"""

from __future__ import annotations

from typing import Final

from db.audit.books import Check

_VERSION: Final = "(c.document->'balance'->>'version')::bigint AS version"


def _koinu(text: str) -> str:
    """An amount of a document in SQL."""
    return f"({text}::numeric * 100000000)::bigint"


_WITHDRAWALS: Final = f"""
WITH words AS (
    SELECT r.id, {_VERSION}, r.status, r.txid, r.reason
      FROM commands c
     CROSS JOIN LATERAL json_to_record(c.document->'result')
             AS r(id uuid, status withdrawal_status, txid text, reason text)
     WHERE c.outcome = 'accepted'
       AND c.type IN ('request_withdrawal', 'cancel_withdrawal', 'claim_withdrawal',
                      'record_broadcast', 'confirm_withdrawal', 'unconfirm_withdrawal',
                      'fail_withdrawal')
     UNION ALL
    SELECT r.id::uuid, {_VERSION}, 'FAILED', NULL, 'reversed_deposit'
      FROM commands c
     CROSS JOIN LATERAL json_array_elements_text(c.document->'result'->'withdrawals_failed')
             AS r(id)
     WHERE c.outcome = 'accepted' AND c.type = 'reverse_deposit'
), last AS (
    SELECT DISTINCT ON (id) id, status, txid, reason FROM words ORDER BY id, version DESC
)
SELECT w.id::text AS subject,
       CASE WHEN (w.amount, w.fee, w.destination_address, w.requested_at)
                 <> ({_koinu("r.amount")}, {_koinu("r.fee")}, r.destination_address,
                     r.requested_at)
            THEN format('it pays %s koinu to %s for a fee of %s at %s, but was requested as %s '
                        'DOGE to %s for %s at %s', w.amount, w.destination_address, w.fee,
                        w.requested_at, r.amount, r.destination_address, r.fee, r.requested_at)
            WHEN (w.status, w.txid, w.reason) IS DISTINCT FROM (l.status, l.txid, l.reason)
            THEN format('it is %s (%s), but the last command made it %s (%s)',
                        w.status, coalesce(w.reason, w.txid, '-'),
                        l.status, coalesce(l.reason, l.txid, '-'))
       END AS detail
  FROM withdrawals w
  JOIN last l ON l.id = w.id
  JOIN commands c ON c.id = w.id
 CROSS JOIN LATERAL json_to_record(c.document->'result')
         AS r(amount text, fee text, destination_address text, requested_at timestamptz)
"""

_ESCROWS: Final = f"""
WITH words AS (
    SELECT r.*, {_VERSION}
      FROM commands c
     CROSS JOIN LATERAL json_to_record(c.document->'result')
             AS r(id uuid, order_id text, buyer_id uuid, seller_id uuid, amount text,
                  fee_amount text, released text, refunded text, fees text, remaining text,
                  status escrow_status, created_at timestamptz)
     WHERE c.outcome = 'accepted'
       AND c.type IN ('pay_order', 'convert_to_escrow', 'release_escrow', 'refund_escrow',
                      'dispute_escrow', 'resolve_dispute')
), last AS (
    SELECT DISTINCT ON (id) * FROM words ORDER BY id, version DESC
)
SELECT e.id::text AS subject,
       CASE WHEN (e.order_id, e.buyer_id, e.seller_id, e.created_at)
                 <> (l.order_id, l.buyer_id, l.seller_id, l.created_at)
            THEN format('order %s of %s from %s at %s, but it was made for order %s of %s from %s '
                        'at %s', e.order_id, e.buyer_id, e.seller_id, e.created_at,
                        l.order_id, l.buyer_id, l.seller_id, l.created_at)
            WHEN e.status <> l.status
            THEN format('it is %s, but the last command made it %s', e.status, l.status)
            WHEN (e.amount, e.fee_amount, e.released, e.refunded, e.fees, e.remaining)
                 <> ({_koinu("l.amount")}, {_koinu("l.fee_amount")}, {_koinu("l.released")},
                     {_koinu("l.refunded")}, {_koinu("l.fees")}, {_koinu("l.remaining")})
            THEN format('of %s koinu for a fee of %s, but the last command told %s DOGE for %s, '
                        'or other parts of them', e.amount, e.fee_amount, l.amount, l.fee_amount)
       END AS detail
  FROM escrows e JOIN last l ON l.id = e.id
"""

_DEPOSITS: Final = f"""
WITH words AS (
    SELECT r.*, c.user_id, {_VERSION}
      FROM commands c
     CROSS JOIN LATERAL json_to_record(c.document->'result')
             AS r(txid text, vout int, address text, amount text, status deposit_status,
                  creditings int, block_hash text, height bigint)
     WHERE c.outcome = 'accepted'
       AND c.type IN ('detect_deposit', 'process_deposit', 'reverse_deposit')
), last AS (
    SELECT DISTINCT ON (txid, vout) * FROM words ORDER BY txid, vout, version DESC
)
SELECT d.txid || ':' || d.vout AS subject,
       CASE WHEN l.txid IS NULL THEN 'no accepted command told of it'
            WHEN (d.user_id, d.address, d.amount)
                 <> (l.user_id, l.address, {_koinu("l.amount")})
            THEN format('%s koinu for %s by %s, but the last command told of %s DOGE for %s by %s',
                        d.amount, d.user_id, d.address, l.amount, l.user_id, l.address)
            WHEN (d.status, d.creditings, d.block_hash, d.height)
                 IS DISTINCT FROM (l.status, l.creditings, l.block_hash, l.height)
            THEN format('it is %s in block %s at %s, but the last command told %s in %s at %s',
                        d.status, d.block_hash, d.height, l.status, l.block_hash, l.height)
       END AS detail
  FROM deposits d LEFT JOIN last l ON l.txid = d.txid AND l.vout = d.vout
"""

#: A conversion empties its lock, and does not tell which that was.
_LOCKS: Final = f"""
WITH words AS (
    SELECT c.user_id, r.*, {_VERSION}
      FROM commands c
     CROSS JOIN LATERAL json_to_record(c.document->'result')
             AS r(reference_type text, reference_id text, locked text)
     WHERE c.outcome = 'accepted' AND c.type IN ('lock_funds', 'unlock_funds')
), last AS (
    SELECT DISTINCT ON (user_id, reference_type, reference_id) * FROM words
     ORDER BY user_id, reference_type, reference_id, version DESC
), converted AS (
    SELECT c.user_id, max((c.document->'balance'->>'version')::bigint) AS version
      FROM commands c
     WHERE c.outcome = 'accepted' AND c.type = 'convert_to_escrow' GROUP BY c.user_id
)
SELECT format('%s %s of %s', k.reference_type, k.reference_id, k.user_id) AS subject,
       CASE WHEN l.user_id IS NULL THEN 'no accepted command locked anything there'
            WHEN k.amount <> {_koinu("l.locked")}
             AND (k.amount <> 0 OR coalesce(v.version, -1) < l.version)
            THEN format('it holds %s koinu, but the last command left %s DOGE', k.amount, l.locked)
       END AS detail
  FROM locks k
  LEFT JOIN last l USING (user_id, reference_type, reference_id)
  LEFT JOIN converted v USING (user_id)
"""

_ADDRESSES: Final = f"""
WITH words AS (
    SELECT c.user_id, c.document->'result'->>'address' AS address, {_VERSION}
      FROM commands c WHERE c.outcome = 'accepted' AND c.type = 'assign_address'
), shown AS (
    SELECT DISTINCT user_id, address FROM words
), last AS (
    SELECT DISTINCT ON (user_id) user_id, address FROM words ORDER BY user_id, version DESC
)
SELECT a.address AS subject,
       CASE WHEN s.address IS NULL THEN format('it was never assigned to %s', a.user_id)
            WHEN a.active <> (l.address = a.address)
            THEN format('%s is shown another one than the last command told: %s',
                        a.user_id, l.address)
       END AS detail
  FROM deposit_addresses a
  LEFT JOIN shown s ON s.user_id = a.user_id AND s.address = a.address
  LEFT JOIN last l ON l.user_id = a.user_id
"""

_FREEZES: Final = f"""
WITH words AS (
    SELECT c.user_id, c.type, {_VERSION}
      FROM commands c
     WHERE c.outcome = 'accepted' AND c.type IN ('freeze_wallet', 'unfreeze_wallet')
), last AS (
    SELECT DISTINCT ON (user_id) user_id, type FROM words ORDER BY user_id, version DESC
)
SELECT w.user_id::text AS subject,
       CASE WHEN w.frozen_by_operator <> coalesce(l.type = 'freeze_wallet', false)
            THEN format('it is %s, but the last command of an operator was %s',
                        CASE WHEN w.frozen_by_operator THEN 'frozen' ELSE 'not frozen' END,
                        coalesce(l.type, 'none'))
       END AS detail
  FROM wallets w LEFT JOIN last l ON l.user_id = w.user_id
"""


def _told(noun: str, table: str, query: str) -> Check:
    return Check(
        f"{noun} as told",
        f"each of the {noun} is as the last command told it",
        (table, "commands"),
        query,
        slow=True,
    )


TOLD: Final = (
    _told("withdrawals", "withdrawals", _WITHDRAWALS),
    _told("escrows", "escrows", _ESCROWS),
    _told("deposits", "deposits", _DEPOSITS),
    _told("locks", "locks", _LOCKS),
    _told("addresses", "deposit_addresses", _ADDRESSES),
    _told("freezes", "wallets", _FREEZES),
)
