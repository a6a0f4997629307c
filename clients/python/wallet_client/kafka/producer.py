"""Commands on their topics, as the contract has them, and their outcomes."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from enum import IntEnum
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from wallet_client.base import Model, checked, encode
from wallet_client.errors import (
    BadRequest,
    OutcomeUnknown,
    Refused,
    Unavailable,
    WalletError,
)
from wallet_client.events import Event
from wallet_client.ids import Place, command_id
from wallet_client.kafka.config import client_config
from wallet_client.kafka.outcomes import Follower, Registry, Spot, rejection_in
from wallet_client.tables import COMMANDS, HOUSE, HOUSE_COMMANDS, TOPICS

log = logging.getLogger(__name__)

_VERSION: Final = 1
_RECORD_MAX_BYTES: Final = 16 * 1024
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


class Role(IntEnum):
    """Who sends: each may write to one topic alone."""

    SERVICE = 0
    USERS = 1
    TREASURY = 2


class NotPermitted(Refused):
    """Commands of this type are not for this producer's role; nothing was sent."""


class Sent:
    """A command under way. ``await`` it for its outcome, or use the methods in sync code."""

    def __init__(
        self, user_id: str, idempotency_key: str, topic: int, generation: int, *, followed: bool
    ) -> None:
        self.user_id = user_id
        self.idempotency_key = idempotency_key
        self._topic = topic
        self._generation = generation
        self._followed = followed
        self._place: Future[Place] = Future()
        self._outcome: Future[Event] = Future()

    def place(self, timeout_seconds: float = 30.0) -> Place:
        """Where it stands on its topic, once the broker has it."""
        try:
            return self._place.result(timeout_seconds)
        except TimeoutError:
            raise self._unknown("the broker has not reported it") from None

    def command_id(self, timeout_seconds: float = 30.0) -> str:
        """The command's id, which is its place in the log."""
        return command_id(self.place(timeout_seconds))

    def outcome(self, timeout_seconds: float = 30.0) -> Event:
        """The event of its acceptance, or of a replay of one; raises ``Rejected``.

        ``OutcomeUnknown`` if nothing is told in time: it may still be decided, so ask again, or
        send the same with the same key.
        """
        self._require_follower()
        try:
            return self._outcome.result(timeout_seconds)
        except TimeoutError:
            raise self._unknown(f"no event within {timeout_seconds:.0f} s") from None

    def __await__(self) -> Generator[Any, None, Event]:
        """The same for async code; bound the wait with ``asyncio.timeout``."""
        self._require_follower()
        return asyncio.shield(asyncio.wrap_future(self._outcome)).__await__()

    def _require_follower(self) -> None:
        if not self._followed:
            raise RuntimeError("this producer was made with outcomes=False")

    def _unknown(self, why: str) -> OutcomeUnknown:
        done = self._place.done() and self._place.exception() is None
        ident = command_id(self._place.result()) if done else None
        return OutcomeUnknown(self.idempotency_key, why, ident)

    def report(self, error: KafkaError | None, message: Message) -> Spot | None:
        """What the broker says of it."""
        if error is None:
            spot = Spot(self._topic, message.partition() or 0, message.offset() or 0)
            self._place.set_result(Place(spot.topic, self._generation, spot.partition, spot.offset))
            return spot
        fault: WalletError = OutcomeUnknown(self.idempotency_key, error.str())
        if error.code() in _DEFINITE:
            fault = Unavailable(
                error.name().lower(), error.str(), idempotency_key=self.idempotency_key
            )
        self._place.set_exception(fault)
        self._outcome.set_exception(fault)
        return None

    def settle(self, outcome: Event | WalletError) -> None:
        """Here it is."""
        fault = rejection_in(outcome) if isinstance(outcome, Event) else outcome
        if fault is not None:
            self._outcome.set_exception(fault)
        elif isinstance(outcome, Event):
            self._outcome.set_result(outcome)


class CommandProducer:
    """Puts commands on the topic of its role: keyed, partitioned and stamped as the worker wants.

    With ``outcomes`` it follows the events from before the first command, so that none is missed.
    Threads may share it. ``generation`` is 1 unless an operator had to begin a topic anew.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        issuer: str,
        *,
        role: Role = Role.SERVICE,
        outcomes: bool = True,
        topic_prefix: str = "",
        generation: int = 1,
        answer_seconds: float = 15.0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """``issuer`` is your service's name; ``config`` holds librdkafka's TLS, SASL and so on.

        Raises ``BrokerUnavailable`` if the broker does not tell within ``answer_seconds`` where
        the topics of outcomes end, does not have them, or does not let this service read them.
        """
        if not 1 <= len(issuer) <= 64:
            raise ValueError("an issuer has 1 to 64 characters")
        self._issuer = issuer
        self._role = role
        self._prefix = topic_prefix
        self._generation = generation
        self._registry = Registry()
        self._follower: Follower | None = None
        if outcomes:
            self._follower = Follower(
                bootstrap_servers, config, topic_prefix, self._registry, answer_seconds
            )
        self._producer = Producer(
            client_config(
                bootstrap_servers,
                config,
                acks="all",
                enable_idempotence=True,
                # As Java's clients do; the library's own default scatters a user.
                partitioner="murmur2_random",
                linger_ms=0,
                delivery_timeout_ms=30_000,
            )
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="wallet-producer", daemon=True)
        self._thread.start()

    def send(self, user_id: str, data: Model, *, idempotency_key: str) -> Sent:
        """Queue a command: ``data`` is its struct of ``wallet_client.models``.

        The key names what you want done, once: choose and keep it before you send, and use the
        same for each attempt. Raises ``NotPermitted`` and ``BadRequest`` before anything is sent.
        """
        kind, topic = self._kind_of(data)
        value = self._envelope(user_id, kind, data, idempotency_key)
        followed = self._follower is not None
        sent = Sent(user_id, idempotency_key, topic, self._generation, followed=followed)
        if self._follower is not None:
            self._registry.expect(sent)

        def report(error: KafkaError | None, message: Message) -> None:
            spot = sent.report(error, message)
            if self._follower is not None:
                if spot is None:
                    self._registry.forget(sent)
                else:
                    self._registry.delivered(sent, spot)

        try:
            self._produce(self._prefix + TOPICS[topic], user_id, value, report)
        except KafkaException as error:
            self._registry.forget(sent)
            raise Unavailable(
                "broker_unavailable", str(error), idempotency_key=idempotency_key
            ) from error
        return sent

    def _kind_of(self, data: Model) -> tuple[str, int]:
        known = COMMANDS.get(type(data))
        if known is None:
            raise BadRequest("unknown_type", f"{type(data).__name__} is no command")
        if known[1] != self._role:
            whose = Role(known[1]).name
            raise NotPermitted("not_permitted_here", f"{known[0]} is for the role {whose}")
        return known

    def _envelope(self, user_id: str, kind: str, data: Model, key: str) -> bytes:
        if (user_id == HOUSE) is not (type(data) in HOUSE_COMMANDS):
            raise BadRequest("wrong_user", "the house's commands carry its id, all others never")
        try:
            if str(uuid.UUID(user_id)) != user_id:
                raise ValueError(user_id)
        except ValueError:
            raise BadRequest("bad_user_id", "a user is a canonical UUID, lower case") from None
        if not 1 <= len(key) <= 255:
            raise BadRequest("bad_idempotency_key", "a key has 1 to 255 characters")
        try:
            body = checked(data)
        except msgspec.ValidationError as error:
            raise BadRequest("wrong_type", str(error), idempotency_key=key) from error
        value = encode(
            {
                "id": str(uuid.uuid4()),
                "type": kind,
                "version": _VERSION,
                "user_id": user_id,
                "idempotency_key": key,
                "issued_at": datetime.now(UTC),
                "issuer": self._issuer,
                "data": body,
            }
        )
        if len(value) > _RECORD_MAX_BYTES:
            raise BadRequest("too_large", "a command has at most 16 KiB", idempotency_key=key)
        return value

    def _produce(self, topic: str, user_id: str, value: bytes, report: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, user_id.encode(), on_delivery=report)
                return
            except BufferError:
                # The queue is full: a fast caller is slowed, not failed.
                self._producer.poll(0.05)

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(0.1)
            except (KafkaException, SystemError) as error:
                # Fatal: ``send`` raises from now on. What is queued is reported by the next calls.
                log.critical("the producer is of no more use: %s", error.__cause__ or error)

    def flush(self, timeout_seconds: float = 30.0) -> int:
        """Wait until the broker has all; how many it does not have yet."""
        return int(self._producer.flush(timeout_seconds))

    def close(self) -> None:
        """Send what is queued, then stop."""
        self.flush()
        self._closing.set()
        self._thread.join(timeout=5.0)
        if self._follower is not None:
            self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
