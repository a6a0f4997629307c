"""A consumer that is killed by its own hand with the third event.

``python -m tests.clients.killed SERVERS PREFIX WHERE FOLDER``, where WHERE is one of ``PLACES``.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from wallet_client.checkpoints import SqlCheckpoint
from wallet_client.events import Event
from wallet_client.kafka import EventConsumer

from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams.kafka.committed import CommittedView
from tests.support.eventually import eventually

#: Handled and not yet acknowledged; written and not yet committed; committed, and Kafka not told.
PLACES: Final = ("handled", "written", "committed")
FATAL: Final = 3
#: A dead member is given up soon; the broker allows no less.
CONFIG: Final = {"session.timeout.ms": 6_000}


def die() -> None:
    """As by `kill -9`: nothing is flushed, closed or said."""
    os.kill(os.getpid(), signal.SIGKILL)


class Killing(SqlCheckpoint):
    """Dies after the transaction of the fatal event is committed."""

    fatal = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """The transaction, and perhaps the end."""
        with super().transaction():
            yield
        if self.fatal:
            die()


def at_least_once(handled: Path, **options: Any) -> None:
    """Each event is a line of the file before the next is asked for."""
    with EventConsumer(config=CONFIG, **options) as consumer:
        for event in consumer:
            with handled.open("a") as file:
                file.write(f"{event.sequence}\n")
            if event.sequence == FATAL:
                await_commit(event, **options)
                die()


def await_commit(event: Event, bootstrap_servers: str, group: str, topic_prefix: str) -> None:
    """Wait until all before the event is committed; fails where more is."""
    settings = Settings(topic_prefix=topic_prefix, kafka={"bootstrap.servers": bootstrap_servers})
    place = (topic_name(settings, EVENTS), event.partition)
    with closing(CommittedView(settings, group)) as view:
        eventually(lambda: view.of([place]) == {place: event.offset}, "what was handled is kept")


def exactly_once(database: Path, where: str, **options: Any) -> None:
    """Each event is a row, written in the checkpoint's own transaction."""
    connection = sqlite3.connect(database)
    checkpoint = Killing(connection, "shop")

    def count(event: Event) -> None:
        connection.execute("INSERT INTO counted VALUES (?)", (event.sequence,))
        if event.sequence == FATAL and where == "written":
            die()
        checkpoint.fatal = event.sequence == FATAL

    with EventConsumer(config=CONFIG, checkpoint=checkpoint, **options) as consumer:
        consumer.handle(count)


if __name__ == "__main__":
    servers, prefix, place, folder = sys.argv[1:]
    common = {"bootstrap_servers": servers, "group": place, "topic_prefix": prefix}
    if place == "handled":
        at_least_once(Path(folder) / "handled", **common)
    else:
        exactly_once(Path(folder) / f"{place}.db", place, **common)
