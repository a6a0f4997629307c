"""JSON Schemas (2020-12) of everything on the wire, made of the same structs that read it.

Commands are strict, since an unknown field is a misspelt one. Events are open: a consumer must
bear a field that it does not know, so that events can grow.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from schemas.amounts import AMOUNT_PATTERN, Koinu, Share
from schemas.commands import DATA_OF, HOUSE_COMMANDS, TOPIC_OF, VERSION, CommandType
from schemas.envelope import Envelope
from schemas.events import (
    RESULT_OF,
    Balance,
    CloudEvent,
    CommandRejected,
    CommandReplayed,
    EventType,
)
from schemas.ledger import HOUSE
from schemas.publications import Alert, DeadLetterNotice, Manifest
from schemas.rejections import Rejection, is_dead_letter
from schemas.topics import COMMAND_TOPIC_NAMES, RECORD_MAX_BYTES

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: Names, not addresses: nothing is fetched by them.
BASE: Final = "urn:wallet:"

_TEXT_PATTERN: Final = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
_ZERO_PATTERN: Final = r"^0(\.0+)?$"


def _custom(kind: type) -> Schema:
    schema: Schema = {"type": "string", "pattern": AMOUNT_PATTERN, "examples": ["12.50000000"]}
    if kind is Koinu:
        return {
            **schema,
            "description": "DOGE as decimal text, more than zero, at most 8 decimals",
            "not": {"pattern": _ZERO_PATTERN},
        }
    if kind is Share:
        return {**schema, "description": "DOGE as decimal text, zero or more, at most 8 decimals"}
    raise TypeError(f"{kind} has no schema")


def sentence(struct: type) -> str:
    """A struct's docstring as running text."""
    return " ".join((inspect.getdoc(struct) or "").replace("``", "`").split())


def _parts(*structs: type[msgspec.Struct]) -> dict[str, Schema]:
    """Schemas of structs and of all that they hold, by name."""
    _, parts = msgspec.json.schema_components(
        structs, schema_hook=_custom, ref_template="#/$defs/{name}"
    )
    for part in parts.values():
        if "description" in part:
            part["description"] = " ".join(part["description"].replace("``", "`").split())
    return parts


def _refuse_control_characters(schema: object) -> None:
    """Give every free text the pattern that the worker holds it to."""
    if isinstance(schema, dict):
        if schema.get("type") == "string" and not {"pattern", "enum", "format"} & schema.keys():
            schema["pattern"] = _TEXT_PATTERN
        for part in schema.values():
            _refuse_control_characters(part)
    elif isinstance(schema, list):
        for part in schema:
            _refuse_control_characters(part)


def command_schema(kind: CommandType) -> Schema:
    """The whole record's value: envelope and data."""
    data = DATA_OF[kind]
    parts = _parts(Envelope, data)
    envelope = parts.pop("Envelope")
    _refuse_control_characters(envelope)
    _refuse_control_characters(parts)
    properties = envelope["properties"]
    properties["id"]["description"] = "the producer's own, for tracing; need not be unique"
    properties["type"] = {"const": kind.value}
    properties["version"] = {"const": VERSION}
    properties["user_id"] |= (
        {"const": HOUSE, "description": "the house; also the record's key"}
        if kind in HOUSE_COMMANDS
        else {
            "not": {"const": HOUSE},
            "description": "a canonical UUID; also the record's key",
        }
    )
    properties["idempotency_key"]["description"] = (
        "makes the request unique within user and topic: sent again, it is replayed, not repeated"
    )
    properties["issued_at"]["description"] = "when the producer made it, with its offset from UTC"
    properties["issuer"]["description"] = "the service that made it"
    properties["data"] = {"$ref": f"#/$defs/{data.__name__}"}
    topic = COMMAND_TOPIC_NAMES[TOPIC_OF[kind]]
    return {
        "$schema": DIALECT,
        "$id": f"{BASE}command:{kind}:{VERSION}",
        "title": kind.value,
        "description": (
            f"{sentence(data)} Comes by the topic {topic} alone, keyed by user_id, in at most "
            f"{RECORD_MAX_BYTES} bytes of UTF-8."
        ),
        **{key: envelope[key] for key in ("type", "properties", "required")},
        "additionalProperties": False,
        "$defs": parts,
    }


def event_schema(event: EventType) -> Schema:
    """The whole record's value: a CloudEvent and its data."""
    if event is EventType.COMMAND_REJECTED:
        data: Schema = {"$ref": "#/$defs/CommandRejected"}
        parts = _parts(CloudEvent, CommandRejected)
        about = sentence(CommandRejected)
        parts["CommandRejected"]["properties"]["code"] = {
            "enum": [code.value for code in Rejection if not is_dead_letter(code)]
        }
    elif event is EventType.COMMAND_REPLAYED:
        data = {"$ref": "#/$defs/CommandReplayed"}
        parts = _parts(CloudEvent, CommandReplayed)
        about = sentence(CommandReplayed)
    else:
        result = RESULT_OF[event]
        parts = _parts(CloudEvent, result, Balance)
        about = sentence(result)
        data = {
            "type": "object",
            "properties": {
                "result": {"$ref": f"#/$defs/{result.__name__}"},
                "balance": {"$ref": "#/$defs/Balance"},
            },
            "required": ["result", "balance"],
        }
    envelope = parts.pop("CloudEvent")
    properties = envelope["properties"]
    properties["type"] = {"const": event.value}
    properties["source"] = {"const": "wallet"}
    properties["sequence"] |= {"minimum": 1}
    properties["data"] = data
    return {
        "$schema": DIALECT,
        "$id": f"{BASE}event:{event}",
        "title": event.value,
        "description": f"{about} {sentence(CloudEvent)}",
        "type": "object",
        "properties": properties,
        # What is always written has a default for the writer alone.
        "required": [name for name in properties if name != "idempotencykey"],
        "$defs": parts,
    }


def rejection_schema() -> Schema:
    """Every code with its line, in order of precedence."""
    return {
        "$schema": DIALECT,
        "$id": f"{BASE}rejection",
        "title": "rejection",
        "description": (
            "Why a record is a dead letter (dead_letter: true) or a command is rejected, in order "
            "of precedence: the earlier one is told where several apply."
        ),
        "oneOf": [
            {"const": code.value, "description": code.line, "dead_letter": is_dead_letter(code)}
            for code in Rejection
        ],
    }


def _publication_schema(name: str, struct: type[msgspec.Struct]) -> Schema:
    parts = _parts(struct)
    root = parts.pop(struct.__name__)
    return {
        "$schema": DIALECT,
        "$id": f"{BASE}{name}",
        **root,
        "title": name,
        **({"$defs": parts} if parts else {}),
    }


def dead_letter_schema() -> Schema:
    """A record of the dead-letter topic."""
    schema = _publication_schema("dead-letter", DeadLetterNotice)
    schema["properties"]["code"] = {
        "enum": [code.value for code in Rejection if is_dead_letter(code)]
    }
    return schema


def manifest_schema() -> Schema:
    """A record of the batches topic."""
    return _publication_schema("manifest", Manifest)


def alert_schema() -> Schema:
    """A record of the alerts' topic."""
    return _publication_schema("alert", Alert)


def all_schemas() -> Mapping[str, Schema]:
    """Path below ``schemas/json`` to schema."""
    return {
        **{f"commands/{kind}.json": command_schema(kind) for kind in CommandType},
        **{f"events/{event}.json": event_schema(event) for event in EventType},
        "rejections.json": rejection_schema(),
        "dead-letter.json": dead_letter_schema(),
        "manifest.json": manifest_schema(),
        "alert.json": alert_schema(),
    }
