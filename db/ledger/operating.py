"""What operators read and the little that they write: nothing here moves money.

Reads are of whichever role asks; what writes needs the worker's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

from db.engine import Connection, connect, require_schema
from db.ledger.rules import decode_rules
from schemas.ids import Place, number_of, text_of
from schemas.ledger import HOUSE
from schemas.records import Rules

_GLANCE_SECONDS: Final = 1.0


@contextmanager
def session(url: str) -> Iterator[Connection]:
    """A connection for an operator's command; raises ``SchemaMismatchError``."""
    with connect(
        url, application_name="wallet-operator", autocommit=True, statement_seconds=300
    ) as connection:
        require_schema(connection)
        yield connection


# ---------------------------------------------------------------------- outcomes


class Outcome(NamedTuple):
    """What became of a record: ``outcome`` is a ``CommandOutcome``'s value or ``dead_letter``.

    ``document`` is JSON, for a replay the first command's; a dead letter's is its detail.
    ``request`` is what was asked: the request's hash, or a dead letter's value.
    """

    command_id: str
    outcome: str
    code: str | None
    document: str
    first_outcome: str | None
    user_id: str | None
    idempotency_key: str | None
    request: bytes


_OUTCOME: Final = """
SELECT c.id::text, c.outcome::text, coalesce(f.code, c.code),
       coalesce(f.document, c.document)::text, f.outcome::text, c.user_id::text,
       c.idempotency_key, c.request_hash
  FROM commands c LEFT JOIN commands f ON f.id = c.first_id AND c.outcome = 'replayed'
 WHERE c.id = %(id)s
 UNION ALL
SELECT id::text, 'dead_letter', code, detail, NULL, NULL, NULL, coalesce(value, '')
  FROM dead_letters WHERE id = %(id)s
"""


def await_outcome(
    connection: Connection, topic: int, partition: int, offset: int, seconds: float
) -> Outcome | None:
    """The outcome of the record at a place, None if there is none in time.

    Where a log's offsets come again, it may be another record's.
    Call ``listen`` before the record is sent, so that no notification is missed.
    """
    deadline = time.monotonic() + seconds
    while True:
        row = connection.execute(
            "SELECT generation FROM partitions WHERE topic = %s AND partition = %s",
            (topic, partition),
        ).fetchone()
        generation = 1 if row is None else int(row[0])
        command_id = text_of(number_of(Place(topic, generation, partition, offset)))
        found = connection.execute(_OUTCOME, {"id": command_id}).fetchone()
        if found is not None:
            return Outcome(*found)
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        for _ in connection.notifies(timeout=min(left, _GLANCE_SECONDS), stop_after=1):
            pass


def listen(connection: Connection) -> None:
    """Be told of every batch from here on."""
    connection.execute("LISTEN wallet_passed")


# ---------------------------------------------------------------------- dead letters


class Letter(NamedTuple):
    """A dead letter; key and value as they came."""

    id: str
    topic: int
    generation: int
    partition: int
    offset: int
    code: str
    detail: str
    key: bytes | None
    value: bytes | None
    record_time: datetime
    replayed_at: datetime | None


class LetterFilter(NamedTuple):
    """Which dead letters; None stands for all."""

    code: str | None = None
    topic: int | None = None
    since: datetime | None = None
    key: bytes | None = None
    #: True: replayed ones alone, False: those that wait.
    replayed: bool | None = None


_LETTER_COLUMNS: Final = (
    'id::text, topic, generation, partition, "offset", code, detail, key, value, record_time,'
    " replayed_at"
)
_LETTER_FILTER: Final = """
 WHERE (%(code)s::text IS NULL OR code = %(code)s)
   AND (%(topic)s::smallint IS NULL OR topic = %(topic)s)
   AND (%(since)s::timestamptz IS NULL OR record_time >= %(since)s)
   AND (%(key)s::bytea IS NULL OR key = %(key)s)
   AND (%(replayed)s::bool IS NULL OR (replayed_at IS NOT NULL) = %(replayed)s)
"""


def letters(
    connection: Connection, wanted: LetterFilter, limit: int, *, oldest_first: bool = False
) -> list[Letter]:
    """So many dead letters, the newest or the oldest first."""
    order = "ASC" if oldest_first else "DESC"
    rows = connection.execute(
        f"SELECT {_LETTER_COLUMNS} FROM dead_letters {_LETTER_FILTER}"
        f" ORDER BY record_time {order}, id {order} LIMIT %(limit)s",
        {**wanted._asdict(), "limit": limit},
    )
    return [Letter(*row) for row in rows]


def letter_count(connection: Connection, wanted: LetterFilter) -> int:
    """How many there are."""
    row = connection.execute(
        f"SELECT count(*) FROM dead_letters {_LETTER_FILTER}", wanted._asdict()
    ).fetchone()
    assert row is not None
    return int(row[0])


def letter(connection: Connection, letter_id: str) -> Letter | None:
    """One dead letter by its id."""
    row = connection.execute(
        f"SELECT {_LETTER_COLUMNS} FROM dead_letters WHERE id = %s", (letter_id,)
    ).fetchone()
    return None if row is None else Letter(*row)


def mark_replayed(connection: Connection, letter_id: str) -> None:
    """Note that a dead letter's record was sent again."""
    connection.execute("UPDATE dead_letters SET replayed_at = now() WHERE id = %s", (letter_id,))


# ---------------------------------------------------------------------- house, users, rules


def house_balances(connection: Connection) -> dict[str, int]:
    """Each house account in koinu, debits less credits; a reading of all entries."""
    rows = connection.execute(
        "SELECT account::text, sum(debit) - sum(credit) FROM entries WHERE user_id = %s"
        " GROUP BY account",
        (HOUSE,),
    )
    return {account: int(debited) for account, debited in rows}


def is_known(connection: Connection, user_id: str) -> bool:
    """Whether a user has a wallet, which the first command that concerns them opens."""
    row = connection.execute("SELECT 1 FROM wallets WHERE user_id = %s", (user_id,)).fetchone()
    return row is not None


def active_address(connection: Connection, user_id: str) -> str | None:
    """The deposit address that a user is shown."""
    row = connection.execute(
        "SELECT address FROM deposit_addresses WHERE user_id = %s AND active", (user_id,)
    ).fetchone()
    return None if row is None else str(row[0])


class RulesVersion(NamedTuple):
    """One version of the rules, the command that made it (None: the environment) and when."""

    rules: Rules
    command_id: str | None
    created_at: datetime
    in_force: bool


def rules_history(connection: Connection) -> list[RulesVersion]:
    """Every version, the newest first."""
    rows = connection.execute(
        "SELECT r.data::text, r.command_id::text, r.created_at, h.version IS NOT NULL"
        " FROM rules r LEFT JOIN rules_head h ON h.version = r.version ORDER BY r.version DESC"
    )
    return [RulesVersion(decode_rules(row[0]), row[1], row[2], row[3]) for row in rows]
