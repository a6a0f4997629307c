"""The one door to Faust: an app that reads committed events and keeps one table of documents.

Faust gives membership, the table with its changelog and its recovery, and the web part. What it is
not trusted with: it acknowledges what raised, and commits past what nobody acknowledged. So where
to read on is said by the table (``Keeps.begin``), and whatever raises ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import faust
from faust.contrib.asgi import bind_to_running_loop
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.web import Request, Response, View
from yarl import URL

from schemas.settings import Settings, SettingsError
from schemas.topics import EVENTS, VIEWS_STATE, topic_name

log = logging.getLogger(__name__)

#: Within a session.
_BEATS: Final = 3.0
_STOP_SECONDS: Final = 20.0

Answer = tuple[int, str, bytes]
#: Given what stands in the path and in the query: status, content type and body.
Page = Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[Answer]]


def sure_seconds(session_seconds: float) -> float:
    """How long a member is sure of its partitions after it last looked at its clock.

    Less than a session, which the broker counts from the last heartbeat that it had.
    """
    return session_seconds * (1 - 1 / _BEATS)


class Keeps(Protocol):
    """Whoever counts records into the table."""

    def lose(self, partitions: Collection[int]) -> None:
        """Partitions went, or came back after somebody else had them."""

    def begin(self, partition: int) -> int:
        """Where to read on, once the table has what was written of the partition."""

    def take(self, partition: int, offset: int, value: bytes | None) -> None:
        """Count a record in."""


class _CommittedThread(AIOKafkaConsumerThread):
    """Reads committed records, which Faust does in its own exactly-once mode alone.

    And it hands out no event that was fetched before its partition was put to its place. From an
    assignment on aiokafka fetches where the group's offsets say, and Faust resumes a partition
    before it seeks: the records between the place and what came first would be passed over.

    And what was taken while nothing flows is taken again. A fetch outlives a rebalance, by a second
    and more, and what it asks for is a set that Faust empties meanwhile, which then means all
    partitions. Faust drops what it brings: if that was the table's changelog, its recovery waited
    for ever.
    """

    #: aiokafka's assignment whose partitions stand at their places.
    _placed: object = None

    async def _fetch_records(self, consumer: Any, *args: Any, **options: Any) -> Any:
        records = await super()._fetch_records(consumer, *args, **options)
        # Seeks are made on this thread too, and nothing is awaited between the fetcher and here.
        if not self.consumer.flow_active:
            for tp, each in records.items():
                consumer.seek(tp, each[0].offset)
            return {}
        # What is dropped was taken before the seek, which gives it again.
        if self.assigned() is self._placed:
            return records
        topic = _ours(self.app).events_topic
        return {tp: each for tp, each in records.items() if tp.topic != topic}

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        app = _ours(self.app)
        if any(tp.topic == app.events_topic for tp in partitions):
            if app.placing is not partitions or self.assigned() is not app.placing_of:
                # It was asked for an assignment that is over; the next one asks again.
                return
            # All of them are put to their places before anything else runs on this thread.
            self._placed = app.placing_of
        await super()._seek_wait(consumer, partitions)

    def assigned(self) -> object:
        """What aiokafka has been assigned: another object after each rebalance, or None."""
        subscription = self._ensure_consumer()._subscription.subscription
        return None if subscription is None else subscription.assignment

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer


class _PlacedConsumer(Consumer):
    """Begins where the table says, not where the group's offsets do."""

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Does it once events flow, and not when Faust asks for it, after a recovery of the table.

        Faust asks before it lets events flow, and with that it empties the agent's queue: an event
        that came between the two was lost.
        """
        app = _ours(self.app)
        if not (app.recovered and app.flowing):
            return {}
        thread = self._thread
        assert isinstance(thread, _CommittedThread)
        # It is what the table was recovered for: `_leave` is told before there is another one.
        assignment = thread.assigned()
        wanted = {
            tp: app.keeper.begin(tp.partition)
            for tp in self.assignment()
            if tp.topic == app.events_topic
        }
        starts = await self.earliest_offsets(*wanted) if wanted else {}
        for tp, start in starts.items():
            if 0 < wanted[tp] < start:
                self.log.warning(
                    "%s has dropped events that were not counted: %d to %d",
                    tp,
                    wanted[tp],
                    start - 1,
                )
            wanted[tp] = max(wanted[tp], start)
        app.placing, app.placing_of = wanted, assignment
        await self.seek_wait(wanted)
        return wanted


class _CommittedTransport(Transport):
    Consumer = _PlacedConsumer


class _StateTable(faust.Table[bytes, bytes]):
    """Documents under keys that name their partition; each write's delivery can be awaited."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self.sent: list[Any] = []

    def _changelog_topic_name(self) -> str:
        return _ours(self.app).changelog

    def partition_for_key(self, key: Any) -> int:
        return int(key.partition(b"/")[0])

    def on_key_set(self, key: Any, value: Any) -> None:
        """Write to the changelog; Faust's own way needs an event, and we write between them."""
        self.sent.append(self.send_changelog(self.partition_for_key(key), key, value))

    def on_key_del(self, key: Any) -> None:
        """The same, with a tombstone."""
        partition = self.partition_for_key(key)
        self.sent.append(self.send_changelog(partition, key, None, value_serializer="raw"))

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Before the recovery: a partition that comes is read from its changelog alone."""
        moved = {tp.partition for tp in revoked | newly_assigned}
        app = _ours(self.app)
        app.recovered = app.flowing = False
        app.keeper.lose(moved)
        held = self.data.data
        for key in [key for key in held if self.partition_for_key(key) in moved]:
            del held[key]
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """From here on the table says where to begin."""
        await super().on_recovery_completed(active_tps, standby_tps)
        _ours(self.app).recovered = True


class ViewsApp(faust.App):
    """The app of one member; build it inside the loop that runs it."""

    keeper: Keeps
    #: Called while the partitions are still this member's, before it gives them up.
    before_leaving: Callable[[], Awaitable[None]] | None = None

    def __init__(self, settings: Settings, port: int) -> None:
        self.events_topic = topic_name(settings, EVENTS)
        self.changelog = topic_name(settings, VIEWS_STATE.name)
        #: Where partitions are being put, as the table says, and of which assignment they are.
        self.placing: Mapping[TP, int] | None = None
        self.placing_of: object = None
        #: Whether the table has all that was written of what is assigned.
        self.recovered = False
        #: Whether what is fetched reaches the agent.
        self.flowing = False
        self._stumbled = False
        session = settings.views_session_seconds
        super().__init__(
            settings.topic_prefix + settings.views_group,
            broker=_brokers(settings),
            broker_credentials=_credentials(settings.kafka),
            Table=_StateTable,
            store="memory://",
            autodiscover=False,
            # Topics are made explicitly, and there is no leader to elect.
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=session,
            broker_request_timeout=max(session, 30.0),
            broker_heartbeat_interval=session / _BEATS,
            web_bind=settings.views_host,
            web_host=settings.views_host,
            web_port=port,
            # Pages of Faust's own would show the tables.
            web_router_enabled=False,
            web_tables_enabled=False,
            web_graph_enabled=False,
            web_stats_enabled=False,
            web_metrics_enabled=False,
        )
        documents = self.Table(
            "state", key_type=bytes, value_type=bytes, partitions=settings.partitions
        )
        assert isinstance(documents, _StateTable)
        self.documents = documents
        topic = self.topic(
            self.events_topic,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
            internal=False,
        )
        self.agent(topic, name="views")(self._count)
        self.on_partitions_revoked.connect(self._leave)

    def _new_transport(self) -> Transport:
        return _CommittedTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """None: Faust makes them for tables on disk, in the working directory; ours is in memory,
        and nothing was ever written there."""

    def on_rebalance_end(self) -> None:
        """Faust lets events flow from here on."""
        super().on_rebalance_end()
        self.flowing = True
        self.add_future(self.consumer.perform_seek())

    async def _leave(self, *args: Any, **signal: Any) -> None:
        self.recovered = self.flowing = False
        if self.before_leaving is not None:
            await self.before_leaving()

    async def _count(self, stream: Any) -> None:
        async for event in stream.events():
            if self._stumbled:
                # Faust acknowledges what raised, starts the agent again and goes on after it, also
                # in an app that has crashed. Nothing may be counted beyond that record.
                return
            message = event.message
            try:
                self.keeper.take(message.partition, message.offset, message.value)
            except Exception as error:
                self._stumbled = True
                await self.crash(error)
                raise

    async def write(self, phases: Sequence[Mapping[bytes, bytes | None]], until: float) -> None:
        """Write to the table, each phase delivered before the next; raises what the broker says.

        ``until`` is a time of the monotonic clock, in seconds, after which somebody else may have
        the partitions. Raises ``TimeoutError`` rather than begin a phase after it, and where the
        last one was delivered after it.
        """
        if self._stumbled:
            raise RuntimeError("a record was counted in part: nothing of it is written")
        table = self.documents
        for phase in phases:
            _check_time(until)
            table.sent = []
            for key, value in phase.items():
                if value is not None:
                    table[key] = value
                elif key in table:
                    del table[key]
            if table.sent:
                await asyncio.gather(*table.sent)
        _check_time(until)

    @property
    def joined(self) -> bool:
        """Whether the group has given this member its part, and the table has recovered."""
        return bool(self.tables.actives_ready) and not self.rebalancing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run on the loop that runs already, and leave the group at the end."""
        bind_to_running_loop(self)
        self.finalize()
        await self.start()
        try:
            yield
        finally:
            try:
                await asyncio.wait_for(self.stop(), _STOP_SECONDS)
            except (Exception, asyncio.CancelledError) as fault:
                # An app that crashed cannot be stopped in order: its threads are gone already, and
                # what it waits for was cancelled with them, which is not to say that we are.
                if not self.crashed or _is_cancelled():
                    raise
                log.warning("not stopped in order", extra={"cause": repr(fault)})

    def serve(self, path: str, page: Page) -> None:
        """Answer GET on a path, whose ``{names}`` are given to the page."""

        async def get(view: View, request: Request, **names: str) -> Response:
            status, kind, body = await page(names, dict(request.query))
            return view.bytes(body, content_type=kind, status=status)

        get.__name__ = f"page_{path.strip('/').partition('/')[0]}"
        self.page(path)(get)


def _check_time(until: float) -> None:
    if time.monotonic() > until:
        raise TimeoutError("a writing took too long: others may have its partitions")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _ours(app: object) -> ViewsApp:
    assert isinstance(app, ViewsApp)
    return app


def _brokers(settings: Settings) -> list[URL]:
    settings.require("kafka")
    servers = settings.kafka["bootstrap.servers"].split(",")
    return [URL(f"kafka://{server.strip()}") for server in servers]


def _credentials(kafka: Mapping[str, str]) -> Any:
    """Faust's form of librdkafka's security settings; raises ``SettingsError``."""
    protocol = kafka.get("security.protocol", "plaintext").upper()
    context = _tls(kafka) if protocol.endswith("SSL") else None
    match protocol:
        case "PLAINTEXT":
            return None
        case "SSL":
            return faust.SSLCredentials(context)
        case "SASL_PLAINTEXT" | "SASL_SSL":
            mechanism = kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", "")).upper()
            if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
                raise SettingsError(
                    f"the views know SASL by PLAIN and SCRAM, not by {mechanism or 'nothing'}"
                )
            return faust.SASLCredentials(
                username=kafka.get("sasl.username", ""),
                password=kafka.get("sasl.password", ""),
                ssl_context=context,
                mechanism=mechanism,
            )
    raise SettingsError(f"WALLET_KAFKA_SECURITY_PROTOCOL {protocol} is none that the views know")


def _tls(kafka: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=kafka.get("ssl.ca.location"))
    if certificate := kafka.get("ssl.certificate.location"):
        context.load_cert_chain(
            certificate, kafka.get("ssl.key.location"), kafka.get("ssl.key.password")
        )
    return context
