"""The API's connections: a small pool for reads, and how one is opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from db.engine import connect_async

log = logging.getLogger(__name__)

POOL_SIZE: Final = 8
ACQUIRE_SECONDS: Final = 3.0
#: A read that takes longer holds up the others; nothing here should.
STATEMENT_SECONDS: Final = 5.0


class QueryTooLong(Exception):
    """The database gave a query up after ``STATEMENT_SECONDS``."""


Row = tuple[Any, ...]
Parameters = Mapping[str, object] | Sequence[object]


class DatabaseUnavailable(Exception):
    """The database does not answer just now."""


async def connect(url: str) -> AsyncConnection[Row]:
    """One connection of the API's; raises ``DatabaseUnavailable``."""
    try:
        return await connect_async(
            url, application_name="wallet-api", statement_seconds=STATEMENT_SECONDS
        )
    except (psycopg.OperationalError, OSError) as error:
        raise DatabaseUnavailable(str(error)) from error


class Pool:
    """At most ``size`` connections, opened as they are needed, the warmest used first."""

    def __init__(self, url: str, size: int = POOL_SIZE) -> None:
        self._url = url
        self._idle: list[AsyncConnection[Row]] = []
        self._slots = asyncio.Semaphore(size)
        self._long = asyncio.Semaphore(max(size // 2, 1))
        #: Whose long query is under way; forgotten with the last who waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def fetch(self, query: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of one query; raises ``DatabaseUnavailable`` or ``QueryTooLong``.

        A connection that died while it was idle is replaced once: reads may be repeated.
        """
        async with _within_reason(self._slots):
            while self._idle:
                connection = self._idle.pop()
                try:
                    return await self._run(connection, query, parameters)
                except DatabaseUnavailable as error:
                    log.info("a pooled connection was dead", extra={"reason": str(error)})
                    await self._drop_idle()
            return await self._run(await connect(self._url), query, parameters)

    async def fetch_long(self, query: str, parameters: Parameters, *, user_id: str) -> list[Row]:
        """``fetch`` of what may read much of a user's past.

        One at a time for each user, and never on all connections: whoever has a long history and
        asks for it again and again must not keep all others from their balance and their outcome.
        """
        turn = self._turns.setdefault(user_id, asyncio.Lock())
        async with _within_reason(turn), _within_reason(self._long):
            return await self.fetch(query, parameters)

    async def close(self) -> None:
        """Close what is idle."""
        await self._drop_idle()

    async def _run(
        self, connection: AsyncConnection[Row], query: str, parameters: Parameters
    ) -> list[Row]:
        try:
            # Queries are put together from literals of ours alone; values are parameters.
            cursor = await connection.execute(query, parameters)
            return await cursor.fetchall()
        except psycopg.errors.QueryCanceled as error:
            raise QueryTooLong(str(error)) from error
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error)) from error
        finally:
            # After a cancellation the connection may be in the middle of something.
            if not connection.closed and (
                connection.info.transaction_status is TransactionStatus.IDLE
            ):
                self._idle.append(connection)
            else:
                await connection.close()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()


@asynccontextmanager
async def _within_reason(turn: asyncio.Semaphore | asyncio.Lock) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ACQUIRE_SECONDS):
            await turn.acquire()
    except TimeoutError:
        raise DatabaseUnavailable("all connections are busy") from None
    try:
        yield
    finally:
        turn.release()
