"""Why Faust is off the path of money, and what the views do about it: seen on a real broker.

Each test fails once Faust does better; then the decision record can be looked at again.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import faust
import msgspec
import pytest
from faust.contrib.asgi import faust_app_running

from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams.kafka.admin import create_topics
from streams.kafka.lag import LagView
from streams.kafka.produce import Outgoing, TransactionalProducer
from streams.local.process import free_port
from streams.views.faust_app import ViewsApp
from streams.views.process import prepare
from tests.streams.views import stage

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def wallet(settings: Settings) -> Iterator[Settings]:
    """One partition; an aborted record first, then two that are committed."""
    single = msgspec.structs.replace(settings, partitions=1)
    create_topics(single)
    topic = topic_name(single, EVENTS)
    producer = TransactionalProducer(single, f"{single.topic_prefix}traps")
    producer.begin([Outgoing(topic, b"k", b"aborted")])
    stage.abort(producer)
    producer.begin([Outgoing(topic, b"k", b"raises"), Outgoing(topic, b"k", b"goes on")])
    producer.commit()
    producer.close()
    yield single


async def seen_by_plain_faust(settings: Settings, folder: Path) -> list[bytes]:
    """What an agent of Faust's own sees, whose body raises at a record; its offsets committed."""
    app = faust.App(
        f"{settings.topic_prefix}plain",
        broker=f"kafka://{settings.kafka['bootstrap.servers']}",
        datadir=folder,
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        broker_commit_interval=0.2,
    )
    seen: list[bytes] = []
    done = asyncio.Event()
    topic = app.topic(topic_name(settings, EVENTS), value_type=bytes, value_serializer="raw")

    @app.agent(topic)
    async def look(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            if value == b"raises":
                raise ValueError("a handler's fault")
            if value == b"goes on":
                done.set()

    async with faust_app_running(app):
        await asyncio.wait_for(done.wait(), 60)
        await app.consumer.commit()
    return seen


async def test_plain_faust_reads_what_was_aborted_and_acknowledges_what_raised(
    wallet: Settings, tmp_path: Path
) -> None:
    seen = await seen_by_plain_faust(wallet, tmp_path)
    assert seen == [b"aborted", b"raises", b"goes on"], "it reads uncommitted records"
    # Offsets: 0 aborted, 1 its marker, 2 raises, 3 goes on, 4 the marker.
    with closing(LagView(wallet)) as view:
        group = f"{wallet.topic_prefix}plain"
        waiting = view.of_group(group, [topic_name(wallet, EVENTS)])
    assert waiting.records == 0, "the record whose handler raised is committed, and lost"


# A crashed app leaves clients and tasks behind, which are found at any time: its process ends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_our_app_reads_committed_records_and_dies_of_what_raises(wallet: Settings) -> None:
    read: list[bytes | None] = []

    class Stumbling:
        """Counts nothing, and raises."""

        def lose(self, partitions: object) -> None:
            read.clear()

        def begin(self, partition: int) -> int:
            return 0

        def take(self, partition: int, offset: int, value: bytes | None) -> None:
            read.append(value)
            raise ZeroDivisionError("a fault of the program")

    prepare(wallet)
    before = set(threading.enumerate())
    app = ViewsApp(wallet, free_port())
    app.keeper = Stumbling()
    async with app.running():
        async with asyncio.timeout(60):
            while not app.crashed:
                await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="nothing of it is written"):
            await app.write([{b"0/mark/": b"{}"}], math.inf)
    assert read == [b"raises"], "the agent that Faust starts again counts nothing"
    # Faust's threads outlive the crash for a moment, and miss the loop when it is closed.
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("Thread-"):
            await asyncio.to_thread(thread.join, 20.0)
