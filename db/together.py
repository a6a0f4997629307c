"""Statements that go to the server together and are answered together: psycopg's pipeline mode.

A batch of one command puts some twenty statements to the server. One at a time, the ways there and
back take longer than the statements. https://www.psycopg.org/psycopg3/docs/advanced/pipeline.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias, TypeVar

from db.engine import Connection, Cursor

T = TypeVar("T")

#: What was asked, once it is wanted: waits for the server, and for all that was asked before.
Answer: TypeAlias = Callable[[], T]


class _Change(NamedTuple):
    cursor: Cursor
    rows: int
    otherwise: Callable[[int], Exception]


class Together:
    """Takes statements; the server works them off in the order in which they are put."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changes: list[_Change] = []

    def ask(self, query: str, parameters: Sequence[object] = ()) -> Cursor:
        """Put a statement; whoever fetches from the cursor waits. Results are binary."""
        cursor = self.cursor()
        cursor.execute(query, parameters)
        return cursor

    def cursor(self) -> Cursor:
        """For functions that ask and fetch at once."""
        return self._connection.cursor(binary=True)

    def change(
        self,
        query: str,
        parameters: Sequence[object],
        *,
        rows: int,
        otherwise: Callable[[int], Exception],
    ) -> None:
        """Put a statement that must touch so many rows; told how many it did, ``otherwise`` says
        what to raise at the end."""
        self._changes.append(_Change(self.ask(query, parameters), rows, otherwise))

    def check(self) -> None:
        """Raise for the first change that did not touch the rows it should have."""
        for change in self._changes:
            if change.cursor.rowcount != change.rows:
                raise change.otherwise(change.cursor.rowcount)


class Prepared:
    """Statements for ``Together`` whose parameters are packed while the server is busy yet."""

    def __init__(self) -> None:
        self._statements: list[Callable[[Together], object]] = []

    def ask(self, query: str, parameters: Sequence[object] = ()) -> None:
        """Take a statement, whatever it comes to."""
        self._statements.append(lambda server: server.ask(query, parameters))

    def change(
        self,
        query: str,
        parameters: Sequence[object],
        *,
        rows: int,
        otherwise: Callable[[int], Exception],
    ) -> None:
        """Take a statement that must touch so many rows, as ``Together.change`` does."""
        self._statements.append(
            lambda server: server.change(query, parameters, rows=rows, otherwise=otherwise)
        )

    def put(self, server: Together) -> None:
        """Put them to the server, in the order in which they were taken."""
        for statement in self._statements:
            statement(server)


def one_of(cursor: Cursor) -> Any:
    """The one value of the one row that was asked for."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]


@contextmanager
def together(connection: Connection) -> Iterator[Together]:
    """All that is put inside is done when this is left; the first failure is raised by then.

    COPY is not possible inside: the protocol has it apart.
    """
    with connection.pipeline():
        server = Together(connection)
        yield server
    server.check()
