"""What must hold of withdrawals, claims, payouts and reservations, one query each.

Answers as those of ``db.audit.books`` do; what is under way is no fault, as in ``db.audit.coins``.
"""

from __future__ import annotations

from typing import Final

from db.audit.books import Check
from db.treasury.orders import INPUTS, OUTPUTS, under_way
from db.treasury.stranded import CLAIMED_BY_PAYER


def _of_payer(kind: str, ending: str) -> str:
    return under_way("payer", "w.user_id", f"'{kind}:' || w.id || {ending}")


_ASKED: Final = """EXISTS (
        SELECT FROM payer_outbox o WHERE o.user_id = w.user_id AND o.idempotency_key
             = 'claim:' || w.id || CASE c.attempts WHEN 1 THEN '' ELSE ':' || c.attempts END)"""
_CONFIRMING: Final = _of_payer("confirm", "':' || p.confirmations_told")
_UNCONFIRMING: Final = _of_payer("unconfirm", "':' || p.confirmations_told")
_FAILING: Final = _of_payer("fail", "''")
_SENDING: Final = (
    "EXISTS (SELECT FROM payout_versions v WHERE v.payout_id = p.id AND "
    + _of_payer("broadcast", "':' || v.txid")
    + ")"
)
_STANDS: Final = "EXISTS (SELECT FROM spends x WHERE x.spender_txid = w.txid)"
#: A reorganisation took it out of the chain, and the payer, whose coins it holds, will say so.
_UPROOTED: Final = """(
    EXISTS (SELECT FROM spenders s WHERE s.txid = w.txid AND s.height IS NULL)
    AND EXISTS (SELECT FROM reservations v WHERE v.payout_id = p.id))"""

_PAYOUTS: Final = f"""
SELECT w.id::text AS subject,
       CASE WHEN c.withdrawal_id IS NULL
            THEN CASE WHEN w.status NOT IN ('PENDING', 'FAILED')
                       AND NOT (w.status = 'CONFIRMED' AND {_STANDS})
                      THEN format('it is %s, but nothing here has claimed it: '
                                  '`wallet payer stranded`', w.status) END
            WHEN (c.user_id, c.amount, c.destination_address)
                 <> (w.user_id, w.amount, w.destination_address)
            THEN format('%s koinu to %s, but its claim is of %s to %s',
                        w.amount, w.destination_address, c.amount, c.destination_address)
            WHEN c.outcome IS NULL
            THEN CASE WHEN w.status NOT IN ('PENDING', 'PROCESSING', 'FAILED')
                      THEN format('it is %s, but its claim has no outcome', w.status)
                      WHEN NOT {_ASKED} THEN 'its claim was never sent' END
            WHEN c.outcome = 'rejected'
            THEN CASE WHEN w.status NOT IN ('PENDING', 'FAILED')
                      THEN format('it is %s, but its claim was refused: %s', w.status, c.code) END
            WHEN p.id IS NULL AND w.status = 'PROCESSING'
             AND EXISTS (SELECT FROM stranded s WHERE s.withdrawal_id = w.id)
            THEN 'it is stranded, and paid by nobody: `wallet payer stranded`'
            WHEN p.id IS NULL
            THEN CASE WHEN w.status NOT IN ('PROCESSING', 'FAILED')
                      THEN format('it is %s and its claim accepted, but no payout pays it',
                                  w.status) END
            WHEN NOT CASE p.status
                 WHEN 'reserved' THEN w.status = 'PROCESSING'
                 WHEN 'signed' THEN w.status = 'PROCESSING'
                 WHEN 'broadcast' THEN w.status = 'BROADCAST'
                   OR w.status = 'PROCESSING' AND {_SENDING}
                   OR w.status IN ('CONFIRMED', 'PROCESSING') AND {_UNCONFIRMING}
                 WHEN 'confirmed' THEN w.status = 'CONFIRMED' OR {_CONFIRMING}
                 ELSE w.status = 'FAILED' OR {_FAILING} END
            THEN format('it is %s, but payout %s, which pays it, is %s', w.status, p.id, p.status)
            WHEN w.status = 'CONFIRMED' AND p.status = 'confirmed'
             AND w.txid <> p.confirmed_txid AND NOT {_CONFIRMING}
            THEN format('it was confirmed by %s, but payout %s by %s',
                        w.txid, p.id, p.confirmed_txid)
            WHEN w.status = 'CONFIRMED' AND p.status = 'confirmed'
             AND NOT {_STANDS} AND NOT {_UPROOTED} AND NOT {_CONFIRMING}
            THEN format('it was confirmed by %s, which is not on the chain', w.txid)
       END AS detail
  FROM withdrawals w
  LEFT JOIN claims c ON c.withdrawal_id = w.id
  LEFT JOIN payouts p ON p.id = c.payout_id
 /*which*/
UNION ALL
SELECT c.withdrawal_id::text, 'it is claimed, but the ledger has no such withdrawal'
  FROM claims c WHERE NOT EXISTS (SELECT FROM withdrawals w WHERE w.id = c.withdrawal_id)
"""

_CLAIMED: Final = f"""WHERE w.status IN ('PENDING', 'FAILED')
    OR c.withdrawal_id IS NOT NULL AND c.outcome IS DISTINCT FROM 'rejected'
    OR {CLAIMED_BY_PAYER}"""

#: Of a payout ``p``: its coins are bound.
_LIVING: Final = """(p.status IN ('reserved', 'signed', 'broadcast')
    OR p.status = 'confirmed' AND EXISTS (SELECT FROM reservations h WHERE h.payout_id = p.id))"""
#: Of a payout ``p``: it was given up before anything was signed.
_ABANDONED: Final = """(p.status = 'failed' AND NOT EXISTS (
    SELECT FROM payout_versions a WHERE a.payout_id = p.id AND a.raw IS NOT NULL))"""

_VERSIONS: Final = f"""
WITH inputs AS ({INPUTS}), outputs AS ({OUTPUTS}), spent AS (
    SELECT i.payout_id, i.version, sum(i.amount) AS amount,
           min(i.txid || ':' || i.vout) FILTER (WHERE c.amount IS DISTINCT FROM i.amount)
               AS strange,
           min(i.txid || ':' || i.vout) FILTER (WHERE r.payout_id IS NULL) AS free
      FROM inputs i
      LEFT JOIN coins c ON c.txid = i.txid AND c.vout = i.vout
      LEFT JOIN reservations r
        ON r.txid = i.txid AND r.vout = i.vout AND r.payout_id = i.payout_id
     GROUP BY 1, 2
), paid AS (
    SELECT o.payout_id, o.version, sum(o.amount) AS amount,
           string_agg(format('%s: %s to %s', withdrawal_id, amount, address), ', '
                      ORDER BY withdrawal_id) FILTER (WHERE purpose = 'withdrawal') AS payees,
           string_agg(address, ', ') FILTER (WHERE purpose = 'cold') AS cold,
           min(address) FILTER (WHERE purpose = 'change' AND NOT EXISTS (
               SELECT FROM watched_scripts s WHERE s.address = o.address AND s.chain = 1))
               AS strange
      FROM outputs o GROUP BY 1, 2
), owed AS (
    SELECT payout_id, string_agg(format('%s: %s to %s', withdrawal_id, amount,
                      destination_address), ', ' ORDER BY withdrawal_id::text) AS payees
      FROM claims WHERE payout_id IS NOT NULL GROUP BY 1
)
SELECT format('payout %s, version %s', p.id, v.version) AS subject,
       CASE WHEN spent.amount IS DISTINCT FROM paid.amount + v.fee
            THEN format('its inputs are %s koinu, its outputs %s and its fee %s',
                        spent.amount, paid.amount, v.fee)
            WHEN spent.strange IS NOT NULL
            THEN format('it spends %s, which is no coin of ours of that amount', spent.strange)
            WHEN paid.strange IS NOT NULL
            THEN format('its change goes to %s, which is not watched', paid.strange)
            WHEN paid.payees IS DISTINCT FROM owed.payees AND NOT {_ABANDONED}
            THEN format('it pays %s, but the payout''s withdrawals are %s',
                        coalesce(paid.payees, 'none'), coalesce(owed.payees, 'none'))
            WHEN paid.cold IS DISTINCT FROM p.target_address
            THEN format('it sweeps to %s, but was to sweep to %s',
                        coalesce(paid.cold, 'nowhere'), coalesce(p.target_address, 'nowhere'))
            WHEN spent.free IS NOT NULL AND {_LIVING}
            THEN format('it spends %s, which is not reserved for it', spent.free)
       END AS detail
  FROM payout_versions v
  JOIN payouts p ON p.id = v.payout_id
  LEFT JOIN spent USING (payout_id, version)
  LEFT JOIN paid USING (payout_id, version)
  LEFT JOIN owed ON owed.payout_id = p.id
"""

_RESERVATIONS: Final = f"""
WITH inputs AS ({INPUTS}), outputs AS ({OUTPUTS})
SELECT format('%s:%s', r.txid, r.vout) AS subject,
       CASE WHEN p.status = 'failed'
            THEN format('it is reserved for payout %s, which was given up', p.id)
            WHEN c.txid IS NULL
            THEN format('it is reserved for payout %s, but is no coin of ours', p.id)
       END AS detail
  FROM reservations r
  JOIN payouts p ON p.id = r.payout_id
  LEFT JOIN coins c ON c.txid = r.txid AND c.vout = r.vout
UNION ALL
SELECT format('%s:%s', i.txid, i.vout),
       CASE WHEN count(DISTINCT p.id) > 1
            THEN format('payouts %s spend it', string_agg(DISTINCT p.id::text, ', ')) END
  FROM inputs i JOIN payouts p ON p.id = i.payout_id
 WHERE {_LIVING} GROUP BY i.txid, i.vout
UNION ALL
SELECT o.withdrawal_id,
       CASE WHEN count(DISTINCT p.id) > 1
            THEN format('payouts %s pay it', string_agg(DISTINCT p.id::text, ', ')) END
  FROM outputs o JOIN payouts p ON p.id = o.payout_id
 WHERE o.withdrawal_id IS NOT NULL AND NOT {_ABANDONED} GROUP BY o.withdrawal_id
"""

RESERVATIONS: Final = Check(
    "reservations",
    "no coin is in two living payouts, no withdrawal is paid by two, none is held for nothing",
    ("reservations", "payouts", "payout_versions", "coins"),
    _RESERVATIONS,
)

VERSIONS: Final = Check(
    "versions",
    "each version of a payment spends its own coins and pays exactly its withdrawals",
    (
        *("payout_versions", "payouts", "claims", "coins", "reservations"),
        "watched_scripts",
    ),
    _VERSIONS,
)


def payouts_check(*, played: bool) -> Check:
    """Every withdrawal; where an operator or a load generator plays the payer on a test network,
    those alone that the payer itself has claimed."""
    return Check(
        "payouts",
        "each withdrawal is claimed, paid and on the chain as far as its status says",
        (
            *("withdrawals", "claims", "payouts", "payout_versions", "reservations"),
            *("spends", "spenders", "payer_outbox", "commands", "stranded"),
        ),
        _PAYOUTS.replace("/*which*/", _CLAIMED if played else ""),
    )
