"""Times on the wire."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import format_time, in_milliseconds


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000_009, "2023-11-14T22:13:20.009Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_milliseconds_are_shown_as_rfc_3339_in_utc(milliseconds: int, text: str) -> None:
    assert format_time(milliseconds) == text


@given(milliseconds=st.integers(0, 4 * 10**12))
def test_what_is_shown_is_read_back(milliseconds: int) -> None:
    shown = datetime.fromisoformat(format_time(milliseconds))
    assert shown.tzinfo == UTC
    assert in_milliseconds(shown) == milliseconds
