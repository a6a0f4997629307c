"""Orders of an outbox that the topic has acknowledged: what the ledger decided, and what it lost.

An acknowledged record can be lost with a broker, for no broker forces it to a disk at once. Nobody
would ever ask for it again: so each order is watched until the ledger has its outcome. One that has
none, while later ones of its partition have theirs, is not on the topic; it is sent again under its
key, which decides it once whatever happened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from db.engine import Connection
from db.treasury import outboxes
from db.treasury.outboxes import OutboxTable, Overdue
from schemas.settings import Settings
from streams import metrics
from streams.alarms import Standing
from streams.kafka.config import partition_of

log = logging.getLogger(__name__)

#: A command is decided in milliseconds; a worker that was away is not long behind.
_OVERDUE_SECONDS: Final = 600.0
_EVERY_SECONDS: Final = 30.0
_TAKEN_MAX: Final = 20_000
_OVERDUE_MAX: Final = 1_000


class Orders:
    """Looks now and then at what became of an outbox's orders."""

    def __init__(
        self,
        settings: Settings,
        table: OutboxTable,
        alarms: Standing,
        *,
        overdue_seconds: float = _OVERDUE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._partitions = settings.partitions
        self._table = table
        self._alarms = alarms
        self._overdue_seconds = overdue_seconds
        self._clock = clock
        self._looked: float | None = None

    def look(self, connection: Connection) -> bool:
        """Take over outcomes and have lost orders sent again, if it is time; whether it was."""
        now = self._clock()
        if self._looked is not None and now - self._looked < _EVERY_SECONDS:
            return False
        self._looked = now
        with connection.transaction(), connection.cursor() as cursor:
            outboxes.take_outcomes(cursor, self._table, _TAKEN_MAX)
            late = outboxes.overdue(cursor, self._table, self._overdue_seconds, _OVERDUE_MAX)
            lost = []
            if late:
                newest = self._newest_decided(
                    outboxes.decided_since(cursor, self._table, min(e.sent_at for e in late))
                )
                lost = [each for each in late if self._is_passed(each, newest)]
                outboxes.send_again(cursor, self._table, [each.id for each in lost])
        self._tell(late, lost)
        return True

    def _newest_decided(self, by_user: dict[str, datetime]) -> dict[int, datetime]:
        """When the newest decided order of each partition was sent."""
        newest: dict[int, datetime] = {}
        for user_id, sent_at in by_user.items():
            number = partition_of(user_id.encode(), self._partitions)
            newest[number] = max(sent_at, newest.get(number, sent_at))
        return newest

    def _is_passed(self, order: Overdue, newest: dict[int, datetime]) -> bool:
        decided = newest.get(partition_of(order.user_id.encode(), self._partitions))
        return decided is not None and decided > order.sent_at

    def _tell(self, late: Sequence[Overdue], lost: Sequence[Overdue]) -> None:
        metrics.ORDERS_LATE.labels(self._table).set(len(late))
        for each in lost:
            log.warning("sent again", extra={"key": each.idempotency_key})
        if lost:
            self._alarms.sound(
                "order-lost",
                self._table,
                f"{len(lost)} orders have no outcome though later ones of their partitions have, "
                f"the first {lost[0].type} under the key {lost[0].idempotency_key}: the topic lost "
                "them. They are sent again under their keys.",
            )
        waiting = len(late) - len(lost)
        if not waiting:
            self._alarms.silence("order-unanswered", self._table)
            return
        first = next(each for each in late if each not in lost)
        self._alarms.sound(
            "order-unanswered",
            self._table,
            f"{waiting} orders were sent more than {self._overdue_seconds:.0f} s ago and have no "
            f"outcome, the first under the key {first.idempotency_key}: does a worker run, and is "
            "no partition halted?",
        )
