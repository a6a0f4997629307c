"""Times: milliseconds since 1970 inside, RFC 3339 in UTC on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)
def format_time(milliseconds: int) -> str:
    """Milliseconds since 1970 to text: 1_700_000_000_123 -> "2023-11-14T22:13:20.123Z"."""
    # Kept, since a batch's records came within few milliseconds, and each is told twice.
    second, fraction = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z"
