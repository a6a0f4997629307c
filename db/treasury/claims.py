"""The payer's claims: which withdrawals it has asked for, and what the ledger said.

A withdrawal is paid only after the committed acceptance of its claim: that keeps a cancel and a
payment apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from db.engine import Cursor
from db.rows import number
from db.treasury.orders import TREASURY


class ClaimsTaken(Exception):
    """A withdrawal that was to be paid is in another payout already, or is no longer to be paid."""


class Pending(NamedTuple):
    """A withdrawal that waits for a claim; ``attempts`` counts those that were refused."""

    withdrawal_id: str
    user_id: str
    amount: int
    destination_address: str
    age_seconds: float
    attempts: int


class Settled(NamedTuple):
    """A claim whose outcome is committed."""

    withdrawal_id: str
    outcome: str
    code: str | None


class Payee(NamedTuple):
    """A withdrawal that a payout pays."""

    withdrawal_id: str
    user_id: str
    amount: int
    destination_address: str


def pending(cursor: Cursor, retry_seconds: float, least: int, limit: int) -> list[Pending]:
    """Withdrawals of at least so many koinu that nobody has claimed, the oldest first.

    One whose claim was refused comes again after ``retry_seconds``: its wallet was frozen.
    """
    cursor.execute(
        """
        SELECT w.id::text, w.user_id::text, w.amount, w.destination_address,
               extract(epoch FROM now() - w.requested_at)::float8, coalesce(c.attempts, 0)
          FROM withdrawals w LEFT JOIN claims c ON c.withdrawal_id = w.id
         WHERE w.status = 'PENDING' AND w.amount >= %s
           AND (c.withdrawal_id IS NULL
                OR (c.outcome = 'rejected'
                    AND c.settled_at < now() - make_interval(secs => %s)))
         ORDER BY w.requested_at, w.id LIMIT %s
        """,
        (least, retry_seconds, limit),
    )
    return [Pending(*row) for row in cursor]


def dust(cursor: Cursor, least: int) -> list[str]:
    """Withdrawals that wait and are of less than so many koinu, which no node relays."""
    cursor.execute(
        "SELECT id::text FROM withdrawals WHERE status = 'PENDING' AND amount < %s"
        " ORDER BY requested_at, id LIMIT 100",
        (least,),
    )
    return [row[0] for row in cursor]


def owed_in_claims(cursor: Cursor) -> int:
    """Koinu of withdrawals that are claimed and will be put into a payout; undecided ones count.

    One that the ledger has as failed, cancelled or stranded never will.
    """
    return number(
        cursor.execute(
            "SELECT coalesce(sum(c.amount), 0)::numeric"
            "  FROM claims c JOIN withdrawals w ON w.id = c.withdrawal_id"
            " WHERE c.payout_id IS NULL AND c.outcome IS DISTINCT FROM 'rejected'"
            "   AND w.status IN ('PENDING', 'PROCESSING')"
            "   AND NOT EXISTS (SELECT FROM stranded s WHERE s.withdrawal_id = w.id)"
        )
    )


def insert_claims(cursor: Cursor, claimed: Sequence[Pending]) -> None:
    """Note what is being asked of the ledger, one attempt more each."""
    cursor.executemany(
        """
        INSERT INTO claims (withdrawal_id, user_id, amount, destination_address)
        VALUES (%s, %s, %s, %s)
            ON CONFLICT (withdrawal_id) DO UPDATE
           SET attempts = claims.attempts + 1, outcome = NULL, code = NULL, settled_at = NULL,
               claimed_at = now()
         WHERE claims.outcome = 'rejected'
        """,
        [(p.withdrawal_id, p.user_id, p.amount, p.destination_address) for p in claimed],
    )


def claim_key(withdrawal_id: str, attempt: int) -> str:
    """The idempotency key of a claim; a refused one is decided, so the next has another."""
    return f"claim:{withdrawal_id}" if attempt == 1 else f"claim:{withdrawal_id}:{attempt}"


#: ``claim_key`` as SQL has it.
_CLAIM_KEY: Final = (
    "'claim:' || c.withdrawal_id || CASE WHEN c.attempts = 1 THEN '' ELSE ':' || c.attempts END"
)


def settle_claims(cursor: Cursor) -> list[Settled]:
    """Take over the committed outcomes of claims that were awaited."""
    cursor.execute(
        f"""
        UPDATE claims c
           SET outcome = k.outcome::text, settled_at = now(),
               code = CASE WHEN k.outcome = 'rejected' THEN k.code END
          FROM commands k
         WHERE c.outcome IS NULL AND k.user_id = c.user_id AND k.topic = {TREASURY}
           AND k.idempotency_key = {_CLAIM_KEY}
           AND k.type = 'claim_withdrawal' AND k.outcome IN ('accepted', 'rejected')
        RETURNING c.withdrawal_id::text, c.outcome, c.code
        """
    )
    return [Settled(*row) for row in cursor]


def oldest_awaited_seconds(cursor: Cursor) -> int:
    """How long the oldest claim has been waiting for its outcome; 0 if none does."""
    return number(
        cursor.execute(
            "SELECT coalesce(extract(epoch FROM now() - min(claimed_at)), 0)::bigint"
            " FROM claims WHERE outcome IS NULL"
        )
    )


def awaited(cursor: Cursor, within_seconds: float) -> bool:
    """Whether claims that were made within so long still wait for their outcome."""
    cursor.execute(
        "SELECT FROM claims WHERE outcome IS NULL"
        " AND claimed_at > now() - make_interval(secs => %s) LIMIT 1",
        (within_seconds,),
    )
    return cursor.fetchone() is not None


def to_pay(cursor: Cursor, limit: int) -> list[Payee]:
    """Accepted claims that no payout pays yet, in order.

    The ledger's own row must still say so: a withdrawal that an operator failed is not paid, nor
    is one that was found stranded, for it may have been.
    """
    cursor.execute(
        """
        SELECT c.withdrawal_id::text, c.user_id::text, c.amount, c.destination_address
          FROM claims c JOIN withdrawals w ON w.id = c.withdrawal_id
         WHERE c.outcome = 'accepted' AND c.payout_id IS NULL AND w.status = 'PROCESSING'
           AND w.amount = c.amount AND w.destination_address = c.destination_address
           AND NOT EXISTS (SELECT FROM stranded s WHERE s.withdrawal_id = w.id)
         ORDER BY c.claimed_at, c.withdrawal_id LIMIT %s
        """,
        (limit,),
    )
    return [Payee(*row) for row in cursor]


def assign_claims(cursor: Cursor, payout_id: int, withdrawal_ids: Sequence[str]) -> None:
    """Put withdrawals into a payout; raises ``ClaimsTaken`` unless each was free."""
    cursor.execute(
        "UPDATE claims SET payout_id = %s WHERE withdrawal_id = ANY(%s::uuid[])"
        " AND outcome = 'accepted' AND payout_id IS NULL",
        (payout_id, list(withdrawal_ids)),
    )
    if cursor.rowcount != len(withdrawal_ids):
        raise ClaimsTaken(f"{cursor.rowcount} of {len(withdrawal_ids)} withdrawals were free")


def adopt_claims(cursor: Cursor, payout_id: int, withdrawal_ids: Sequence[str]) -> None:
    """Put withdrawals into a payout that has paid them already, whether or not a claim is known.

    Raises ``ClaimsTaken`` unless each was in no payout.
    """
    cursor.execute(
        """
        INSERT INTO claims (withdrawal_id, user_id, amount, destination_address, outcome,
                            settled_at, payout_id)
        SELECT w.id, w.user_id, w.amount, w.destination_address, 'accepted', now(), %s
          FROM withdrawals w WHERE w.id = ANY(%s::uuid[])
            ON CONFLICT (withdrawal_id) DO UPDATE
           SET outcome = 'accepted', code = NULL, settled_at = now(),
               payout_id = excluded.payout_id
         WHERE claims.payout_id IS NULL
        """,
        (payout_id, list(withdrawal_ids)),
    )
    if cursor.rowcount != len(withdrawal_ids):
        raise ClaimsTaken(
            f"{len(withdrawal_ids) - cursor.rowcount} of its withdrawals are in another payout"
        )


class Standing(NamedTuple):
    """How a payout's withdrawal stands in the ledger."""

    withdrawal_id: str
    status: str


def standings(cursor: Cursor, payout_id: int) -> list[Standing]:
    """How the withdrawals of a payout stand."""
    cursor.execute(
        "SELECT w.id::text, w.status::text FROM claims c JOIN withdrawals w"
        " ON w.id = c.withdrawal_id WHERE c.payout_id = %s ORDER BY w.id",
        (payout_id,),
    )
    return [Standing(*row) for row in cursor]


def payees(cursor: Cursor, payout_id: int) -> list[Payee]:
    """The withdrawals that a payout pays."""
    cursor.execute(
        "SELECT withdrawal_id::text, user_id::text, amount, destination_address FROM claims"
        " WHERE payout_id = %s ORDER BY withdrawal_id",
        (payout_id,),
    )
    return [Payee(*row) for row in cursor]
