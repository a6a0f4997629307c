"""What the promises hang on is set here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message

from wallet_client.errors import WalletError

EVENTS: Final = "wallet.events"
DEAD_LETTERS: Final = "wallet.commands.dead-letter"

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


class BrokerUnavailable(WalletError):
    """The broker does not answer, or refuses."""


def client_config(servers: str, given: Mapping[str, Any] | None, **own: object) -> dict[str, Any]:
    """librdkafka's settings: yours (TLS, SASL, ...), then those that must be so."""
    theirs = dict(given or {})
    if refused := sorted(_FIXED & theirs.keys()):
        raise ValueError(f"{', '.join(refused)} cannot be set: the promises hang on it")
    names = {name.replace("_", "."): value for name, value in own.items()}
    return {**theirs, "bootstrap.servers": servers, **names}


def sound(message: Message) -> Message:
    """The message, unless it stands for an error: then ``BrokerUnavailable``."""
    error: KafkaError | None = message.error()
    if error is not None:
        raise BrokerUnavailable(f"{error.name()}: {error.str()}")
    return message


def unavailable(error: KafkaException) -> BrokerUnavailable:
    """The library's exception as ours."""
    return BrokerUnavailable(str(error))
