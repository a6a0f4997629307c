"""What must hold of balances and of what explains them, one query each.

Every query answers (subject, detail) for all that it looked at; ``detail`` is NULL where all is
well. Sums are NUMERIC, since those over all users need not fit 63 bits.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.ledger import HOUSE


class Check(NamedTuple):
    """A rule of the books: ``says`` is what holds, ``tables`` what the query reads."""

    name: str
    says: str
    tables: tuple[str, ...]
    query: str
    #: Reads every entry or command more than once over: left out of a quick look.
    slow: bool = False


_OF_USERS: Final = f"user_id <> '{HOUSE}'"
_OF_HOUSE: Final = f"user_id = '{HOUSE}'"
_OPEN: Final = "status IN ('PENDING', 'PROCESSING', 'BROADCAST')"

_BALANCED: Final = """
SELECT command_id::text AS subject,
       CASE WHEN sum(debit) <> sum(credit)
            THEN format('its entries debit %s and credit %s koinu', sum(debit), sum(credit))
       END AS detail
  FROM entries GROUP BY command_id
"""

_BALANCES: Final = f"""
WITH sums AS (
    SELECT user_id, account, sum(credit) - sum(debit) AS held
      FROM entries WHERE {_OF_USERS} GROUP BY user_id, account
), told AS (
    SELECT w.user_id, v.account, v.held
      FROM wallets w
     CROSS JOIN LATERAL (VALUES ('available'::account, w.available), ('bids', w.bids),
                                ('escrow', w.escrow), ('pending', w.pending)) v(account, held)
)
SELECT format('%s %s', user_id, account) AS subject,
       CASE WHEN told.held IS NULL
            THEN format('there is no wallet, but entries of %s koinu', sums.held)
            WHEN told.held <> coalesce(sums.held, 0)
            THEN format('the wallet says %s koinu, its entries add up to %s',
                        told.held, coalesce(sums.held, 0))
       END AS detail
  FROM told FULL JOIN sums USING (user_id, account)
"""

_HOLDS: Final = f"""
WITH held AS (
    SELECT user_id, 'bids' AS account, sum(amount) AS held FROM locks GROUP BY user_id
     UNION ALL
    SELECT buyer_id, 'escrow', sum(remaining) FROM escrows GROUP BY buyer_id
     UNION ALL
    SELECT user_id, 'pending', sum(amount::numeric + fee) FROM withdrawals WHERE {_OPEN}
     GROUP BY user_id
), told AS (
    SELECT w.user_id, v.account, v.held
      FROM wallets w
     CROSS JOIN LATERAL (VALUES ('bids', w.bids), ('escrow', w.escrow), ('pending', w.pending))
             v(account, held)
)
SELECT format('%s %s', user_id, account) AS subject,
       CASE WHEN told.held IS DISTINCT FROM coalesce(held.held, 0)
            THEN format('the wallet says %s koinu, its %s add up to %s',
                        coalesce(told.held::text, 'nothing of'),
                        CASE account WHEN 'bids' THEN 'locks' WHEN 'escrow' THEN 'escrows'
                             ELSE 'open withdrawals' END,
                        coalesce(held.held, 0))
       END AS detail
  FROM told FULL JOIN held USING (user_id, account)
"""

# A debt is its command's own user's; who gives it back is who gives the money.
_SHORTFALLS: Final = """
WITH posted AS (
    SELECT c.user_id, e.debit AS owed
      FROM entries e LEFT JOIN commands c ON c.id = e.command_id
     WHERE e.account = 'shortfall' AND e.debit > 0
     UNION ALL
    SELECT user_id, -debit FROM entries WHERE entry_type = 'SHORTFALL_REPAYMENT' AND debit > 0
), booked AS (
    SELECT user_id, sum(owed) AS booked FROM posted GROUP BY user_id
)
SELECT coalesce(user_id::text, 'nobody') AS subject,
       CASE WHEN coalesce(w.shortfall, 0) <> coalesce(b.booked, 0)
            THEN format('owes %s koinu, by the entries of the house''s shortfall account %s',
                        coalesce(w.shortfall, 0), coalesce(b.booked, 0))
       END AS detail
  FROM (SELECT user_id, shortfall FROM wallets WHERE shortfall > 0) w
  FULL JOIN booked b USING (user_id)
UNION ALL
SELECT user_id::text,
       CASE WHEN available > 0
            THEN format('%s koinu are available although %s are owed', available, shortfall) END
  FROM wallets WHERE shortfall > 0
"""

#: What the house holds or has spent is debited, what it owes or has earned is credited.
_HOUSE: Final = f"""
WITH sums AS (
    SELECT account, sum(debit) - sum(credit) AS debited FROM entries WHERE {_OF_HOUSE}
     GROUP BY account
)
SELECT v.account::text AS subject,
       CASE WHEN v.side * coalesce(s.debited, 0) < 0
            THEN format('it stands at %s koinu: more went out than ever came in',
                        v.side * s.debited)
            WHEN v.side = 0 AND coalesce(s.debited, 0) <> 0
            THEN format('%s koinu are unexplained', s.debited)
       END AS detail
  FROM (VALUES ('chain'::account, 1), ('cold', 1), ('network_fees', 1), ('shortfall', 1),
               ('fees', -1), ('capital', -1), ('suspense', 0)) v(account, side)
  LEFT JOIN sums s ON s.account = v.account
"""

_DEPOSITS: Final = f"""
WITH booked AS (
    SELECT reference_id,
           coalesce(sum(debit) FILTER (WHERE entry_type = 'DEPOSIT'), 0) AS credited,
           coalesce(sum(credit) FILTER (WHERE entry_type = 'DEPOSIT_REVERSAL'), 0) AS reversed
      FROM entries
     WHERE {_OF_HOUSE} AND account = 'chain' AND entry_type IN ('DEPOSIT', 'DEPOSIT_REVERSAL')
     GROUP BY reference_id
)
SELECT coalesce(d.outpoint, b.reference_id) AS subject,
       CASE WHEN d.outpoint IS NULL THEN 'there are entries, but no deposit'
            WHEN coalesce(b.credited, 0) <> d.amount::numeric * d.creditings
            THEN format('%s creditings of %s koinu, but entries credit %s',
                        d.creditings, d.amount, coalesce(b.credited, 0))
            WHEN coalesce(b.reversed, 0)
                 <> d.amount::numeric * (d.creditings - (d.status = 'credited')::int)
            THEN format('%s after %s creditings of %s koinu, but entries reverse %s',
                        d.status, d.creditings, d.amount, coalesce(b.reversed, 0))
            WHEN a.address IS NULL
            THEN format('it was paid to %s, which is no address of its user', d.address)
       END AS detail
  FROM (SELECT txid || ':' || vout AS outpoint, * FROM deposits) d
  FULL JOIN booked b ON b.reference_id = d.outpoint
  LEFT JOIN deposit_addresses a ON a.address = d.address AND a.user_id = d.user_id
"""

_WITHDRAWALS: Final = f"""
WITH booked AS (
    SELECT reference_id,
           sum(credit - debit) FILTER (WHERE account = 'pending') AS held,
           coalesce(sum(credit - debit) FILTER (WHERE account = 'chain'), 0) AS paid,
           coalesce(sum(credit - debit) FILTER (WHERE account = 'fees'), 0) AS earned
      FROM entries
     WHERE reference_type = 'withdrawal' AND account IN ('pending', 'chain', 'fees')
     GROUP BY reference_id
)
SELECT coalesce(w.id::text, b.reference_id) AS subject,
       CASE WHEN w.id IS NULL THEN 'there are entries, but no withdrawal'
            WHEN c.id IS NULL THEN 'no accepted request_withdrawal made it'
            WHEN b.held IS DISTINCT FROM
                 CASE WHEN w.{_OPEN} THEN w.amount::numeric + w.fee ELSE 0 END
            THEN format('it is %s over %s and %s koinu, but its entries hold %s',
                        w.status, w.amount, w.fee, b.held)
            WHEN b.paid <> CASE w.status WHEN 'CONFIRMED' THEN w.amount ELSE 0 END
              OR b.earned <> CASE w.status WHEN 'CONFIRMED' THEN w.fee ELSE 0 END
            THEN format('it is %s over %s and %s koinu, but entries paid %s and %s',
                        w.status, w.amount, w.fee, b.paid, b.earned)
       END AS detail
  FROM withdrawals w
  FULL JOIN booked b ON b.reference_id = w.id::text
  LEFT JOIN commands c ON c.id = w.id AND c.outcome = 'accepted'
   AND c.type = 'request_withdrawal' AND c.user_id = w.user_id
"""

_ESCROWS: Final = """
WITH booked AS (
    SELECT reference_id,
           coalesce(sum(credit) FILTER (WHERE account = 'escrow'), 0) AS locked,
           coalesce(sum(debit) FILTER (WHERE account = 'escrow'
                                         AND entry_type = 'SALE_CREDIT'), 0) AS sold,
           coalesce(sum(debit) FILTER (WHERE account = 'escrow'
                                         AND entry_type = 'REFUND'), 0) AS refunded,
           coalesce(sum(credit) FILTER (WHERE account = 'fees'), 0) AS fees
      FROM entries
     WHERE reference_type = 'escrow' AND account IN ('escrow', 'fees')
     GROUP BY reference_id
)
SELECT coalesce(e.id::text, b.reference_id) AS subject,
       CASE WHEN e.id IS NULL THEN 'there are entries, but no escrow'
            WHEN c.id IS NULL THEN 'no accepted command of its buyer made it'
            WHEN (coalesce(b.locked, 0), coalesce(b.sold, 0), coalesce(b.refunded, 0),
                  coalesce(b.fees, 0))
                 <> (e.amount, e.released::numeric + e.fees, e.refunded, e.fees)
            THEN format('amount, gross released, refunded and fees are %s, %s, %s and %s koinu, '
                        'but entries of %s, %s, %s and %s',
                        e.amount, e.released::numeric + e.fees, e.refunded, e.fees,
                        b.locked, b.sold, b.refunded, b.fees)
       END AS detail
  FROM escrows e
  FULL JOIN booked b ON b.reference_id = e.id::text
  LEFT JOIN commands c ON c.id = e.id AND c.outcome = 'accepted'
   AND c.type IN ('pay_order', 'convert_to_escrow') AND c.user_id = e.buyer_id
"""

_NETWORK_FEES: Final = """
WITH booked AS (
    SELECT reference_id, sum(debit) - sum(credit) AS paid,
           count(*) FILTER (WHERE debit > 0) AS postings
      FROM entries WHERE account = 'network_fees' GROUP BY reference_id
)
SELECT coalesce(f.txid, b.reference_id) AS subject,
       CASE WHEN f.txid IS NULL THEN 'there are entries, but no fee is recorded'
            WHEN coalesce(b.paid, 0) <> CASE WHEN f.posted THEN f.amount ELSE 0 END
            THEN format('the fee of %s koinu is %s, but entries paid %s', f.amount,
                        CASE WHEN f.posted THEN 'posted' ELSE 'taken back' END,
                        coalesce(b.paid, 0))
            WHEN f.postings <> b.postings
            THEN format('%s postings are counted, %s are there', f.postings, b.postings)
       END AS detail
  FROM network_fees f FULL JOIN booked b ON b.reference_id = f.txid
"""

_ADDRESSES: Final = """
WITH taken AS (
    SELECT account_key, count(*) AS addresses, min(derivation_index) AS lowest,
           max(derivation_index) AS highest
      FROM deposit_addresses WHERE chain = 0 GROUP BY account_key
)
SELECT account_key AS subject,
       CASE WHEN coalesce(c.next_index, -1) <> coalesce(t.addresses, 0)
              OR coalesce(t.lowest, 0) <> 0
              OR coalesce(t.highest, -1) <> coalesce(t.addresses, 0) - 1
            THEN format('%s addresses from index %s to %s, and the next is %s: not dense',
                        coalesce(t.addresses, 0), t.lowest, t.highest,
                        coalesce(c.next_index::text, 'unknown'))
       END AS detail
  FROM address_counters c FULL JOIN taken t USING (account_key)
UNION ALL
SELECT a.address, CASE WHEN w.user_id IS NULL THEN 'its user has no wallet' END
  FROM deposit_addresses a LEFT JOIN wallets w ON w.user_id = a.user_id
"""

_COUNTERS: Final = """
WITH own AS (
    SELECT user_id, count(*) AS told, count(*) FILTER (WHERE outcome = 'accepted') AS accepted,
           min(decided_at) FILTER (WHERE outcome = 'accepted') AS opened, max(decided_at) AS latest
      FROM commands GROUP BY user_id
), sales AS (
    SELECT user_id, count(*) AS told, min(created_at) AS opened, max(created_at) AS latest
      FROM entries WHERE entry_type = 'SALE_CREDIT' AND credit > 0 GROUP BY user_id
)
SELECT w.user_id::text AS subject,
       CASE WHEN w.sequence <> coalesce(own.told, 0) + coalesce(sales.told, 0)
            THEN format('%s events are counted; %s outcomes and %s sales make another number',
                        w.sequence, coalesce(own.told, 0), coalesce(sales.told, 0))
            WHEN w.version <> coalesce(own.accepted, 0) + coalesce(sales.told, 0)
            THEN format('it is at version %s; %s acceptances and %s sales make another number',
                        w.version, coalesce(own.accepted, 0), coalesce(sales.told, 0))
            WHEN w.opened_at <> coalesce(least(own.opened, sales.opened), to_timestamp(0))
            THEN format('it was opened at %s, but its first acceptance or sale was at %s',
                        w.opened_at, least(own.opened, sales.opened))
            WHEN w.time <> coalesce(greatest(own.latest, sales.latest), to_timestamp(0))
            THEN format('its time is %s, but its last outcome or sale was at %s',
                        w.time, greatest(own.latest, sales.latest))
       END AS detail
  FROM wallets w
  LEFT JOIN own ON own.user_id = w.user_id
  LEFT JOIN sales ON sales.user_id = w.user_id
UNION ALL
SELECT own.user_id::text, 'there are outcomes, but no wallet'
  FROM own WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.user_id = own.user_id)
"""

_RUNNING: Final = f"""
WITH steps AS (
    SELECT id, user_id, account, debit, credit, balance_after, wallet_version,
           lag(balance_after, 1, 0::bigint) OVER in_order AS before,
           lead(id) OVER in_order IS NULL AS is_last
      FROM entries WHERE {_OF_USERS}
    WINDOW in_order AS (PARTITION BY user_id, account ORDER BY wallet_version, id)
)
SELECT s.id::text AS subject,
       CASE WHEN s.balance_after::numeric <> s.before::numeric + s.credit - s.debit
            THEN format('%s of %s goes from %s to %s by a debit of %s and a credit of %s koinu',
                        s.account, s.user_id, s.before, s.balance_after, s.debit, s.credit)
            WHEN s.is_last AND s.balance_after IS DISTINCT FROM CASE s.account
                 WHEN 'available' THEN w.available WHEN 'bids' THEN w.bids
                 WHEN 'escrow' THEN w.escrow ELSE w.pending END
            THEN format('the last entry leaves %s koinu in %s of %s, the wallet says otherwise',
                        s.balance_after, s.account, s.user_id)
            WHEN s.wallet_version > w.version
            THEN format('it is of version %s of wallet %s, which is at %s',
                        s.wallet_version, s.user_id, w.version)
       END AS detail
  FROM steps s LEFT JOIN wallets w ON w.user_id = s.user_id
"""

BOOKS: Final = (
    Check("balanced", "debits equal credits in every command", ("entries",), _BALANCED),
    Check(
        "balances",
        "each account's entries add up to what the wallet says",
        ("entries", "wallets"),
        _BALANCES,
    ),
    Check(
        "holds",
        "locks, escrows and open withdrawals add up to bids, escrow and pending",
        ("wallets", "locks", "escrows", "withdrawals"),
        _HOLDS,
    ),
    Check(
        "shortfalls",
        "what each user owes is what the house books, and who owes has nothing available",
        ("wallets", "entries", "commands"),
        _SHORTFALLS,
    ),
    Check("house", "no account of the house is overdrawn", ("entries",), _HOUSE),
    Check(
        "deposits",
        "each deposit is credited and reversed as often as it says, to its user's address",
        ("deposits", "entries", "deposit_addresses"),
        _DEPOSITS,
    ),
    Check(
        "withdrawals",
        "each withdrawal holds or has paid what its status says",
        ("withdrawals", "entries", "commands"),
        _WITHDRAWALS,
    ),
    Check(
        "escrows",
        "each escrow's parts are what its entries moved",
        ("escrows", "entries", "commands"),
        _ESCROWS,
    ),
    Check(
        "network fees",
        "each posted miner's fee has its entries",
        ("network_fees", "entries"),
        _NETWORK_FEES,
    ),
    Check(
        "addresses",
        "indices of each account are dense, every address has a wallet",
        ("deposit_addresses", "address_counters", "wallets"),
        _ADDRESSES,
    ),
    Check(
        "counters",
        "each wallet's version, sequence and times come from its commands and sales",
        ("wallets", "commands", "entries"),
        _COUNTERS,
    ),
    Check(
        "running balances",
        "each entry goes on from the balance before it, the last one to the wallet's",
        ("entries", "wallets"),
        _RUNNING,
        slow=True,
    ),
)
