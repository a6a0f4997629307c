"""Settings of every client: the operator's pass through, those that money hangs on are fixed."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, murmur2
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings, SettingsError

#: What the wallet's promises hang on; a setting of the same name is refused.
_FIXED: Final = frozenset(
    {
        "acks",
        "enable.idempotence",
        "partitioner",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "isolation.level",
        "partition.assignment.strategy",
        "group.protocol",
        "transactional.id",
    }
)

_SELDOM_SECONDS: Final = 10.0
_COMPLAINTS_MAX: Final = 1_000


class KafkaUnavailable(Exception):
    """The broker does not answer; check WALLET_KAFKA_BOOTSTRAP_SERVERS and that it runs."""


class _Seldom(logging.Filter):
    """Lets a client's complaint through once in ten seconds, however often it is repeated.

    While a broker is away, each connection tries twenty times a second and says so each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is news."""
        complaint = record.getMessage().partition("(after")[0]
        if record.created - self._told.get(complaint, 0.0) < _SELDOM_SECONDS:
            return False
        if len(self._told) >= _COMPLAINTS_MAX:
            self._told.clear()
        self._told[complaint] = record.created
        return True


class _Complaints(logging.Handler):
    """Keeps what the clients complained of last, for the error that follows from it.

    That there is a handler at all keeps a command's screen free of the library's lines; services
    log them by their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[float, str] = (0.0, "")

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it, without the names of the library's threads."""
        self._last = (record.created, record.getMessage().rpartition("]: ")[2].strip())

    def last(self) -> str:
        """The last one of late, or nothing."""
        told, complaint = self._last
        return complaint if time.time() - told < _SELDOM_SECONDS else ""


_complaints: Final = _Complaints()
_log: Final = logging.getLogger("librdkafka")
_log.addFilter(_Seldom())
_log.addHandler(_complaints)

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


def words_of(error: KafkaException | KafkaError) -> str:
    """What the library says of an error, as a sentence's end and not as its object."""
    cause: KafkaError = error.args[0] if isinstance(error, KafkaException) else error
    said = cause.str()
    if cause.code() in _SILENCE:
        return f"the broker does not answer: {_complaints.last() or said}"
    return f"{said} ({cause.name()})"


def client_config(settings: Settings, **own: object) -> dict[str, Any]:
    """Settings for a client of the library: the operator's, then ours."""
    settings.require("kafka")
    refused = _FIXED & settings.kafka.keys()
    if refused:
        raise SettingsError(
            f"librdkafka's {', '.join(sorted(refused))} cannot be set: "
            "the wallet's promises hang on it."
        )
    _try(frozenset(settings.kafka.items()))
    return {**settings.kafka, **own, "log_level": 3, "logger": _log}


@lru_cache
def _try(given: frozenset[tuple[str, str]]) -> None:
    """Raise ``SettingsError`` for what no client can be made of, by one that asks nobody."""
    try:
        AdminClient({**dict(given), "bootstrap.servers": "", "log_level": 0})
    except KafkaException as error:
        cause = error.args[0].str().removeprefix("Failed to create admin client: ")
        raise SettingsError(f"librdkafka does not take WALLET_KAFKA_*: {cause}.") from None


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
    """The message, unless it stands for an error; then ``KafkaUnavailable``."""
    error: KafkaError | None = message.error()
    if error is not None:
        raise KafkaUnavailable(words_of(error))
    return message
