"""The chain as the watcher keeps it: its state, its blocks, the scripts that are ours.

Rows of the active chain carry their block. Everything about one block is written in one
transaction of the caller's; what it brings to us stands in ``db.treasury.blocks``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from db.engine import Connection, Cursor
from db.plain import octets, use_plain_values
from db.together import Answer, Together

#: One number for the advisory lock of the one follower: "watch" in ASCII.
WATCHER_LOCK: Final = 0x7761746368


class State(NamedTuple):
    """What is followed."""

    genesis_hash: str
    birthday_height: int
    node_height: int
    halted: str | None
    #: Where blocks are to be read again from, and the last that was; None while nothing is.
    rescan_from: int | None = None
    rescan_height: int | None = None


class NewAddress(NamedTuple):
    """An address that was given to a user and is not watched yet."""

    address: str
    user_id: str
    account_key: str
    derivation_index: int


class Watched(NamedTuple):
    """A script that is ours; change is no user's."""

    public_key_hash: bytes
    address: str
    user_id: str | None


def lead(connection: Connection) -> bool:
    """Become the one follower, for as long as the connection lives; False while another one is.

    All that a follower writes goes over the connection that holds the lock: who loses one loses
    both. From here on it takes the arrays of ``db.plain``.
    """
    use_plain_values(connection)
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (WATCHER_LOCK,)).fetchone()
    return row is not None and bool(row[0])


def is_led(connection: Connection) -> bool:
    """Whether a watcher follows, asked on a session of somebody else."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (classid::bigint << 32) | objid::bigint = %s AND objsubid = 1)",
        (WATCHER_LOCK,),
    ).fetchone()
    return row is not None and bool(row[0])


# ---------------------------------------------------------------------- state


def read_state(cursor: Cursor) -> State | None:
    """What is followed; None before the first start."""
    cursor.execute(
        "SELECT genesis_hash, birthday_height, node_height, halted, rescan_from, rescan_height"
        " FROM chain_state"
    )
    row = cursor.fetchone()
    return None if row is None else State(*row)


def begin(cursor: Cursor, genesis_hash: str, birthday_height: int) -> None:
    """Say once what is followed, and from which height on."""
    cursor.execute(
        "INSERT INTO chain_state (genesis_hash, birthday_height) VALUES (%s, %s)",
        (genesis_hash, birthday_height),
    )


def note_node_height(cursor: Cursor, height: int) -> None:
    """The node's own height, for whoever asks how far behind we are, and that it was asked now.

    Written at most every ten seconds where nothing has changed.
    """
    cursor.execute(
        "UPDATE chain_state SET node_height = %s, updated_at = now()"
        " WHERE node_height <> %s OR updated_at < now() - interval '10 seconds'",
        (height, height),
    )


def halt(cursor: Cursor, reason: str) -> None:
    """Follow nothing until an operator has looked."""
    cursor.execute("UPDATE chain_state SET halted = %s, updated_at = now()", (reason,))


def resume(cursor: Cursor) -> None:
    """An operator has looked."""
    cursor.execute("UPDATE chain_state SET halted = NULL, updated_at = now()")


def ask_rescan(cursor: Cursor, height: int) -> None:
    """Have blocks from a height on read again, from the lowest height that was asked for.

    What has been read of them so far is read once more: scripts may have come since.
    """
    cursor.execute(
        "UPDATE chain_state SET rescan_from = least(rescan_from, %s), rescan_height = NULL",
        (height,),
    )


def note_rescan(cursor: Cursor, height: int) -> None:
    """How far blocks were read again; nothing is changed where it was asked for anew meanwhile."""
    cursor.execute(
        "UPDATE chain_state SET rescan_height = %s WHERE rescan_height IS NOT NULL", (height,)
    )


def begin_rescan(cursor: Cursor, start: int) -> None:
    """Blocks are read again from ``start`` from here on."""
    cursor.execute(
        "UPDATE chain_state SET rescan_height = %s WHERE rescan_from IS NOT NULL", (start - 1,)
    )


def end_rescan(cursor: Cursor) -> bool:
    """All was read again; False where it was asked for anew meanwhile."""
    cursor.execute(
        "UPDATE chain_state SET rescan_from = NULL, rescan_height = NULL"
        " WHERE rescan_height IS NOT NULL"
    )
    return cursor.rowcount == 1


# ---------------------------------------------------------------------- blocks


def followed_from(cursor: Cursor, height: int, count: int) -> list[tuple[int, str]]:
    """Height and hash of our chain's blocks from a height upwards."""
    cursor.execute(
        "SELECT height, hash FROM blocks WHERE active AND height >= %s ORDER BY height LIMIT %s",
        (height, count),
    )
    return [(row[0], row[1]) for row in cursor]


def is_followed(cursor: Cursor, block_hash: str) -> bool:
    """Whether a block is on our chain."""
    cursor.execute("SELECT FROM blocks WHERE hash = %s AND active", (block_hash,))
    return cursor.fetchone() is not None


def tip(cursor: Cursor) -> tuple[int, str] | None:
    """Height and hash of the highest block that was followed; None before the first."""
    cursor.execute("SELECT height, hash FROM blocks WHERE active ORDER BY height DESC LIMIT 1")
    row = cursor.fetchone()
    return None if row is None else (row[0], row[1])


def newest_hashes(cursor: Cursor, count: int) -> list[str]:
    """Our chain's hashes from the tip downwards."""
    cursor.execute("SELECT hash FROM blocks WHERE active ORDER BY height DESC LIMIT %s", (count,))
    return [row[0] for row in cursor]


def activate(server: Together, block_hash: str, height: int, previous: str, seconds: int) -> None:
    """Put a block, new or one that was undone, on top; ``seconds`` is the miner's time.

    Two blocks at one height are refused by the database (``blocks_active_height``).
    """
    server.ask(
        "INSERT INTO blocks (hash, height, previous_hash, time, active)"
        " VALUES (%s, %s, %s, %s, true)"
        " ON CONFLICT (hash) DO UPDATE SET active = true, followed_at = now()",
        (block_hash, height, previous, datetime.fromtimestamp(seconds, UTC)),
    )


def deactivate(cursor: Cursor, block_hash: str) -> None:
    """Take the tip off."""
    cursor.execute("UPDATE blocks SET active = false WHERE hash = %s AND active", (block_hash,))


# ---------------------------------------------------------------------- scripts


def new_addresses(cursor: Cursor, limit: int) -> list[NewAddress]:
    """Addresses given to users since the last look, of every account, in the order of their index.

    Indices of an account are given out under a lock and so commit in order: above the highest one
    that is watched stand all that are new.
    """
    cursor.execute(
        """
        SELECT d.address, d.user_id::text, d.account_key, d.derivation_index
          FROM address_counters c
          JOIN deposit_addresses d ON d.account_key = c.account_key AND d.chain = 0
           AND d.derivation_index > coalesce(
                   (SELECT max(w.derivation_index) FROM watched_scripts w
                     WHERE w.account_key = c.account_key AND w.chain = 0), -1)
         ORDER BY d.account_key, d.derivation_index
         LIMIT %s
        """,
        (limit,),
    )
    return [NewAddress(*row) for row in cursor]


def watch(cursor: Cursor, addresses: Sequence[tuple[bytes, NewAddress]]) -> None:
    """Watch addresses from here on, each by its public key's hash."""
    cursor.execute(
        """
        INSERT INTO watched_scripts
               (public_key_hash, address, user_id, account_key, chain, derivation_index)
        SELECT n.hash, n.address, n.user_id, n.account_key, 0, n.index
          FROM unnest(%s::bytea[], %s::text[], %s::uuid[], %s::text[], %s::bigint[])
               n (hash, address, user_id, account_key, index)
        """,
        (
            [key for key, _ in addresses],
            [new.address for _, new in addresses],
            [new.user_id for _, new in addresses],
            [new.account_key for _, new in addresses],
            [new.derivation_index for _, new in addresses],
        ),
    )


def watched_among(
    server: Together, public_key_hashes: Iterable[bytes]
) -> Answer[dict[bytes, Watched]]:
    """Those of the hashes that are ours."""
    found = server.ask(
        "SELECT public_key_hash, address, user_id::text FROM watched_scripts"
        " WHERE public_key_hash = ANY(%s)",
        (octets(public_key_hashes),),
    )
    return lambda: {row[0]: Watched(*row) for row in found}
