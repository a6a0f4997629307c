"""A wallet on a real broker and database, and the proof that it did each command exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from db.engine import connect
from db.ledger.rules import seed_rules
from processors.dogecoin.derivation import account_keys
from processors.seed import first_rules, keyring_of
from schemas.events import CloudEvent
from schemas.ids import Place, number_of, place_of, text_of
from schemas.publications import DeadLetterNotice, Manifest
from schemas.settings import Settings
from schemas.topics import (
    ALERTS,
    BATCHES,
    COMMAND_TOPIC_NAMES,
    DEAD_LETTERS,
    EVENTS,
    CommandTopic,
    topic_name,
)
from streams.kafka.admin import Admin, create_topics
from streams.kafka.config import partition_of
from streams.kafka.groups import Group
from streams.kafka.produce import Delivery, Producer
from streams.local.process import wait_until
from streams.worker.worker import Worker
from tests.support.audit import Connection, faults_of_books, faults_of_chain
from tests.support.commands import Wire
from tests.support.eventually import eventually

_event: Final = msgspec.json.Decoder(CloudEvent)
_letter: Final = msgspec.json.Decoder(DeadLetterNotice)
_manifest: Final = msgspec.json.Decoder(Manifest)

#: Long enough for any broker to write them.
_MARKERS_SECONDS: Final = 20.0


def prepared(settings: Settings) -> Settings:
    """Make topics, account and rules; nothing applies commands yet."""
    _, xpub = account_keys(bytes(64), settings.network)
    whole = msgspec.structs.replace(settings, account_xpub=xpub)
    create_topics(whole)
    with connect(whole.database_url, application_name="test") as connection:
        seed_rules(connection, first_rules(whole, keyring_of(whole)))
    return whole


def worker_for(settings: Settings, step: Callable[[str], None] = lambda name: None) -> Worker:
    """A worker as its process makes it."""
    return Worker(settings, derive=keyring_of(settings).deposit_address, step=step)


def send(settings: Settings, records: Iterable[Wire]) -> list[Place]:
    """Put records on their topics; their places, in the order in which they were given."""
    producer = Producer(settings)
    told: dict[int, Delivery] = {}
    sent = []
    for number, record in enumerate(records):
        sent.append(record)

        def note(delivery: Delivery, number: int = number) -> None:
            told[number] = delivery

        producer.send(topic_name(settings, record.topic), record.key, record.value, note)
    assert producer.flush() == 0
    producer.close()
    assert all(delivery.error is None for delivery in told.values()), told
    return [
        Place(record.topic, 1, told[number].partition, told[number].offset)
        for number, record in enumerate(sent)
    ]


def read_all(settings: Settings, *logical: str | CommandTopic) -> dict[str, list[Message]]:
    """All that a read-committed reader sees of whole topics, by their logical names.

    One client reads them side by side: partition after partition takes seconds.
    """
    reader = Consumer(
        {
            **settings.kafka,
            "group.id": "tests-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
    )
    names = {topic_name(settings, topic): _logical(topic) for topic in logical}
    counts = {name: facts.partitions for name, facts in Admin(settings).topics([*names]).items()}
    unread = {(name, number) for name, count in counts.items() for number in range(count)}
    found: dict[str, list[Message]] = {topic: [] for topic in names.values()}
    reader.assign([TopicPartition(name, number, 0) for name, number in unread])

    def read() -> bool:
        for message in reader.consume(1000, 0.05):
            error = message.error()
            if error is None:
                found[names[message.topic() or ""]].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard((message.topic() or "", message.partition() or 0))
            else:
                raise KafkaException(error)
        return not unread

    try:
        eventually(read, "all topics are read to their ends")
    finally:
        reader.close()
    return found


def _logical(topic: str | CommandTopic) -> str:
    return COMMAND_TOPIC_NAMES[topic] if isinstance(topic, CommandTopic) else topic


def events_of(settings: Settings) -> list[CloudEvent]:
    """Every event that is published."""
    return [_event.decode(m.value() or b"") for m in read_all(settings, EVENTS)[EVENTS]]


class Proof:
    """Holds topics and database of a wallet that has come to rest against each other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.faults: list[str] = []

    def hold(self) -> None:
        """Fail unless every command had one outcome and every event was seen once."""
        # A commit is answered before its markers stand in every partition; whatever else differs
        # does so still when the time is over, and is told.
        wait_until(self._is_committed, _MARKERS_SECONDS)
        topics = read_all(self._settings, *CommandTopic, EVENTS, DEAD_LETTERS, BATCHES)
        with connect(
            self._settings.database_url, application_name="proof", autocommit=True
        ) as connection:
            self._check_outcomes(connection, topics)
            self._check_events(connection, topics[EVENTS])
            self._check_letters(connection, topics[DEAD_LETTERS])
            self._check_manifests(connection, topics[BATCHES])
            self._check_offsets(connection)
            self.faults += faults_of_books(connection)
            self.faults += faults_of_chain(connection)
        assert not self.faults, "\n".join(self.faults)

    def _differ(self, what: str, found: Counter[str], wanted: Iterable[str]) -> None:
        """Note what was found more or less often than once each."""
        expected = Counter(wanted)
        for much, more in (("too many", found - expected), ("missing", expected - found)):
            if more:
                examples = ", ".join(sorted(more)[:3])
                self.faults.append(f"{what}: {more.total()} {much}, as {examples}")

    def _check_outcomes(self, connection: Connection, topics: dict[str, list[Message]]) -> None:
        records = [
            text_of(number_of(Place(topic, 1, message.partition() or 0, message.offset() or 0)))
            for topic in CommandTopic
            for message in topics[COMMAND_TOPIC_NAMES[topic]]
        ]
        rows = connection.execute("SELECT id::text FROM commands").fetchall()
        rows += connection.execute("SELECT id::text FROM dead_letters").fetchall()
        self._differ("outcomes", Counter(row[0] for row in rows), records)

    def _check_events(self, connection: Connection, messages: list[Message]) -> None:
        events = [_event.decode(message.value() or b"") for message in messages]
        ids = Counter(event.id for event in events)
        self._differ("event ids", ids, list(ids))
        own = Counter(e.causationid for e in events if e.idempotencykey is not msgspec.UNSET)
        documents: dict[str, str] = dict(
            connection.execute("SELECT id::text, document::text FROM commands").fetchall()
        )
        self._differ("events of commands", own, list(documents))
        for event in events:
            document = documents.get(event.causationid)
            if event.idempotencykey is msgspec.UNSET or document is None:
                continue
            if document.encode() != bytes(event.data):
                self.faults.append(f"event {event.id} is not what {event.causationid} became")
        numbers = Counter(f"{event.subject} {event.sequence}" for event in events)
        counts = connection.execute("SELECT user_id::text, sequence FROM wallets").fetchall()
        wanted = [f"{user} {number}" for user, last in counts for number in range(1, last + 1)]
        self._differ("sequences", numbers, wanted)

    def _check_letters(self, connection: Connection, messages: list[Message]) -> None:
        told = Counter(_letter.decode(message.value() or b"").id for message in messages)
        rows = connection.execute("SELECT id::text FROM dead_letters").fetchall()
        self._differ("dead letters", told, [row[0] for row in rows])

    def _check_manifests(self, connection: Connection, messages: list[Message]) -> None:
        manifests = [_manifest.decode(message.value() or b"") for message in messages]
        told = Counter(
            f"{m.batch_id}:{m.topic}:{m.partition}:{m.first_offset}-{m.last_offset}:{m.chain}"
            for m in manifests
        )
        rows = connection.execute(
            "SELECT batch_id || ':' || topic || ':' || partition || ':' || first_offset || '-'"
            " || last_offset || ':' || encode(chain, 'hex') FROM batch_slices"
        ).fetchall()
        self._differ("manifests", told, [row[0] for row in rows])

    def _is_committed(self) -> bool:
        with connect(self._settings.database_url, application_name="proof") as connection:
            rows = connection.execute("SELECT topic, partition, next_offset FROM partitions")
            applied = {(CommandTopic(row[0]), row[1]): row[2] for row in rows}
        return Group(self._settings).committed([*applied]) == applied

    def _check_offsets(self, connection: Connection) -> None:
        """The group's committed offset says: applied and published."""
        places = [(t, n) for t in CommandTopic for n in range(self._settings.partitions)]
        committed = Group(self._settings).committed(places)
        rows = connection.execute(
            "SELECT topic, partition, next_offset, halted FROM partitions"
        ).fetchall()
        for topic, number, next_offset, halted in rows:
            place = (CommandTopic(topic), number)
            if halted is not None:
                self.faults.append(f"{place} is halted: {halted}")
            if committed[place] != next_offset:
                self.faults.append(f"{place}: committed {committed[place]}, applied {next_offset}")


def outcomes_of(settings: Settings, places: Iterable[Place]) -> list[tuple[str, str | None]]:
    """Outcome and code of each record; a dead letter's outcome is ``dead``, none is ``none``."""
    with psycopg.connect(settings.api_database_url) as connection:
        rows = connection.execute(
            "SELECT id::text, outcome::text, code FROM commands"
            " UNION ALL SELECT id::text, 'dead', code FROM dead_letters"
        ).fetchall()
    known = {ident: (outcome, code) for ident, outcome, code in rows}
    return [known.get(text_of(number_of(place)), ("none", None)) for place in places]


def alarms_of(settings: Settings) -> list[dict[str, str]]:
    """What operators were told."""
    return [
        msgspec.json.decode(message.value() or b"", type=dict[str, str])
        for message in read_all(settings, ALERTS)[ALERTS]
    ]


def place_of_id(ident: str) -> Place:
    """Where the command with this id stands."""
    return place_of(ident)[0]


def partition_for(settings: Settings, user: str) -> int:
    """Where a user's commands lie."""
    return partition_of(user.encode(), settings.partitions)
