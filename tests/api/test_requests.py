"""Headers and cursors, read strictly and without a server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from api.openapi import document
from api.problems import Fault, Problem
from api.requests import (
    Cursor,
    cursor_of,
    format_cursor,
    idempotency_key_of,
    preference_of,
    time_of,
)
from api.routes import PREFIX
from schemas.rejections import Rejection

KEYS: Final = [
    ("order-17", "order-17"),
    ('"order-17"', "order-17"),
    (r'"a\"b\\c"', r'a"b\c'),
    ("a b", "a b"),
    ("ключ", "ключ"),
    ("k" * 255, "k" * 255),
    (f'"{"k" * 255}"', "k" * 255),
    # Each of its characters escaped.
    ('"' + r"\"" * 255 + '"', '"' * 255),
]
_DOCUMENT: Final[Any] = document()
(KEY_PATTERN,) = (
    parameter["schema"]["pattern"]
    for parameter in _DOCUMENT["paths"][f"{PREFIX}/withdraw/"]["post"]["parameters"]
    if parameter["name"] == "Idempotency-Key"
)


@pytest.mark.parametrize(("header", "key"), KEYS)
def test_a_key_is_read_plain_or_quoted(header: str, key: str) -> None:
    request = make_mocked_request("POST", "/", headers={"Idempotency-Key": header})
    assert idempotency_key_of(request) == key


@pytest.mark.parametrize("header", [header for header, _ in KEYS])
def test_what_is_read_as_a_key_is_one_by_the_document(header: str) -> None:
    assert re.search(KEY_PATTERN, header)


@pytest.mark.parametrize("header", ["", '"', '""', '"a', '"a"b', '"ä"', "k" * 256, "a\x7fb"])
def test_what_is_no_key_is_refused(header: str) -> None:
    assert not re.search(KEY_PATTERN, header)
    request = make_mocked_request("POST", "/", headers={"Idempotency-Key": header})
    with pytest.raises(Problem) as caught:
        idempotency_key_of(request)
    assert caught.value.code is Rejection.BAD_IDEMPOTENCY_KEY


def test_two_keys_are_none() -> None:
    headers = CIMultiDict([("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    with pytest.raises(Problem):
        idempotency_key_of(make_mocked_request("POST", "/", headers=headers))


@pytest.mark.parametrize(
    ("header", "wait", "respond_async", "applied"),
    [
        (None, 5.0, False, ""),
        ("respond-async", 5.0, True, "respond-async"),
        ("Respond-Async, wait=3", 3.0, True, "respond-async, wait=3"),
        ("wait=0", 0.0, False, "wait=0"),
        ("wait=900", 30.0, False, "wait=30"),
        ("wait=soon", 5.0, False, ""),
        ("return=minimal", 5.0, False, ""),
    ],
)
def test_preferences_that_are_known_are_applied(
    header: str | None, wait: float, respond_async: bool, applied: str
) -> None:
    headers = {} if header is None else {"Prefer": header}
    found = preference_of(make_mocked_request("POST", "/", headers=headers), 5.0)
    assert (found.wait_seconds, found.respond_async, found.applied) == (
        wait,
        respond_async,
        applied,
    )


def test_a_cursor_comes_back_as_it_went() -> None:
    cursor = Cursor(
        datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC),
        7,
        "00000100-0100-8000-8000-000000000001",
    )
    assert cursor_of({"cursor": format_cursor(cursor)}) == cursor


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00.5z", datetime(2026, 1, 31, 12, 0, 0, 500000, tzinfo=UTC)),
        (
            "2026-01-31T12:00:00+01:00",
            datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=1))),
        ),
    ],
)
def test_times_are_rfc_3339(text: str, time: datetime) -> None:
    assert time_of({"at": text}, "at") == time


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "20260131T120000Z",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00+00:99",
        "2026-01-31T12:00:00-01:60",
        "2026-01-31T24:00:01Z",
        "9999-12-31T23:59:59-23:59",
        "٢٠٢٦-01-31T12:00:00Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        time_of({"at": text}, "at")
    assert caught.value.code is Rejection.BAD_TIME


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ä",
        "W10=",
        "WyIyMDI2LTAxLTMxVDEyOjAwOjAwWiIsLTEsIiJd",
        "WyIyMDI2LTAxLTMxVDEyOjAwOjAwIiwxLCIwMDAwMDEwMC0wMTAwLTgwMDAtODAwMC0wMDAwMDAwMDAwMDEiXQ==",
    ],
)
def test_a_cursor_made_up_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        cursor_of({"cursor": text})
    assert caught.value.code is Fault.BAD_CURSOR
