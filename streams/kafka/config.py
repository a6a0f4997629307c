"""Settings of every client: the operator's pass through, those that money hangs on are fixed."""

from __future__ import annotations

import logging
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, murmur2

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


_log: Final = logging.getLogger("librdkafka")
_log.addFilter(_Seldom())


def client_config(settings: Settings, **own: object) -> dict[str, Any]:
    """Settings for a client of the library: the operator's, then ours."""
    settings.require("kafka")
    refused = _FIXED & settings.kafka.keys()
    if refused:
        raise SettingsError(
            f"librdkafka's {', '.join(sorted(refused))} cannot be set: "
            "the wallet's promises hang on it."
        )
    return {**settings.kafka, **own, "log_level": 3, "logger": _log}


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as every Kafka client in Java computes it."""
    return int(murmur2(key, partitions))


def finished(future: Any) -> Any:
    """The result of an admin call; raises ``KafkaUnavailable``."""
    try:
        return future.result()
    except KafkaException as error:
        raise KafkaUnavailable(str(error)) from error


def sound(message: Message) -> Message:
    """The message, unless it stands for an error; then ``KafkaUnavailable``."""
    error: KafkaError | None = message.error()
    if error is not None:
        raise KafkaUnavailable(f"{error.name()}: {error.str()}")
    return message
