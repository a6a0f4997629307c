"""What became of commands, read from the topics that tell it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from wallet_client.base import decode
from wallet_client.errors import Malformed, Rejected, WalletError, family_of
from wallet_client.events import Event, read_event
from wallet_client.ids import place_of
from wallet_client.kafka.config import (
    DEAD_LETTERS,
    EVENTS,
    BrokerUnavailable,
    client_config,
    unavailable,
)
from wallet_client.models import CommandRejected, CommandReplayed

log = logging.getLogger(__name__)

#: Dead letters of others, kept until it is known that they are not ours.
_LETTERS_MAX: Final = 1_000


class Spot(NamedTuple):
    """A record's place, whatever generation its topic has."""

    topic: int
    partition: int
    offset: int


class Waiter(Protocol):
    """A command that was sent, and wants to know."""

    user_id: str
    idempotency_key: str

    def settle(self, outcome: Event | WalletError) -> None:
        """Here it is."""


class _Hint(msgspec.Struct, frozen=True):
    """What tells whose an event is, before the rest of it is read."""

    subject: str
    causationid: str
    idempotencykey: str | None = None


class _Letter(msgspec.Struct, frozen=True):
    id: str
    topic: int
    partition: int
    offset: int
    code: str
    detail: str


class Registry:
    """Brings commands and outcomes together, whichever is known first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Commands of one user and key that have no outcome yet, and events for that key.
        self._waiting: dict[tuple[str, str], list[Waiter]] = {}
        self._events: dict[tuple[str, str], dict[Spot, Event]] = {}
        self._spots: dict[Spot, Waiter] = {}
        self._letters: OrderedDict[Spot, WalletError] = OrderedDict()

    def expect(self, waiter: Waiter) -> None:
        """Before it is sent: from now on its events are kept."""
        with self._lock:
            key = (waiter.user_id, waiter.idempotency_key)
            self._waiting.setdefault(key, []).append(waiter)

    def idle(self) -> bool:
        """Whether nobody waits, and nothing is kept for anybody."""
        with self._lock:
            return not (self._waiting or self._events or self._spots)

    def forget(self, waiter: Waiter) -> None:
        """It is not on the topic, or has its outcome."""
        with self._lock:
            self._drop(waiter)

    def _drop(self, waiter: Waiter) -> None:
        key = (waiter.user_id, waiter.idempotency_key)
        left = [other for other in self._waiting.get(key, []) if other is not waiter]
        if left:
            self._waiting[key] = left
        else:
            self._waiting.pop(key, None)
            self._events.pop(key, None)

    def delivered(self, waiter: Waiter, spot: Spot) -> None:
        """It stands there on its topic; the worker is often quicker than this news."""
        with self._lock:
            key = (waiter.user_id, waiter.idempotency_key)
            outcome: Event | WalletError | None = self._events.get(key, {}).pop(spot, None)
            outcome = outcome or self._letters.pop(spot, None)
            if outcome is None:
                self._spots[spot] = waiter
                return
            self._drop(waiter)
        waiter.settle(outcome)

    def told(self, value: bytes, partition: int, offset: int) -> None:
        """An event was published."""
        hint = msgspec.json.decode(value, type=_Hint)
        key = (hint.subject, hint.idempotencykey or "")
        with self._lock:
            if hint.idempotencykey is None or key not in self._waiting:
                return
            place = place_of(hint.causationid)
            spot = Spot(place.topic, place.partition, place.offset)
            event = read_event(value, partition, offset)
            waiter = self._spots.pop(spot, None)
            if waiter is None:
                self._events.setdefault(key, {})[spot] = event
                return
            self._drop(waiter)
        waiter.settle(event)

    def buried(self, value: bytes) -> None:
        """A record was found to be no command."""
        letter = decode(value, _Letter)
        spot = Spot(letter.topic, letter.partition, letter.offset)
        fault = Malformed(letter.code, letter.detail, command_id=letter.id)
        with self._lock:
            waiter = self._spots.pop(spot, None)
            if waiter is None:
                self._letters[spot] = fault
                if len(self._letters) > _LETTERS_MAX:
                    self._letters.popitem(last=False)
                return
            self._drop(waiter)
        waiter.settle(fault)


class Follower:
    """Follows events and dead letters from where they end now, in a thread of its own."""

    def __init__(
        self,
        servers: str,
        config: Mapping[str, Any] | None,
        prefix: str,
        registry: Registry,
        answer_seconds: float,
    ) -> None:
        self._answer_seconds = answer_seconds
        self._events = prefix + EVENTS
        self._registry = registry
        self._consumer = Consumer(
            client_config(
                servers,
                config,
                group_id="wallet-client-outcomes",  # it is never joined, and nothing is committed
                enable_auto_commit=False,
                auto_offset_reset="error",
                isolation_level="read_committed",
                fetch_wait_max_ms=50,
            )
        )
        try:
            self._consumer.assign(self._ends(prefix + DEAD_LETTERS) + self._ends(self._events))
        except (KafkaException, BrokerUnavailable) as error:
            self._consumer.close()
            raise (unavailable(error) if isinstance(error, KafkaException) else error) from error
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wallet-outcomes", daemon=True)
        self._thread.start()

    def _ends(self, topic: str) -> list[TopicPartition]:
        """The end of each partition: what is told later is told behind it."""
        metadata = self._consumer.list_topics(topic, timeout=self._answer_seconds).topics[topic]
        # A topic that is not there, or not for us, has an error and no partitions: not to be read
        # as one in which nothing is ever told.
        if metadata.error is not None:
            raise BrokerUnavailable(f"outcomes cannot be followed on {topic}: {metadata.error}")
        if not metadata.partitions:
            raise BrokerUnavailable(f"outcomes cannot be followed on {topic}: it has no partitions")
        found = []
        for number in metadata.partitions:
            place = TopicPartition(topic, number)
            answer = self._consumer.get_watermark_offsets(place, timeout=self._answer_seconds)
            if answer is None:
                raise BrokerUnavailable(f"the broker does not tell where {topic} ends")
            found.append(TopicPartition(topic, number, answer[1]))
        return found

    def _run(self) -> None:
        while not self._closing.is_set():
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            value = message.value()
            if message.error() is not None or value is None:
                # It connects again by itself; whoever waits meanwhile is told "unknown" in time.
                log.warning("outcomes cannot be read: %s", message.error())
                continue
            try:
                if message.topic() == self._events:
                    place = message.partition() or 0, message.offset() or 0
                    self._registry.told(value, *place)
                else:
                    self._registry.buried(value)
            except (msgspec.MsgspecError, ValueError, WalletError):
                log.exception("a record of %s cannot be read", message.topic())

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        self._thread.join(timeout=10.0)
        self._consumer.close()


def rejection_in(event: Event) -> Rejected | None:
    """The rejection that an event tells, a replayed one included; None of an acceptance."""
    match event.data:
        case CommandRejected(code=code, message=message):
            detail = message
        case CommandReplayed(outcome="rejected", code=str(code)):
            detail = "as it was decided when the key was first used"
        case _:
            return None
    family = family_of(code)
    if not issubclass(family, Rejected):
        family = Rejected
    return family(code, detail, command_id=event.causationid, idempotency_key=event.idempotencykey)
