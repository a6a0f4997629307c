"""The payouts and the versions of their transactions, and the commands that follow from them.

Each function is one statement or two on a cursor of the caller's transaction. What must not happen
twice is guarded by the statement itself: by a primary key, or by a condition and the row count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from db.engine import Connection, Cursor, connect
from db.rows import grouped, number
from db.treasury.orders import TREASURY
from db.treasury.outboxes import PAYER_OUTBOX, Order, enqueue
from db.treasury.purse import release
from schemas.payouts import PayoutKind, PayoutStatus

#: One number for the advisory lock of the one payer: "payer" in ASCII.
PAYER_LOCK: Final = 0x7061796572


class Tip(NamedTuple):
    """The newest block that the watcher has followed, and what it says of the node."""

    height: int
    hash: str
    node_height: int
    halted: str | None
    #: Since the watcher last had an answer of its node.
    silent_seconds: int


class Version(NamedTuple):
    """One version of a payout's transaction; ``raw`` and what follows only once it is signed."""

    payout_id: int
    version: int
    template: bytes
    fee: int
    raw: bytes | None
    txid: str | None
    outputs_hash: bytes | None
    sends: int


class Payout(NamedTuple):
    """A payout as it stands."""

    id: int
    kind: PayoutKind
    status: PayoutStatus
    target_address: str | None
    confirmed_txid: str | None
    confirmations_told: int


def opened(url: str) -> Connection:
    """The payer's connection: each transaction reads as of one moment.

    So tip, spends and coins are never of two different chains.
    """
    connection = connect(url, application_name="wallet-payer", autocommit=True)
    connection.execute("SET default_transaction_isolation = 'repeatable read'")
    return connection


def take_lock(connection: Connection) -> bool:
    """Become the one payer, until the connection ends; False if another one is."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (PAYER_LOCK,)).fetchone()
    return row is not None and bool(row[0])


def read_tip(cursor: Cursor) -> Tip | None:
    """The watcher's tip; None before it has followed its first block."""
    cursor.execute(
        "SELECT b.height, b.hash, s.node_height, s.halted,"
        " extract(epoch FROM now() - s.updated_at)::bigint FROM chain_state s"
        " JOIN blocks b ON b.active ORDER BY b.height DESC LIMIT 1"
    )
    row = cursor.fetchone()
    return None if row is None else Tip(*row)


class Survey(NamedTuple):
    """What there is to look after; a round leaves out the steps that would find nothing."""

    #: Claims wait for their outcome.
    awaited: bool
    #: Withdrawals wait for a claim.
    pending: bool
    #: Accepted claims wait for a payout.
    to_pay: bool
    #: How many payouts have no end yet.
    open: int
    #: Confirmed payouts hold coins still.
    held: bool


def survey(cursor: Cursor) -> Survey:
    """All of it by one statement, so that an idle payer asks the database one thing a round."""
    cursor.execute(
        """
        SELECT EXISTS (SELECT FROM claims WHERE outcome IS NULL),
               EXISTS (SELECT FROM withdrawals WHERE status = 'PENDING'),
               EXISTS (SELECT FROM claims WHERE outcome = 'accepted' AND payout_id IS NULL),
               (SELECT count(*) FROM payouts
                 WHERE status IN ('reserved', 'signed', 'broadcast')),
               EXISTS (SELECT FROM reservations r JOIN payouts p ON p.id = r.payout_id
                        WHERE p.status = 'confirmed')
        """
    )
    (row,) = cursor.fetchall()
    return Survey(*row)


def insert_payout(
    cursor: Cursor, kind: PayoutKind, target_address: str | None = None, *, told: int = 0
) -> int:
    """A new payout that has reserved nothing yet; its number.

    ``told`` says how often the ledger was told of one before that it is confirmed, and then not.
    """
    return number(
        cursor.execute(
            "INSERT INTO payouts (kind, status, target_address, confirmations_told)"
            " VALUES (%s, 'reserved', %s, %s) RETURNING id",
            (kind, target_address, told),
        )
    )


def insert_version(cursor: Cursor, payout_id: int, version: int, template: bytes, fee: int) -> None:
    """Store a template; the primary key refuses a second one of the same number."""
    cursor.execute(
        "INSERT INTO payout_versions (payout_id, version, template, fee)"
        " VALUES (%s, %s, %s::json, %s)",
        (payout_id, version, template.decode(), fee),
    )


_PAYOUT: Final = "id, kind::text, status::text, target_address, confirmed_txid, confirmations_told"


def open_payouts(cursor: Cursor) -> list[Payout]:
    """Payouts whose end is not known, the oldest first."""
    cursor.execute(
        f"SELECT {_PAYOUT} FROM payouts WHERE status IN ('reserved', 'signed', 'broadcast')"
        " ORDER BY id"
    )
    return [_payout(row) for row in cursor]


class Block(NamedTuple):
    """A block that the watcher has followed."""

    hash: str
    height: int
    active: bool


def adrift(cursor: Cursor) -> list[tuple[str, int]]:
    """Coins of open payouts whose own transaction is in no block."""
    cursor.execute(
        "SELECT v.txid, v.vout FROM payouts p JOIN reservations v ON v.payout_id = p.id"
        " JOIN coins c ON c.txid = v.txid AND c.vout = v.vout"
        " WHERE p.status IN ('reserved', 'signed', 'broadcast') AND c.height IS NULL"
        " ORDER BY v.txid, v.vout"
    )
    return [(row[0], row[1]) for row in cursor]


def tip_before_adrift(cursor: Cursor) -> int:
    """The tip when the first coin that is adrift now was reserved: it stood in a block then.

    So the block that it fell out of is no deeper below than a reorganisation may go.
    """
    return number(
        cursor.execute(
            """
            SELECT coalesce(max(height), 0) FROM blocks WHERE followed_at <=
                   (SELECT min(v.reserved_at) FROM payouts p
                      JOIN reservations v ON v.payout_id = p.id
                      JOIN coins c ON c.txid = v.txid AND c.vout = v.vout
                     WHERE p.status IN ('reserved', 'signed', 'broadcast') AND c.height IS NULL)
            """
        )
    )


def blocks_from_fork(cursor: Cursor, lowest: int) -> list[Block]:
    """Stale blocks at or above a height, and the active ones from the first of those on."""
    cursor.execute(
        """
        WITH fork AS (SELECT min(height) AS height FROM blocks
                       WHERE NOT active AND height >= %s)
        SELECT b.hash, b.height, b.active FROM blocks b, fork
         WHERE b.height >= fork.height ORDER BY b.height, b.active
        """,
        (lowest,),
    )
    return [Block(*row) for row in cursor]


def versions(cursor: Cursor, payout_ids: Sequence[int]) -> dict[int, list[Version]]:
    """All versions of payouts, by payout, the first one first."""
    if not payout_ids:
        return {}
    cursor.execute(
        "SELECT payout_id, payout_id, version, template::text, fee, raw, txid, outputs_hash, sends"
        " FROM payout_versions WHERE payout_id = ANY(%s) ORDER BY payout_id, version",
        (list(payout_ids),),
    )
    return {
        payout_id: [row._replace(template=str(row.template).encode()) for row in rows]
        for payout_id, rows in grouped(cursor, Version).items()
    }


def store_signed(
    cursor: Cursor, payout_id: int, version: int, raw: bytes, txid: str, outputs_hash: bytes
) -> None:
    """Store signed bytes, once; from here on they may be sent."""
    cursor.execute(
        "UPDATE payout_versions SET raw = %s, txid = %s, outputs_hash = %s, signed_at = now()"
        " WHERE payout_id = %s AND version = %s AND raw IS NULL",
        (raw, txid, outputs_hash, payout_id, version),
    )
    assert cursor.rowcount == 1, f"version {version} of payout {payout_id} is signed already"
    cursor.execute(
        "UPDATE payouts SET status = 'signed', updated_at = now()"
        " WHERE id = %s AND status = 'reserved'",
        (payout_id,),
    )


#: Of a version ``v`` and a transaction ``s`` with the same outputs: the inputs are the same too,
#: and so is the fee. Versions without change have their outputs in common; two payouts may as well.
SAME_INPUTS: Final = """(
 s.inputs = json_array_length(v.template->'inputs')
 AND NOT EXISTS (SELECT FROM json_to_recordset(v.template->'inputs') i (txid text, vout int)
                  WHERE NOT EXISTS (SELECT FROM spends x WHERE x.spender_txid = s.txid
                                       AND x.txid = i.txid AND x.vout = i.vout)))
"""

#: Of a payout ``p``: no version of it, and no twin of one, is in a block. Who else has spent a coin
#: of it does not matter here: another version may live without that coin.
_UNMINED: Final = """
 NOT EXISTS (SELECT FROM reservations r JOIN spends x ON x.txid = r.txid AND x.vout = r.vout
               JOIN spenders s ON s.txid = x.spender_txid
               JOIN payout_versions o ON o.payout_id = p.id AND o.outputs_hash = s.outputs_hash
              WHERE r.payout_id = p.id)
"""


def newest_unmined(cursor: Cursor) -> list[bytes]:
    """The newest template of each open payout that is in no block."""
    cursor.execute(
        "SELECT DISTINCT ON (p.id) v.template::text FROM payouts p"
        " JOIN payout_versions v ON v.payout_id = p.id"
        f" WHERE p.status IN ('reserved', 'signed', 'broadcast') AND {_UNMINED}"
        " ORDER BY p.id, v.version DESC"
    )
    return [str(row[0]).encode() for row in cursor]


def to_send(cursor: Cursor, tip_hash: str, rebroadcast_seconds: float) -> list[int]:
    """Payouts that are signed, in no block, and were not sent since the tip or for too long.

    A version that was never sent makes its payout due at once.
    """
    cursor.execute(
        f"""
        SELECT p.id FROM payouts p
          JOIN LATERAL (SELECT last_sent_at, last_sent_tip FROM payout_versions
                         WHERE payout_id = p.id AND raw IS NOT NULL
                         ORDER BY version DESC LIMIT 1) v ON true
         WHERE p.status IN ('signed', 'broadcast')
           AND (v.last_sent_at IS NULL OR v.last_sent_tip IS DISTINCT FROM %s
                OR v.last_sent_at < now() - make_interval(secs => %s))
           AND {_UNMINED}
         ORDER BY p.id
        """,
        (tip_hash, rebroadcast_seconds),
    )
    return [row[0] for row in cursor]


def to_bump(cursor: Cursor, bump_seconds: float, refused: str) -> list[int]:
    """Payouts in no block whose newest version was sent so long ago, or was ``refused`` so.

    One that was made so long ago and never sent is none that will be: it was not signed.

    One that is refused waits for the next block, so that no node can talk us into raising a fee
    again and again within moments.
    """
    cursor.execute(
        f"""
        SELECT p.id FROM payouts p
          JOIN LATERAL (SELECT coalesce(first_sent_at, created_at) AS first_sent_at, last_answer,
                               last_sent_tip FROM payout_versions
                         WHERE payout_id = p.id ORDER BY version DESC LIMIT 1) v ON true
         WHERE p.status IN ('signed', 'broadcast')
           AND (v.first_sent_at < now() - make_interval(secs => %s)
                OR starts_with(v.last_answer, %s) AND v.last_sent_tip IS DISTINCT FROM
                   (SELECT hash FROM blocks WHERE active ORDER BY height DESC LIMIT 1))
           AND {_UNMINED}
         ORDER BY p.id
        """,
        (bump_seconds, refused),
    )
    return [row[0] for row in cursor]


def note_attempt(cursor: Cursor, payout_id: int, version: int, answer: str, tip_hash: str) -> None:
    """Note that bytes were sent, and what came back."""
    cursor.execute(
        "UPDATE payout_versions SET sends = sends + 1, last_answer = %s, last_sent_tip = %s,"
        " last_sent_at = now(), first_sent_at = coalesce(first_sent_at, now())"
        " WHERE payout_id = %s AND version = %s",
        (answer, tip_hash, payout_id, version),
    )


def advance(cursor: Cursor, payout_id: int, before: PayoutStatus, after: PayoutStatus) -> bool:
    """Move a payout on; False if it did not stand where it was thought to stand."""
    cursor.execute(
        "UPDATE payouts SET status = %s, updated_at = now(), confirmed_txid = NULL"
        " WHERE id = %s AND status = %s",
        (after, payout_id, before),
    )
    return cursor.rowcount == 1


def set_confirmed(cursor: Cursor, payout_id: int, txid: str) -> int:
    """A payout is paid for good; how often that was told, this time included."""
    return number(
        cursor.execute(
            "UPDATE payouts SET status = 'confirmed', confirmed_txid = %s, updated_at = now(),"
            " confirmations_told = confirmations_told + 1"
            " WHERE id = %s AND status IN ('signed', 'broadcast') RETURNING confirmations_told",
            (txid, payout_id),
        )
    )


def set_failed(cursor: Cursor, payout_id: int, failure: str) -> None:
    """No version of a payout will ever confirm; its coins that live are free."""
    cursor.execute(
        "UPDATE payouts SET status = 'failed', failure = %s, updated_at = now()"
        " WHERE id = %s AND status IN ('reserved', 'signed', 'broadcast')",
        (failure, payout_id),
    )
    assert cursor.rowcount == 1, f"payout {payout_id} is not open"
    release(cursor, payout_id)


def abandon(cursor: Cursor, payout_id: int, failure: str) -> None:
    """Give up a payout of which nothing was ever signed; its withdrawals wait for another one."""
    cursor.execute(
        "SELECT FROM payout_versions WHERE payout_id = %s AND raw IS NOT NULL", (payout_id,)
    )
    assert cursor.fetchone() is None, f"payout {payout_id} is signed, it may have been sent"
    cursor.execute("UPDATE claims SET payout_id = NULL WHERE payout_id = %s", (payout_id,))
    set_failed(cursor, payout_id, failure)


def uprooted(cursor: Cursor) -> list[Payout]:
    """Confirmed payouts whose transaction is no longer on the active chain."""
    cursor.execute(
        f"SELECT {_PAYOUT} FROM payouts p WHERE status = 'confirmed'"
        " AND EXISTS (SELECT FROM reservations r WHERE r.payout_id = p.id)"
        " AND NOT EXISTS (SELECT FROM spends x WHERE x.spender_txid = p.confirmed_txid)"
        " ORDER BY id"
    )
    return [_payout(row) for row in cursor]


def buried(cursor: Cursor, height: int) -> list[int]:
    """Confirmed payouts with coins still reserved, whose transaction is at or below a height."""
    cursor.execute(
        "SELECT p.id FROM payouts p WHERE status = 'confirmed'"
        " AND EXISTS (SELECT FROM reservations r WHERE r.payout_id = p.id)"
        " AND EXISTS (SELECT FROM spends x WHERE x.spender_txid = p.confirmed_txid"
        "             AND x.height <= %s)",
        (height,),
    )
    return [row[0] for row in cursor]


# ---------------------------------------------------------------------- commands


def stage(cursor: Cursor, orders: Sequence[Order]) -> None:
    """Put commands into the outbox, in order; one that is there under its key stays as it is."""
    enqueue(cursor, PAYER_OUTBOX, orders)


def staged_data(cursor: Cursor, user_id: str, key: str) -> bytes:
    """The data of a command that was staged under a key."""
    cursor.execute(
        "SELECT data::text FROM payer_outbox WHERE user_id = %s AND idempotency_key = %s",
        (user_id, key),
    )
    row = cursor.fetchone()
    assert row is not None, f"nothing was staged as {key}"
    return str(row[0]).encode()


def count_keys(cursor: Cursor, user_id: str, prefix: str) -> int:
    """How many commands were staged under keys that start with a prefix of letters and digits."""
    return number(
        cursor.execute(
            "SELECT count(*) FROM payer_outbox WHERE user_id = %s"
            " AND starts_with(idempotency_key, %s)"
            ' AND idempotency_key COLLATE "C" >= %s AND idempotency_key COLLATE "C" < %s',
            (user_id, prefix, prefix, prefix + "\x7f"),
        )
    )


class Refused(NamedTuple):
    """A command of the payer that the ledger refused though it tells what happened on chain."""

    type: str
    idempotency_key: str
    code: str


def refused(cursor: Cursor, since_seconds: float) -> list[Refused]:
    """Commands, sent lately, that the ledger refused; claims are refused by right."""
    cursor.execute(
        f"""
        SELECT o.type, o.idempotency_key, k.code
          FROM payer_outbox o
          JOIN commands k ON k.user_id = o.user_id AND k.topic = {TREASURY}
               AND k.idempotency_key = o.idempotency_key AND k.outcome = 'rejected'
         WHERE o.sent_at > now() - make_interval(secs => %s) AND o.type <> 'claim_withdrawal'
        """,
        (since_seconds,),
    )
    return [Refused(*row) for row in cursor]


def _payout(row: Any) -> Payout:
    return Payout(row[0], PayoutKind(row[1]), PayoutStatus(row[2]), *row[3:])
