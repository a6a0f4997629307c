"""Small readers of rows, shared by the modules of the payer's SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from db.engine import Cursor

Row = TypeVar("Row")


def number(cursor: Cursor) -> int:
    """The one number of a query."""
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def grouped(cursor: Cursor, kind: Callable[..., Row]) -> dict[int, list[Row]]:
    """Rows of a query by their first column, the rest of each made into ``kind``."""
    found: dict[int, list[Row]] = {}
    for row in cursor:
        found.setdefault(row[0], []).append(kind(*row[1:]))
    return found
