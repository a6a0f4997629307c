"""Settings of every client: the operator's pass through, those that money hangs on are fixed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, murmur2
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings, SettingsError
from streams.kafka.complaints import LIBRARY, OF_LATE, Complaints

#: What the wallet's promises hang on; a setting of the same name is refused, and so is the second
#: name that the library knows some of them by.
_FIXED: Final = frozenset(
    {
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "partitioner",
        "linger.ms",
        "queue.buffering.max.ms",
        "delivery.timeout.ms",
        "message.timeout.ms",
        "transactional.id",
        "transaction.timeout.ms",
        "group.id",
        "group.protocol",
        "partition.assignment.strategy",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "auto.offset.reset",
        "isolation.level",
    }
)


class KafkaUnavailable(Exception):
    """The broker does not answer; check WALLET_KAFKA_BOOTSTRAP_SERVERS and that it runs."""


class CannotBeRead(KafkaUnavailable):
    """A batch that the library cannot unpack; fetched again it is the same.

    ``offset`` is that of its first record, which may lie before what was asked for.
    """

    def __init__(self, offset: int, cause: str) -> None:
        super().__init__(f"what begins at offset {offset} cannot be read: {cause}")
        self.offset = offset


#: Nobody answers, whatever is asked.
_SILENCE: Final = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)

#: Of what was fetched.
_UNREADABLE: Final = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG})


def words_of(error: KafkaException | KafkaError, complaints: Complaints = OF_LATE) -> str:
    """What the library says of an error, as a sentence's end and not as its object.

    Where nobody answers, the reason is the last of the clients' ``complaints``.
    """
    cause: KafkaError = error.args[0] if isinstance(error, KafkaException) else error
    said = cause.str()
    if cause.code() in _SILENCE:
        return f"the broker does not answer: {complaints.last() or said}"
    return f"{said} ({cause.name()})"


def client_config(settings: Settings, **own: object) -> dict[str, Any]:
    """Settings for a client of the library: ours, and over them the operator's.

    Raises ``SettingsError`` for those of the operator's that must not be over ours.
    """
    settings.require("kafka")
    refused = _FIXED & settings.kafka.keys()
    if refused:
        raise SettingsError(
            f"librdkafka's {', '.join(sorted(refused))} cannot be set: "
            "the wallet's promises hang on it."
        )
    _try(frozenset(settings.kafka.items()))
    return {**own, **settings.kafka, "log_level": 3, "logger": LIBRARY}


#: Short, so that a successor need not wait long for the last transaction of a dead worker.
TRANSACTION_TIMEOUT_MS: Final = 10_000
#: The least that a client of ours asks for: what is taken with it is taken.
_SESSION_MS: Final = 6_000


@lru_cache
def _try(given: frozenset[tuple[str, str]]) -> None:
    """Raise ``SettingsError`` for what no client can be made of, by two that ask nobody.

    Settings are held against each other where a client of their kind is made, and there alone.
    """
    asking_nobody: dict[str, str | int | float | bool] = {
        **dict(given),
        "bootstrap.servers": "",
        "log_level": 0,
    }
    try:
        # It is the library's producer, with other calls.
        AdminClient(
            {
                **asking_nobody,
                "transactional.id": "none",
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            }
        )
        Consumer({"session.timeout.ms": _SESSION_MS, **asking_nobody, "group.id": "none"}).close()
    except KafkaException as error:
        cause = error.args[0].str().partition("Failed to create ")[2].partition(": ")[2]
        raise SettingsError(
            f"librdkafka does not take WALLET_KAFKA_*: {cause or error.args[0].str()}."
        ) from None


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as every Kafka client in Java computes it."""
    return int(murmur2(key, partitions))


def finished(future: Any) -> Any:
    """The result of an admin call; raises ``KafkaUnavailable``."""
    try:
        return future.result()
    except KafkaException as error:
        raise KafkaUnavailable(words_of(error)) from error


def sound(message: Message) -> Message:
    """The message, unless it stands for an error; then ``KafkaUnavailable``, and ``CannotBeRead``
    for what will never be had."""
    error: KafkaError | None = message.error()
    if error is None:
        return message
    offset = message.offset()
    if error.code() in _UNREADABLE and offset is not None and offset >= 0:
        raise CannotBeRead(offset, words_of(error))
    raise KafkaUnavailable(words_of(error))
