"""Sends an operator's commands and waits until they are decided.

A command goes the way of every other: keyed by its user on the topic that may carry it. What is
sent twice under one key is decided once.
"""

from __future__ import annotations

import getpass
import queue
import uuid
from datetime import UTC, datetime
from typing import Final, NamedTuple

from db.engine import Connection
from db.failures import AWAY
from db.ledger.operating import Outcome, await_outcome, listen
from schemas.commands import HOUSE_COMMANDS, TOPIC_OF, CommandType, Data
from schemas.envelope import encode_command, read_command
from schemas.ledger import HOUSE
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.produce import Delivery, Producer
from streams.outages import in_words
from streams.outcomes import is_of

_DELIVERY_SECONDS: Final = 35.0


class NotDelivered(Exception):
    """The broker did not take the command: it is not on its topic."""


class OutcomeUnknown(Exception):
    """The command may be on its topic, and nobody can tell now what becomes of it."""


class Sent(NamedTuple):
    """A command that stands on its topic, and its outcome; None if it is not decided in time."""

    topic: CommandTopic
    partition: int
    offset: int
    outcome: Outcome | None


class Order(NamedTuple):
    """A command to be sent."""

    kind: CommandType
    user_id: str
    data: Data
    idempotency_key: str


def order(kind: CommandType, data: Data, *, user_id: str | None, key: str | None) -> Order:
    """A command of a user, or of the house; without a key it gets one of its own."""
    user = HOUSE if kind in HOUSE_COMMANDS else user_id
    if user is None:
        raise ValueError(f"{kind} needs a user")
    return Order(kind, user, data, key or f"operator:{kind}:{uuid.uuid4()}")


class Desk:
    """Where commands are sent from; ``connection`` tells their outcomes."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._producer = Producer(settings)
        self._issuer = f"operator/{getpass.getuser()}"[:64]
        listen(connection)

    def close(self) -> None:
        """Let go of the broker."""
        self._producer.close()

    def send(self, asked: Order, *, wait_seconds: float) -> Sent:
        """Send a command and wait for its outcome.

        Raises ``Malformed`` for what the worker could not read, ``NotDelivered``, and
        ``OutcomeUnknown``, which says how to learn of it.
        """
        code = TOPIC_OF[asked.kind]
        value = encode_command(
            asked.kind,
            user_id=asked.user_id,
            idempotency_key=asked.idempotency_key,
            data=asked.data,
            issuer=self._issuer,
            issued_at=datetime.now(UTC),
            id=str(uuid.uuid4()),
        )
        read_command(code, asked.user_id.encode(), value)
        again = f"Send it again with --key {asked.idempotency_key}, which is decided once."
        return self.put(code, asked.user_id.encode(), value, wait_seconds, again)

    def put(
        self, code: CommandTopic, key: bytes, value: bytes, wait_seconds: float, again: str
    ) -> Sent:
        """Put a record on a command topic, in the partition of its key; what ``send`` raises."""
        deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._producer.send(topic_name(self._settings, code), key, value, deliveries.put)
        try:
            delivery = deliveries.get(timeout=_DELIVERY_SECONDS)
        except queue.Empty:
            raise OutcomeUnknown(f"The broker did not answer: unknown. {again}") from None
        if delivery.error is not None and delivery.unknown:
            raise OutcomeUnknown(f"{delivery.error}: it may stand on the topic. {again}")
        if delivery.error is not None:
            raise NotDelivered(f"{delivery.error}: it is not on the topic. {again}")
        try:
            outcome = await_outcome(
                self._connection, code, delivery.partition, delivery.offset, wait_seconds
            )
        except AWAY as away:
            raise OutcomeUnknown(
                f"It stands on the topic, but the {in_words(away)}. {again}"
            ) from away
        if outcome is not None and not is_of(outcome, code, key, value):
            raise OutcomeUnknown(
                f"Its place was decided before (as {outcome.command_id}): the topic was made anew "
                f"or has lost its tail. What becomes of the command is unknown. {again}"
            )
        return Sent(code, delivery.partition, delivery.offset, outcome)
