"""Producers: a plain idempotent one, and one that publishes a batch in a transaction or not."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import Producer as LibraryProducer

from schemas.settings import Settings
from streams.kafka.config import (
    TRANSACTION_TIMEOUT_MS,
    KafkaUnavailable,
    client_config,
    words_of,
)

log = logging.getLogger(__name__)

#: One call of a transaction waits so long; without it the library waits for ever.
_CALL_SECONDS: Final = 5.0

#: A producer that is broken is followed by another after so long, counted from its making.
_RENEW_SECONDS: Final = 5.0

#: Errors of a delivery after which the record certainly is not on the topic.
_DEFINITE: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)


class PublishRefused(Exception):
    """A transaction was aborted: what it would have published is not there."""

    def __init__(self, reason: str, *, fenced: bool) -> None:
        super().__init__(reason)
        #: The producer itself may not be used again.
        self.fenced = fenced


class Delivery(NamedTuple):
    """What became of a record: its place, or an error and whether it may be there all the same."""

    partition: int
    offset: int
    error: str | None
    unknown: bool


class Producer:
    """A plain idempotent producer (``acks=all``) with a thread that serves its callbacks.

    One that has met a fatal error takes nothing more; another takes its place, and the old one
    still reports what it was given.
    """

    def __init__(self, settings: Settings, *, linger_ms: float = 0, timeout_ms: int = 30_000):
        self._settings = settings
        self._linger_ms = linger_ms
        self._timeout_ms = timeout_ms
        self._lock = threading.Lock()
        self._producer = self._made()
        self._made_at = time.monotonic()
        self._broken = False
        self._old: list[LibraryProducer] = []
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._serve, name="kafka-producer", daemon=True)
        self._poller.start()

    def _made(self) -> LibraryProducer:
        return LibraryProducer(
            client_config(
                self._settings,
                **{
                    "client.id": f"wallet-producer-{uuid.uuid4().hex[:8]}",
                    "acks": "all",
                    "enable.idempotence": True,
                    "partitioner": "murmur2_random",
                    "linger.ms": self._linger_ms,
                    "delivery.timeout.ms": self._timeout_ms,
                },
            )
        )

    def _current(self) -> LibraryProducer:
        """A new one for one that is broken, yet not again and again: its cause may last."""
        with self._lock:
            if self._broken and time.monotonic() - self._made_at >= _RENEW_SECONDS:
                log.warning("a new producer takes the place of a broken one")
                self._old.append(self._producer)
                self._producer = self._made()
                self._made_at = time.monotonic()
                self._broken = False
            return self._producer

    def _break(self, producer: LibraryProducer, cause: object) -> None:
        with self._lock:
            if producer is self._producer and not self._broken:
                log.critical("the producer is of no more use", extra={"cause": str(cause)})
                self._broken = True

    def send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        on_delivery: Callable[[Delivery], None] | None = None,
        *,
        partition: int = -1,
    ) -> None:
        """Queue a record; ``on_delivery`` is called from the producer's own thread.

        Waits while the library's queue is full, so that a fast producer is slowed, not failed. A
        record that a producer takes no more is reported at once, by the caller's thread.
        """

        def report(error: KafkaError | None, message: Message) -> None:
            if on_delivery is not None:
                on_delivery(_delivery_of(error, message))

        while True:
            producer = self._current()
            try:
                producer.produce(
                    topic, value, key, partition, on_delivery=report if on_delivery else None
                )
                return
            except BufferError:
                self._served(producer, lambda producer: int(producer.poll(0.05)))
            except KafkaException as error:
                if error.args[0].fatal():
                    self._break(producer, error)
                if on_delivery is not None:
                    on_delivery(Delivery(-1, -1, words_of(error), False))
                return

    def flush(self, timeout_seconds: float = 30.0) -> int:
        """Wait for what is queued; returns how many records are still under way."""
        deadline = time.monotonic() + timeout_seconds

        def flushed(producer: LibraryProducer) -> int:
            return int(producer.flush(max(deadline - time.monotonic(), 0.0)))

        return sum(self._served(producer, flushed) for producer in self._all())

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Send what is queued, then stop."""
        self.flush(timeout_seconds)
        self._closing.set()
        self._poller.join(timeout=2.0)

    def _all(self) -> list[LibraryProducer]:
        with self._lock:
            self._old = [producer for producer in self._old if len(producer)]
            return [*self._old, self._producer]

    def _serve(self) -> None:
        while not self._closing.is_set():
            *old, present = self._all()
            for producer in old:
                self._served(producer, lambda producer: int(producer.poll(0)))
            self._served(present, lambda producer: int(producer.poll(0.1)))

    def _served(self, producer: LibraryProducer, call: Callable[[LibraryProducer], int]) -> int:
        """A call that serves callbacks, and so may meet the end of the producer.

        The library raises a fatal error (no right to write anything, for one) out of whichever call
        is under way. What is queued is reported all the same, by the calls after it.
        """
        try:
            return call(producer)
        except (KafkaException, SystemError) as error:
            self._break(producer, error.__cause__ or error)
            return len(producer)


def _delivery_of(error: KafkaError | None, message: Message) -> Delivery:
    if error is None:
        return Delivery(message.partition() or 0, message.offset() or 0, None, False)
    return Delivery(-1, -1, error.str(), error.code() not in _DEFINITE)


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A record to publish: logical topic resolved, key and value; partition -1 goes by the key."""

    topic: str
    key: bytes
    value: bytes
    partition: int = -1


#: A worker that is told to stop while the broker is away waits for no longer.
_INIT_SECONDS: Final = 10.0


class TransactionalProducer:
    """Publishes records and the group's offsets in one Kafka transaction, or nothing of both."""

    def __init__(self, settings: Settings, transactional_id: str) -> None:
        self._producer = LibraryProducer(
            client_config(
                settings,
                **{
                    "client.id": transactional_id,
                    "transactional.id": transactional_id,
                    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                    "partitioner": "murmur2_random",
                    # Records wait for the commit, which flushes them. Sent earlier they may meet a
                    # partition that the broker has not yet added to the transaction, and the
                    # library then spins: it took a whole core beside a busy broker.
                    "linger.ms": 1_000,
                    # Without these a transaction that meets the markers of the last one waits
                    # 100 ms and more.
                    "retry.backoff.ms": 2,
                    "retry.backoff.max.ms": 20,
                },
            )
        )
        try:
            self._producer.init_transactions(_INIT_SECONDS)
        except KafkaException as error:
            raise KafkaUnavailable(words_of(error)) from error

    def begin(self, records: Iterable[Outgoing]) -> None:
        """Open a transaction and queue its records; they are sent while ``commit`` waits.

        Call it from the thread that is busy: each record lets go of the interpreter's lock, and a
        thread beside a busy one would wait for it five thousand times. Raises ``PublishRefused``.
        """
        try:
            self._producer.begin_transaction()
            for record in records:
                self._produce(record)
        except KafkaException as error:
            raise self._abort(error) from error

    def commit(
        self,
        offsets: Sequence[tuple[str, int, int]] = (),
        group_metadata: object = None,
        *,
        before_commit: Callable[[str], None] = lambda step: None,
        agreed: Callable[[], bool] | None = None,
    ) -> bool:
        """Commit the records and ``offsets`` (topic, partition, next offset) atomically.

        With ``agreed`` everything is brought to the broker first, then it is called, and may wait.
        If it says no, the transaction is aborted and this answers False.

        Without offsets, as an operator's repair publishes, the group's stay as they are; offsets
        are refused of whoever is no member (None), since the broker would take them unchecked.

        Raises ``PublishRefused`` if the broker refused and the transaction was aborted. A commit
        whose answer is lost is asked for again until the broker says what became of it.
        """
        producer = self._producer
        positions = [TopicPartition(*offset) for offset in offsets]
        try:
            before_commit("produced")
            if positions:
                if group_metadata is None:
                    raise KafkaException(
                        KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "no member of the group any more")
                    )
                self._insist(
                    lambda: producer.send_offsets_to_transaction(
                        positions, group_metadata, _CALL_SECONDS
                    )
                )
            before_commit("offsets-sent")
            if agreed is not None:
                self._flush()
                if not agreed():
                    self._insist(lambda: producer.abort_transaction(_CALL_SECONDS))
                    return False
            self._insist(lambda: producer.commit_transaction(_CALL_SECONDS))
        except KafkaException as error:
            raise self._abort(error) from error
        return True

    def _flush(self) -> None:
        """Send the records; what does not arrive in time, the commit waits for."""
        try:
            self._producer.flush(_CALL_SECONDS)
        except SystemError as error:
            # So the library's binding tells of a fatal error met by a callback.
            if isinstance(error.__cause__, KafkaException):
                raise error.__cause__ from None
            raise

    def _produce(self, record: Outgoing) -> None:
        while True:
            try:
                self._producer.produce(record.topic, record.value, record.key, record.partition)
                return
            except BufferError:
                self._producer.poll(0.05)

    def _insist(self, call: Callable[[], object]) -> None:
        """Repeat a call that the library declares safe to repeat, within the transaction's time."""
        deadline = time.monotonic() + TRANSACTION_TIMEOUT_MS / 1000
        while True:
            try:
                call()
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise

    def _abort(self, error: KafkaException) -> PublishRefused:
        cause: KafkaError = error.args[0]
        fenced = bool(cause.fatal())
        if not fenced:
            try:
                self._insist(lambda: self._producer.abort_transaction(_CALL_SECONDS))
            except KafkaException as second:
                # Neither commit nor abort was answered: this producer's state is unknown, and only
                # a new one, which fences it, can be trusted again.
                log.warning("a transaction could not be aborted", extra={"error": str(second)})
                fenced = True
        return PublishRefused(f"{cause.name()}: {cause.str()}", fenced=fenced)

    def close(self) -> None:
        """Drop the producer; an open transaction of it is aborted by the broker's time-out."""
        self._producer.purge()
