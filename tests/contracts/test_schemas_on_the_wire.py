"""What a real worker publishes fits the generated schemas, record by record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from processors.seed import keyring_of
from schemas.commands import TOPIC_OF, CommandType, Data, RotateAccount
from schemas.documents import all_schemas, event_schema
from schemas.envelope import encode_command
from schemas.events import RESULT_OF, EventType
from schemas.ledger import HOUSE
from schemas.sample_events import EVENT_OF
from schemas.samples import COMMANDS
from schemas.settings import Settings
from schemas.topics import BATCHES, DEAD_LETTERS, EVENTS, topic_name
from streams.kafka.produce import Delivery, Producer
from streams.kafka.view import LogView
from streams.loadgen.pieces import Shares
from streams.loadgen.run import Game, Options
from tests.streams.loadgen.service import prepared, worker_on

#: The treasury's, which no marketplace asks for.
_HOUSE_KINDS = (
    CommandType.FUND,
    CommandType.MOVE_CUSTODY,
    CommandType.WITHDRAW_REVENUE,
    CommandType.RECORD_NETWORK_FEE,
    CommandType.SET_RULES,
    CommandType.ROTATE_ACCOUNT,
)
_USER_KINDS = (CommandType.FREEZE_WALLET, CommandType.UNFREEZE_WALLET)
_USER = "5b2cf6a8-7f35-4a38-9a53-0b9c1f6f8f10"


def _send(settings: Settings, asked: list[tuple[CommandType, str]]) -> None:
    """Put the samples of commands on their topics; they are there when this returns."""
    producer = Producer(settings)
    deliveries: list[Delivery] = []
    for kind, user in asked:
        value = encode_command(
            kind,
            user_id=user,
            idempotency_key=kind.value,
            data=_data_of(kind, settings),
            issuer="test",
            issued_at=datetime(2026, 1, 1, tzinfo=UTC),
            id="test",
        )
        topic = topic_name(settings, TOPIC_OF[kind])
        producer.send(topic, user.encode(), value, deliveries.append)
    assert producer.flush(30.0) == 0
    producer.close()
    assert [delivery.error for delivery in deliveries] == [None] * len(asked)


def _data_of(kind: CommandType, settings: Settings) -> Data:
    """The sample; of the accounts there are, the worker knows its own alone."""
    if kind is CommandType.ROTATE_ACCOUNT:
        return RotateAccount(account_key=keyring_of(settings).fingerprints[1])
    return COMMANDS[kind]


def _records(settings: Settings, logical: str) -> Iterator[dict[str, Any]]:
    view = LogView(settings)
    try:
        for partition in range(settings.partitions):
            for message in view.records(topic_name(settings, logical), partition, 0):
                yield json.loads(message.value() or b"")
    finally:
        view.close()


def _faults(schema: dict[str, Any], records: list[dict[str, Any]]) -> list[str]:
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    return [error.message for record in records for error in validator.iter_errors(record)]


@pytest.fixture
def published(settings: Settings) -> Settings:
    """A wallet on which a marketplace was played and operators were busy."""
    wallet = prepared(settings)
    _send(wallet, [(kind, HOUSE) for kind in _HOUSE_KINDS])
    _send(wallet, [(kind, _USER) for kind in _USER_KINDS])
    shares = Shares(duplicates=0.03, overdrafts=0.02, malformed=0.05)
    with worker_on(wallet):
        report = Game(wallet, Options(6, 4, "wire", commands=2_000, shares=shares)).play()
    assert report.differences == []
    return wallet


def test_every_record_that_the_worker_publishes_fits_its_schema(published: Settings) -> None:
    events = list(_records(published, EVENTS))
    assert len({event["id"] for event in events}) == len(events)
    by_type: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_type.setdefault(event["type"], []).append(event)
    for name, records in by_type.items():
        assert _faults(event_schema(EventType(name)), records) == [], name
    # Deposits that are seen or taken back, and payments that come back, are not played.
    unseen = set(EventType) - {EventType(name) for name in by_type}
    assert unseen == {
        EventType.DEPOSIT_DETECTED,
        EventType.DEPOSIT_REVERSED,
        EventType.WITHDRAWAL_UNCONFIRMED,
    }
    letters = list(_records(published, DEAD_LETTERS))
    assert len(Counter(letter["code"] for letter in letters)) > 10
    assert _faults(dict(all_schemas()["dead-letter.json"]), letters) == []
    manifests = list(_records(published, BATCHES))
    assert manifests
    assert _faults(dict(all_schemas()["manifest.json"]), manifests) == []


def test_every_event_that_an_acceptance_may_give_is_in_the_catalogue() -> None:
    assert set(EVENT_OF.values()) | {EventType.SALE_CREDITED} == set(RESULT_OF)
