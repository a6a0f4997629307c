"""Exactly-once handling: the application keeps its place in its own transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Protocol

from wallet_client.events import Event


class Checkpoint(Protocol):
    """Where an application keeps what it has handled.

    What the handler writes and ``save`` must stand or fall together: both are called inside
    ``transaction()``. ``save`` must fail if the event's id is known already (a unique constraint),
    so that of two members that handle the same event one gives way.
    """

    def transaction(self) -> AbstractContextManager[object]:
        """Commits at its end; takes all back if an exception leaves it."""

    def seen(self, event_id: str) -> bool:
        """Whether the event was handled."""

    def save(self, event: Event, next_offset: int) -> None:
        """The event is handled; after a restart its partition is read from ``next_offset`` on."""

    def next_offset(self, partition: int) -> int | None:
        """Where to go on in a partition; None where nothing was handled yet. Asked outside."""

    def last_sequence(self, subject: str) -> int | None:
        """The highest sequence of a user that was handled; None if none. Asked outside."""


_TABLES = (
    "CREATE TABLE IF NOT EXISTS wallet_handled (consumer VARCHAR(255) NOT NULL,"
    " id CHAR(36) NOT NULL, subject CHAR(36) NOT NULL, sequence BIGINT NOT NULL,"
    " event_ms BIGINT NOT NULL, PRIMARY KEY (consumer, id))",
    "CREATE INDEX IF NOT EXISTS wallet_handled_subject"
    " ON wallet_handled (consumer, subject, sequence)",
    "CREATE TABLE IF NOT EXISTS wallet_places (consumer VARCHAR(255) NOT NULL,"
    " number INTEGER NOT NULL, next_offset BIGINT NOT NULL, PRIMARY KEY (consumer, number))",
)


#: The last event of each user stays: it says where the user stands.
_PRUNE = (
    "DELETE FROM wallet_handled WHERE consumer = ? AND event_ms < ? AND sequence < ("
    "SELECT max(later.sequence) FROM wallet_handled AS later"
    " WHERE later.consumer = wallet_handled.consumer AND later.subject = wallet_handled.subject)"
)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


class SqlCheckpoint:
    """A checkpoint in two tables of the application's own database, by any DB-API connection.

    ``marker`` is the driver's placeholder: "?" for sqlite3, "%s" for psycopg. The connection must
    not commit by itself, and what the handler writes must go through it.
    """

    def __init__(self, connection: Any, consumer: str, *, marker: str = "?") -> None:
        self._connection = connection
        self._consumer = consumer
        self._marker = marker

    def create_tables(self) -> None:
        """Make the tables where they are missing."""
        with self.transaction():
            for statement in _TABLES:
                self._run(statement)

    def _run(self, statement: str, *values: object) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement.replace("?", self._marker), values)
        return cursor

    def _one(self, statement: str, *values: object) -> Any:
        cursor = self._run(statement, *values)
        row = cursor.fetchone()
        cursor.close()
        return None if row is None else row[0]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end, or roll back."""
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def seen(self, event_id: str) -> bool:
        """Whether the event was handled."""
        found = self._one(
            "SELECT 1 FROM wallet_handled WHERE consumer = ? AND id = ?", self._consumer, event_id
        )
        return found is not None

    def save(self, event: Event, next_offset: int) -> None:
        """Keep the event and the place; the driver's IntegrityError if another was quicker."""
        self._run(
            "INSERT INTO wallet_handled VALUES (?, ?, ?, ?, ?)",
            self._consumer,
            event.id,
            event.subject,
            event.sequence,
            _milliseconds(event.time),
        ).close()
        place = (self._consumer, event.partition)
        updated = self._run(
            "UPDATE wallet_places SET next_offset = ? WHERE consumer = ? AND number = ?",
            next_offset,
            *place,
        )
        if updated.rowcount == 0:
            self._run("INSERT INTO wallet_places VALUES (?, ?, ?)", *place, next_offset).close()
        updated.close()

    def next_offset(self, partition: int) -> int | None:
        """Where to go on in a partition."""
        # Ended at once: a connection that waits for events should hold no transaction open.
        with self.transaction():
            found: int | None = self._one(
                "SELECT next_offset FROM wallet_places WHERE consumer = ? AND number = ?",
                self._consumer,
                partition,
            )
        return found

    def last_sequence(self, subject: str) -> int | None:
        """The highest sequence of a user that was handled."""
        with self.transaction():
            found: int | None = self._one(
                "SELECT max(sequence) FROM wallet_handled WHERE consumer = ? AND subject = ?",
                self._consumer,
                subject,
            )
        return found

    def prune(self, before: datetime) -> int:
        """Forget events that are older; how many. What is forgotten would count again.

        The topic keeps a week, and operators may publish again what is in their outbox: two weeks
        are enough. Not for use inside ``transaction``.
        """
        with self.transaction():
            pruned = self._run(_PRUNE, self._consumer, _milliseconds(before))
            count = int(pruned.rowcount)
            pruned.close()
        return count
