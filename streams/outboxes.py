"""The relay: commands from an outbox to the treasury's topic, in order, at least once.

Which is as good as once: a command has a key, and what comes twice under one key is decided once.
One relay works on an outbox at a time; whoever runs it holds its process' advisory lock, on the
connection that it gives.
"""

from __future__ import annotations

import queue
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from db.engine import Connection
from db.treasury.outboxes import OutboxTable, Waiting, mark_sent, waiting
from schemas.commands import CommandType
from schemas.envelope import decode_data, encode_command
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.config import KafkaUnavailable
from streams.kafka.produce import Delivery, Producer

#: Orders looked at in one go.
BATCH_MAX: Final = 1_000
#: How long the broker may take; nothing is lost by giving up, all of it is sent again.
_DELIVERY_MS: Final = 10_000

Step = Callable[[str], None]


class Relay:
    """Sends what waits in one outbox."""

    def __init__(
        self,
        settings: Settings,
        table: OutboxTable,
        *,
        issuer: str,
        step: Step = lambda name: None,
    ) -> None:
        self._table = table
        self._issuer = issuer
        self._step = step
        self._topic = topic_name(settings, CommandTopic.TREASURY)
        self._producer = Producer(settings, timeout_ms=_DELIVERY_MS)

    def close(self) -> None:
        """Let go of the broker."""
        self._producer.close()

    def run_once(self, connection: Connection) -> int:
        """Send the oldest orders that wait, and mark those that the topic has; how many.

        A user's orders arrive in their order: the next one is sent only once the one before is
        there. Raises ``KafkaUnavailable`` where the broker has not taken one, which then waits with
        all that follow it; ``Malformed`` for an order that no worker could read.
        """
        with connection.transaction(), connection.cursor() as cursor:
            orders = waiting(cursor, self._table, BATCH_MAX)
        for wave in _waves(orders):
            self._send(connection, wave)
        return len(orders)

    def _send(self, connection: Connection, wave: Sequence[Waiting]) -> None:
        deliveries: queue.SimpleQueue[tuple[int, Delivery]] = queue.SimpleQueue()
        for number, order in wave:
            kind = CommandType(order.type)
            value = encode_command(
                kind,
                user_id=order.user_id,
                idempotency_key=order.idempotency_key,
                data=decode_data(kind, order.data.encode()),
                issuer=self._issuer,
                issued_at=datetime.now(UTC),
                id=str(uuid.uuid4()),
            )
            self._producer.send(
                self._topic,
                order.user_id.encode(),
                value,
                lambda delivery, number=number: deliveries.put((number, delivery)),  # type: ignore[misc]
            )
        self._step("relayed")
        reports = [_report(deliveries) for _ in wave]
        delivered = [number for number, delivery in reports if delivery.error is None]
        self._step("delivered")
        if delivered:
            mark_sent(connection, self._table, delivered)
        faults = [delivery.error for _, delivery in reports if delivery.error is not None]
        if faults:
            raise KafkaUnavailable(
                f"{len(faults)} commands may not be on the topic, and will be sent again: "
                f"{faults[0]}"
            )


def _report(deliveries: queue.SimpleQueue[tuple[int, Delivery]]) -> tuple[int, Delivery]:
    try:
        # The library reports every record, delivered or not, soon after its time-out.
        return deliveries.get(timeout=_DELIVERY_MS / 1000 * 2)
    except queue.Empty:
        raise KafkaUnavailable("the broker does not answer to what is being sent") from None


def _waves(orders: Sequence[Waiting]) -> list[list[Waiting]]:
    """The orders in waves, in each of which a user has one at most."""
    waves: list[list[Waiting]] = []
    sent: dict[str, int] = {}
    for order in orders:
        number = sent.get(order.order.user_id, 0)
        sent[order.order.user_id] = number + 1
        if number == len(waves):
            waves.append([])
        waves[number].append(order)
    return waves
