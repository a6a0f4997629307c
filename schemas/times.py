"""Times: milliseconds since 1970 inside, RFC 3339 in UTC on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

#: The years 1 to 9999, in milliseconds since 1970: what has a text, and a place in the database.
EARLIEST: Final = -62_135_596_800_000
LATEST: Final = 253_402_300_799_999

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def format_time(milliseconds: int) -> str:
    """Milliseconds since 1970 to text: 1_700_000_000_123 -> "2023-11-14T22:13:20.123Z"."""
    # Kept, since a batch's records came within few milliseconds, and each is told twice.
    second, fraction = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z"


def in_milliseconds(time: datetime) -> int:
    """A time with its zone as milliseconds since 1970; raises ``TypeError`` without a zone."""
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def within_years(milliseconds: int) -> int:
    """The nearest time that ``format_time`` can tell."""
    return min(max(milliseconds, EARLIEST), LATEST)
