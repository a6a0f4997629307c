"""Where events are read from: Faust goes by the group's offsets until it has sought."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from mode.utils.queues import FlowControlEvent

from schemas.settings import Settings
from schemas.topics import EVENTS, VIEWS_STATE, topic_name
from streams.kafka.admin import Admin, create_topics
from streams.views.faust_app import ViewsApp
from streams.views.keeper import Keeper
from tests.streams.views import stage
from tests.streams.views.stage import Record, event, viewing

pytestmark = pytest.mark.timeout(300)

_FETCH_SECONDS: Final = 30.0
#: Events came within some milliseconds where the fault was.
_QUEUED_SECONDS: Final = 3.0


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """Twenty events of five users, counted and kept; nobody runs."""
    create_topics(settings)
    # Nobody is to be given up here, so a member may stand still for as long as the machine does.
    short = msgspec.structs.replace(
        settings, views_look_seconds=0.3, views_session_seconds=30.0, api_database_url=""
    )
    stage.publish(short, deposits(1, 4))
    with viewing(short) as member:
        member.await_total({"deposit.confirmed": 20})
        member.ready()
    return short


def deposits(first: int, each: int) -> list[Record]:
    at = time.time_ns() // 1_000_000
    return [
        event(f"user-{user}", number, "deposit.confirmed", at, amount="12.5")
        for number in range(first, first + each)
        for user in range(5)
    ]


def commit_to_the_end(settings: Settings) -> None:
    """What a member leaves that dies after its offsets were committed, before it has written."""
    topic = topic_name(settings, EVENTS)
    ends = Admin(settings).ends(topic, range(settings.partitions))
    group = {"group.id": settings.topic_prefix + settings.views_group}
    with closing(Consumer({**settings.kafka, **group})) as consumer:
        places = [TopicPartition(topic, number, end) for number, end in ends.items()]
        consumer.commit(offsets=places, asynchronous=False)


def told_of_events(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when aiokafka has given events to Faust's thread."""
    fetched = threading.Event()
    fetch: Callable[..., Any] = AIOKafkaConsumerThread._fetch_records

    async def fetching(thread: Any, *args: Any, **options: Any) -> Any:
        records = await fetch(thread, *args, **options)
        if any(tp.topic == topic_name(settings, EVENTS) for tp in records):
            fetched.set()
        return records

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetching)
    return fetched


def _look(settings: Settings, events: int) -> None:
    with viewing(settings) as member:
        member.await_total({"deposit.confirmed": events})
        member.ready()
        assert member.get("/lag")["users_with_gaps"] == 0


def test_an_event_that_the_group_has_committed_past_is_counted_also_where_the_seek_is_late(
    wallet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.publish(wallet, deposits(5, 1))
    commit_to_the_end(wallet)
    stage.publish(wallet, deposits(6, 1))
    fetched = told_of_events(wallet, monkeypatch)
    ask: Callable[..., Any] = AIOKafkaConsumerThread.earliest_offsets

    async def asking(thread: Any, *partitions: Any) -> Any:
        """Faust is told where to begin only when it has been given events already."""
        if any(tp.topic == topic_name(wallet, EVENTS) for tp in partitions):
            assert await asyncio.to_thread(fetched.wait, _FETCH_SECONDS)
        return await ask(thread, *partitions)

    monkeypatch.setattr(AIOKafkaConsumerThread, "earliest_offsets", asking)
    _look(wallet, 30)


def test_an_event_that_comes_before_its_place_is_known_is_counted(
    wallet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.publish(wallet, deposits(5, 2))
    fetched = told_of_events(wallet, monkeypatch)
    taken = threading.Event()
    take, seek = Keeper.take, faust_consumer.Consumer.perform_seek

    def taking(keeper: Keeper, partition: int, offset: int, value: bytes | None) -> None:
        take(keeper, partition, offset, value)
        taken.set()

    async def seeking(consumer: Any) -> None:
        """Begins right after a first event, or where none has come though some were fetched."""
        until = time.monotonic() + _FETCH_SECONDS
        turns = 0
        while not taken.is_set() and turns < 1000 and time.monotonic() < until:
            turns += fetched.is_set()
            await asyncio.sleep(0)
        assert fetched.is_set()
        await seek(consumer)

    monkeypatch.setattr(Keeper, "take", taking)
    monkeypatch.setattr(faust_consumer.Consumer, "perform_seek", seeking)
    _look(wallet, 30)


def test_an_event_that_comes_just_before_events_flow_is_counted(
    wallet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.publish(wallet, deposits(5, 2))
    sought, flowing = threading.Event(), threading.Event()
    resume, seek = FlowControlEvent.resume, faust_consumer.Consumer.perform_seek
    count = ViewsApp._count

    def resuming(control: FlowControlEvent) -> None:
        """Faust empties the queues that the agents read from, now and for the recovery."""
        resume(control)
        if sought.is_set():
            flowing.set()

    async def counting(app: ViewsApp, stream: Any) -> None:
        """The agent is slow, so that whatever has come stands in its queue until then."""
        while not flowing.is_set():
            await asyncio.sleep(0.001)
        await count(app, stream)

    async def seeking(consumer: Any) -> None:
        """Ends when an event stands in a queue; none does where they are kept back, as they are."""
        await seek(consumer)
        until = time.monotonic() + _QUEUED_SECONDS
        queues = consumer.app.flow_control._queues
        while time.monotonic() < until and not any(queue.qsize() for queue in queues):
            await asyncio.sleep(0.001)
        sought.set()

    monkeypatch.setattr(FlowControlEvent, "resume", resuming)
    monkeypatch.setattr(ViewsApp, "_count", counting)
    monkeypatch.setattr(faust_consumer.Consumer, "perform_seek", seeking)
    _look(wallet, 30)


def test_what_a_fetch_of_before_a_rebalance_takes_of_the_changelog_is_read_again(
    wallet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    changelog = topic_name(wallet, VIEWS_STATE.name)
    nothing: set[Any] = set()
    taken: set[str] = set()
    fetch: Callable[..., Any] = AIOKafkaConsumerThread._fetch_records
    seek = Recovery._seek_offsets

    async def fetching(thread: Any, consumer: Any, active: Any, **options: Any) -> Any:
        """One that is late has begun while records flowed, and ends while none do."""
        if active is not nothing:
            return await fetch(thread, consumer, active, **options)
        thread.consumer.flow_active = True
        begun = asyncio.ensure_future(fetch(thread, consumer, active, **options))
        await asyncio.sleep(0)
        thread.consumer.flow_active = False
        records = await begun
        taken.update(tp.topic for tp in records)
        return records

    async def seeking(recovery: Any, consumer: Any, *args: Any) -> None:
        """The recovery has asked for the changelog, and a late fetch comes before it flows."""
        await seek(recovery, consumer, *args)
        until = time.monotonic() + _FETCH_SECONDS
        while changelog not in taken and time.monotonic() < until:
            await consumer._getmany(nothing, 1.0)

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetching)
    monkeypatch.setattr(Recovery, "_seek_offsets", seeking)
    _look(wallet, 20)
    assert changelog in taken
