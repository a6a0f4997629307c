"""The judge of requests as they were sent finds each kind of breach, and none in what is valid."""

from __future__ import annotations

from typing import Any, Final

import pytest
import requests

from api.openapi import document
from api.routes import PREFIX
from tests.support.as_sent import Sent, faults_of

DOCUMENT: Final = document()
HOST: Final = "http://wallet"
HISTORY: Final = f"{PREFIX}/history/"
TOKEN: Final = {"Authorization": "Bearer token"}
KEYED: Final = {**TOKEN, "Idempotency-Key": "order-17"}
ADDRESS: Final = "nMyWZL8oSbvFnwLXXM9dbUbRr1BT1gBD6Q"
WITHDRAWAL: Final = {"amount": "20", "address": ADDRESS}
ID: Final = "00000100-0100-8000-8000-000000000001"


def _history(query: str) -> list[str]:
    return faults_of(DOCUMENT, HISTORY, _prepared("GET", f"{HISTORY}?{query}", headers=TOKEN))


def _withdraw(headers: dict[str, str], **body: Any) -> list[str]:
    path = f"{PREFIX}/withdraw/"
    return faults_of(DOCUMENT, path, _prepared("POST", path, headers=headers, **body))


def _prepared(method: str, path: str, **rest: Any) -> Sent:
    return Sent.of(requests.Request(method, HOST + path, **rest).prepare())


@pytest.mark.parametrize(
    "query",
    [
        "",
        "limit=1",
        "limit=200&type=DEPOSIT&account=bids",
        "from=2026-01-31T12:00:00%2B01:00&to=2026-01-31T12:00:00Z",
        "reference_id=%D0%BA%D0%BB%D1%8E%D1%87",
    ],
)
def test_a_query_as_it_is_documented_has_no_fault(query: str) -> None:
    assert _history(query) == []


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("page=2", "'page' is unknown"),
        ("=", "'' is unknown"),
        ("limit=1&limit=1", "'limit' is given 2 times"),
        ("limit=0", "less than the minimum"),
        ("limit=201", "greater than the maximum"),
        ("limit=1.0", "is not of type 'integer'"),
        ("limit=", "is not of type 'integer'"),
        ("type=GIFT", "is not one of"),
        ("reference_id=", "should be non-empty"),
        ("from=2026-01-31", "is not a 'date-time'"),
        ("to=2026-01-31T12:00:00%2B00:99", "is not a 'date-time'"),
    ],
)
def test_a_query_that_is_not_has_its_fault(query: str, fault: str) -> None:
    (found,) = _history(query)
    assert fault in found


def test_what_an_empty_list_is_sent_as_is_no_parameter() -> None:
    sent = _prepared("GET", HISTORY, params={"": [], "limit": 1}, headers=TOKEN)
    assert faults_of(DOCUMENT, HISTORY, sent) == []


def test_a_probe_may_be_asked_with_a_parameter() -> None:
    assert faults_of(DOCUMENT, "/healthz", _prepared("GET", "/healthz", params={"x": 1})) == []


def test_a_request_without_a_token_has_that_fault() -> None:
    path = f"{PREFIX}/balance/"
    assert faults_of(DOCUMENT, path, _prepared("GET", path)) == [
        "header: 'Authorization' is missing"
    ]


@pytest.mark.parametrize(
    ("path", "faults"),
    [
        (f"{PREFIX}/escrows/{ID}/", 0),
        (f"{PREFIX}/escrows/{ID}", 0),
        (f"{PREFIX}/escrows/{ID}%0A", 1),
        (f"{PREFIX}/escrows/{ID.upper()}x", 1),
        (f"{PREFIX}/escrows/", 1),
        (f"{PREFIX}/commands/{ID}", 1),
    ],
)
def test_a_path_has_the_id_that_is_documented(path: str, faults: int) -> None:
    sent = _prepared("GET", path, headers=TOKEN)
    assert len(faults_of(DOCUMENT, f"{PREFIX}/escrows/{{id}}/", sent)) == faults


def test_a_body_as_it_is_documented_has_no_fault() -> None:
    assert _withdraw(KEYED, json=WITHDRAWAL) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"json": {"amount": 20, "address": ADDRESS}}, "is not of type 'string'"),
        ({"json": {"amount": "20\n", "address": ADDRESS}}, "is not like"),
        ({"json": {"amount": "0.00", "address": ADDRESS}}, "should not be valid"),
        ({"json": {"amount": "20"}}, "'address' is a required property"),
        ({"json": {**WITHDRAWAL, "fee": "0"}}, "'fee' was unexpected"),
        ({"json": []}, "is not of type 'object'"),
        ({}, "there is none"),
        ({"data": WITHDRAWAL}, "x-www-form-urlencoded' is not its type"),
    ],
)
def test_a_body_that_is_not_has_its_fault(body: dict[str, Any], fault: str) -> None:
    found = _withdraw(KEYED, **body)
    assert fault in found[0]


@pytest.mark.parametrize("raw", [b"{", b"\xff", b'{"amount":NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_has_that_fault(raw: bytes) -> None:
    (found,) = _withdraw({**KEYED, "Content-Type": "application/json"}, data=raw)
    assert "it is not JSON" in found


def test_no_body_may_be_all_there_is() -> None:
    path = f"{PREFIX}/withdrawals/{{id}}/cancel/"
    sent = _prepared("POST", path.format(id=ID), headers=KEYED)
    assert faults_of(DOCUMENT, path, sent) == []


@pytest.mark.parametrize("key", ["", "k" * 256, "a\x7f", '"a', '"a"b'])
def test_a_key_that_is_none_is_a_fault(key: str) -> None:
    (found,) = _withdraw({**TOKEN, "Idempotency-Key": key}, json=WITHDRAWAL)
    assert "header Idempotency-Key" in found


def test_a_key_that_is_missing_is_a_fault() -> None:
    assert _withdraw(TOKEN, json=WITHDRAWAL) == ["header: 'Idempotency-Key' is missing"]
