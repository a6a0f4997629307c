"""The AsyncAPI 3 document: every topic, who writes and reads it, and what its records look like."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.commands import DATA_OF, HOUSE_COMMANDS, TOPIC_OF, CommandType
from schemas.documents import sentence
from schemas.events import RESULT_OF, CommandRejected, CommandReplayed, EventType
from schemas.rejections import Rejection
from schemas.sample_events import event_value
from schemas.samples import ALERT, MANIFEST, command_value, dead_letter, user_of
from schemas.settings import Settings
from schemas.topics import (
    ALERTS,
    BATCHES,
    COMMAND_TOPIC_NAMES,
    DEAD_LETTERS,
    EVENT_DEAD_LETTERS,
    EVENTS,
    TOPICS,
    CommandTopic,
    TopicDefinition,
)

Node = dict[str, Any]

_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_BINDING: Final = "0.5.0"


def asyncapi() -> Node:
    """The document, from the wallet's point of view: it receives commands and sends the rest."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Wallet",
            "version": "1.0.0",
            "license": {"name": "Apache-2.0"},
            "description": (
                "Commands in by Kafka, a double-entry ledger, events out, exactly once. Every "
                "topic is keyed by the user's canonical UUID and partitioned by murmur2, as "
                "Java's clients do; librdkafka needs `partitioner=murmur2_random`. Topic names "
                "carry WALLET_TOPIC_PREFIX in front where it is set. Of a field that stands in a "
                "command twice the last counts; write each once."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "variables": {
                    "bootstrap": {
                        "default": "127.0.0.1:9092",
                        "description": "WALLET_KAFKA_BOOTSTRAP_SERVERS",
                    }
                },
            }
        },
        "channels": {_channel_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {_operation_id(topic): _operation(topic) for topic in TOPICS},
        "components": {"messages": _messages()},
    }


def _channel_id(topic: TopicDefinition) -> str:
    return topic.name.replace(".", "_").replace("-", "_")


def _operation_id(topic: TopicDefinition) -> str:
    verb = "receive" if topic.name in COMMAND_TOPIC_NAMES.values() else "send"
    return f"{verb}_{_channel_id(topic)}"


def _channel(topic: TopicDefinition) -> Node:
    configuration: Node = {}
    for name, value in topic.config.items():
        if name == "cleanup.policy":
            configuration[name] = [value]
        elif name.startswith("retention."):
            configuration[name] = int(value)
    return {
        "address": topic.name,
        "description": f"Written by: {topic.written_by}. Read by: {topic.read_by}.",
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _messages_of(topic)
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions or Settings().partitions,
                "topicConfiguration": configuration,
                "bindingVersion": _BINDING,
            }
        },
    }


def _messages_of(topic: TopicDefinition) -> list[str]:
    for code in CommandTopic:
        if topic.name == COMMAND_TOPIC_NAMES[code]:
            return [kind.value for kind in CommandType if TOPIC_OF[kind] is code]
    return {
        EVENTS: [event.value for event in EventType],
        BATCHES: ["manifest"],
        DEAD_LETTERS: ["dead-letter"],
        EVENT_DEAD_LETTERS: ["undeliverable-event"],
        ALERTS: ["alert"],
    }[topic.name]


def _operation(topic: TopicDefinition) -> Node:
    channel = f"#/channels/{_channel_id(topic)}"
    receives = topic.name in COMMAND_TOPIC_NAMES.values()
    return {
        "action": "receive" if receives else "send",
        "channel": {"$ref": channel},
        "summary": f"Written by {topic.written_by}; read by {topic.read_by}.",
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in _messages_of(topic)],
    }


def _messages() -> dict[str, Node]:
    messages = {
        kind.value: _message(
            kind.value,
            sentence(DATA_OF[kind]),
            f"commands/{kind}.json",
            command_value(kind),
            {"const": user_of(kind)} if kind in HOUSE_COMMANDS else _USER_KEY,
        )
        for kind in CommandType
    }
    for event in EventType:
        messages[event.value] = _message(
            event.value, _about(event), f"events/{event}.json", event_value(event), _USER_KEY
        )
    messages["manifest"] = _message(
        "manifest",
        "What a batch took from one partition.",
        "manifest.json",
        msgspec.json.encode(MANIFEST),
    )
    messages["dead-letter"] = _message(
        "dead-letter",
        "A record that is no command; key and value in base64.",
        "dead-letter.json",
        msgspec.json.encode(dead_letter(Rejection.UNKNOWN_FIELD)),
    )
    messages["undeliverable-event"] = {
        "name": "undeliverable-event",
        "summary": "An event that EventBridge can never take: why, where it stood, and its value.",
        "payload": {"type": "object"},
    }
    messages["alert"] = _message(
        "alert",
        "Something that an operator should look at: an alarm, or an incident's start or end.",
        "alert.json",
        msgspec.json.encode(ALERT),
    )
    return messages


_USER_KEY: Final[Node] = {"type": "string", "format": "uuid", "description": "the user_id"}


def _about(event: EventType) -> str:
    if event is EventType.COMMAND_REJECTED:
        return sentence(CommandRejected)
    if event is EventType.COMMAND_REPLAYED:
        return sentence(CommandReplayed)
    return sentence(RESULT_OF[event])


def _message(name: str, summary: str, path: str, example: bytes, key: Node | None = None) -> Node:
    node: Node = {
        "name": name,
        "summary": summary,
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./json/{path}"}},
        "examples": [{"payload": msgspec.json.decode(example)}],
    }
    if key is not None:
        node["bindings"] = {"kafka": {"key": key, "bindingVersion": _BINDING}}
    return node
