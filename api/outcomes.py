"""Waiting for outcomes: the worker's one NOTIFY a batch wakes all whose commands it passed."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Final, NamedTuple

import psycopg

from api.database import DatabaseUnavailable, Pool, QueryTooLong, Row, connect
from schemas.ids import Place, number_of, text_of
from schemas.ledger import DEAD_LETTER, CommandOutcome

log = logging.getLogger(__name__)

CHANNEL: Final = "wallet_passed"
#: How often the LISTEN connection is asked whether it lives, and the offsets are read again.
HEARTBEAT_SECONDS: Final = 5.0
BACKOFF_SECONDS: Final = (0.1, 0.5, 1.0, 2.0)
_POSITIONS: Final = "SELECT topic, partition, generation, next_offset FROM partitions"

#: A dead letter is an outcome too. The first command of a replay's key gives the answer.
_OUTCOMES: Final = """
SELECT c.id, c.user_id, c.topic, c.type, c.idempotency_key, c.outcome::text, c.code,
       c.document::text, c.decided_at, f.id, f.outcome::text, f.code, f.document::text, NULL,
       c.request_hash
  FROM commands c LEFT JOIN commands f ON f.id = c.first_id AND c.outcome = 'replayed'
 WHERE c.id = ANY(%(ids)s::uuid[])
UNION ALL
SELECT d.id, NULL, d.topic, NULL, NULL, 'dead_letter', d.code,
       d.detail, d.record_time, NULL, NULL, NULL, NULL, d.key, d.value
  FROM dead_letters d
 WHERE d.id = ANY(%(ids)s::uuid[])
"""


class Decided(NamedTuple):
    """What became of a record.

    ``outcome`` is a ``CommandOutcome``'s value or ``dead_letter``; ``document`` is JSON text, or a
    dead letter's detail. For a replay ``first`` is the outcome that stands. ``request`` is what was
    asked: the request's hash, or a dead letter's value.
    """

    id: str
    user_id: str | None
    type: str | None
    idempotency_key: str | None
    outcome: str
    code: str | None
    document: str
    decided_at: datetime
    first: Decided | None
    request: bytes


def _decided(row: Row) -> Decided:
    """One row of ``_OUTCOMES``."""
    first = None
    request = bytes(row[14] or b"")
    user_id = str(row[1]) if row[1] is not None else None
    if row[5] == CommandOutcome.REPLAYED.value:
        first = Decided(
            str(row[9]), user_id, row[3], row[4], row[10], row[11], row[12], row[8], None, request
        )
    if row[5] == DEAD_LETTER:
        # Its key says whose it would have been, as far as anybody can tell.
        user_id = bytes(row[13] or b"").decode(errors="replace")
    return Decided(
        str(row[0]), user_id, row[3], row[4], row[5], row[6], row[7], row[8], first, request
    )


async def fetch_outcomes(pool: Pool, ids: list[str]) -> dict[str, Decided]:
    """Outcomes by command id, of those that are decided."""
    rows = await pool.fetch(_OUTCOMES, {"ids": ids})
    return {decided.id: decided for decided in map(_decided, rows)}


class Progress:
    """How far the worker has decided each partition, by (topic code, partition)."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, int], int] = {}
        self._generation: dict[tuple[int, int], int] = {}

    def reset(self, rows: list[Row]) -> None:
        """Take over what the table says: (topic, partition, generation, next_offset) each."""
        self._next = {(row[0], row[1]): row[3] for row in rows}
        self._generation = {(row[0], row[1]): row[2] for row in rows}

    def advance(self, payload: str) -> list[tuple[int, int]]:
        """Take over a notification "topic:partition:next_offset,..."; those that moved.

        Raises ``ValueError`` for any other text.
        """
        moved = []
        for part in payload.split(","):
            topic, partition, next_offset = map(int, part.split(":"))
            key = (topic, partition)
            # A notification can be older than what the heartbeat has read meanwhile.
            if next_offset > self._next.get(key, -1):
                self._next[key] = next_offset
                moved.append(key)
        return moved

    def passed(self, topic: int, partition: int, offset: int) -> bool:
        """True if the record has been decided and committed."""
        return offset < self.passed_until(topic, partition)

    def passed_until(self, topic: int, partition: int) -> int:
        """The offset up to which a partition was decided, as far as is known."""
        return self._next.get((topic, partition), 0)

    def command_id(self, topic: int, partition: int, offset: int) -> str:
        """The public id of the record at that place."""
        generation = self._generation.get((topic, partition), 1)
        return text_of(number_of(Place(topic, generation, partition, offset)))

    def knows(self, place: Place) -> bool:
        """True if the place is of the topic's present generation."""
        return self._generation.get((place.topic, place.partition), 1) == place.generation


class Outcomes:
    """All who wait for an outcome. ``run`` must be running for any to be told."""

    def __init__(self, database_url: str, pool: Pool) -> None:
        self._database_url = database_url
        self._pool = pool
        self._waiting: dict[tuple[int, int], dict[int, asyncio.Future[Decided]]] = {}
        self._ready: dict[tuple[int, int, int], asyncio.Future[Decided]] = {}
        self._wake = asyncio.Event()
        self.progress = Progress()
        #: False while the LISTEN connection is down: then nobody is woken.
        self.listening = False
        self.count = 0
        self._closing = False
        self.wakeups = 0

    async def wait(
        self, topic: int, partition: int, offset: int, timeout_seconds: float
    ) -> Decided:
        """The outcome of the record at that place; raises ``TimeoutError``."""
        future: asyncio.Future[Decided] = asyncio.get_running_loop().create_future()
        key = (topic, partition)
        waiting = self._waiting.setdefault(key, {})
        waiting[offset] = future
        self.count += 1
        if self._closing:
            timeout_seconds = 0.0
        try:
            # The worker is often quicker than the broker's report to us.
            if self.progress.passed(topic, partition, offset):
                self._release(key)
            async with asyncio.timeout(timeout_seconds):
                return await future
        finally:
            self.count -= 1
            waiting.pop(offset, None)
            self._ready.pop((topic, partition, offset), None)

    def give_up(self) -> None:
        """Let nobody wait any longer: the process ends, and 202 is better than no answer."""
        self._closing = True
        waiting = [future for futures in self._waiting.values() for future in futures.values()]
        for future in [*waiting, *self._ready.values()]:
            if not future.done():
                future.set_exception(TimeoutError())

    async def run(self) -> None:
        """Follow the worker for ever, through every outage of the database."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._tell())

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                await self._listen()
            except (DatabaseUnavailable, psycopg.Error, OSError) as error:
                was_listening, self.listening = self.listening, False
                failures = 0 if was_listening else failures + 1
                log.warning(
                    "the database does not tell of outcomes; connecting again",
                    extra={"reason": str(error), "failures": failures},
                )
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def _listen(self) -> None:
        connection = await connect(self._database_url)
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            while True:
                # After LISTEN, so that no batch falls between the two; and again at each
                # heartbeat, which proves that the connection lives.
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    cursor = await connection.execute(_POSITIONS)
                    self.progress.reset(await cursor.fetchall())
                self.listening = True
                for key in self._waiting:
                    self._release(key)
                async for notification in connection.notifies(timeout=HEARTBEAT_SECONDS):
                    self._advance(notification.payload)
        finally:
            await connection.close()

    def _advance(self, payload: str) -> None:
        try:
            moved = self.progress.advance(payload)
        except ValueError:
            log.error("not a notification of the worker's", extra={"payload": payload[:200]})
            return
        for key in moved:
            self._release(key)

    def _release(self, key: tuple[int, int]) -> None:
        """Hand those that were passed to the one query that fetches for all."""
        waiting = self._waiting.get(key, {})
        passed = [offset for offset in waiting if self.progress.passed(*key, offset)]
        for offset in passed:
            self._ready[(*key, offset)] = waiting.pop(offset)
        if passed:
            self._wake.set()

    async def _tell(self) -> None:
        """Fetch the outcomes of all that are ready, with one query a wake-up."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch = {
                self.progress.command_id(*place): (place, future)
                for place, future in self._ready.items()
            }
            if not batch:
                continue
            self.wakeups += 1
            try:
                decided = await fetch_outcomes(self._pool, list(batch))
            except (DatabaseUnavailable, QueryTooLong) as error:
                log.warning("outcomes cannot be read just now", extra={"reason": str(error)})
                await asyncio.sleep(BACKOFF_SECONDS[0])
                self._wake.set()
                continue
            for command_id, (place, future) in batch.items():
                self._ready.pop(place, None)
                self._settle(command_id, decided.get(command_id), future)

    def _settle(
        self, command_id: str, decided: Decided | None, future: asyncio.Future[Decided]
    ) -> None:
        if decided is None:
            # The worker stores an outcome for every record before it passes it. Whoever waits
            # is told where to look (202), never something made up.
            log.error("a record was passed without an outcome", extra={"command_id": command_id})
        elif not future.done():
            future.set_result(decided)
