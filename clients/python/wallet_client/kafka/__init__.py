"""Commands and events by Kafka: needs ``wallet-client[kafka]``."""

from wallet_client.kafka.consumer import EventConsumer, EventsGone
from wallet_client.kafka.producer import CommandProducer, NotPermitted, Role, Sent

__all__ = [
    "CommandProducer",
    "EventConsumer",
    "EventsGone",
    "NotPermitted",
    "Role",
    "Sent",
]
