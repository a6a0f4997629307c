"""The pages made from the contract: ``docs/catalogue.md`` and ``docs/settings.md``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from schemas.commands import DATA_OF, HOUSE_COMMANDS, TOPIC_OF, CommandType
from schemas.documents import Schema, command_schema, event_schema, sentence
from schemas.events import RESULT_OF, CommandRejected, CommandReplayed, EventType
from schemas.rejections import Rejection, is_dead_letter
from schemas.sample_events import EVENT_OF, SELLERS_EVENT_OF
from schemas.settings import PREFIX, Settings, is_secret
from schemas.topics import COMMAND_TOPIC_NAMES, RECORD_MAX_BYTES, TOPICS, CommandTopic

_MADE = "<!-- Made by `make docs` from schemas/; change it there. -->"


def catalogue() -> str:
    """Commands, events, rejections and topics as one page."""
    return "\n".join(
        [
            "# The catalogue",
            "",
            _MADE,
            "",
            "Everything that the wallet reads and writes on Kafka. The JSON Schema of each is in "
            "`schemas/json`, an example as it stands on the wire in `schemas/examples`, and all of "
            "it as one AsyncAPI 3 document in `schemas/asyncapi.json`.",
            "",
            *_topics(),
            *_commands(),
            *_events(),
            *_rejections(),
        ]
    )


def _table(*rows: Iterable[str]) -> Iterator[str]:
    """A table of its head and rows."""
    for number, row in enumerate(rows):
        cells = [cell.replace("|", "\\|") for cell in row]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{'---|' * len(cells)}"
    yield ""


def _topics() -> Iterator[str]:
    yield "## Topics"
    yield ""
    yield (
        "Keyed by the user's canonical UUID as UTF-8 and partitioned by murmur2 as Java's clients "
        "do (librdkafka: `partitioner=murmur2_random`). `WALLET_TOPIC_PREFIX`, where it is set, "
        "stands in front of each name."
    )
    yield ""
    rows = [("topic", "written by", "read by", "kept")]
    for topic in TOPICS:
        kept = "for ever" if topic.config["retention.ms"] == "-1" else "a week"
        rows.append((f"`{topic.name}`", topic.written_by, topic.read_by, kept))
    yield from _table(*rows)


def _commands() -> Iterator[str]:
    yield "## Commands"
    yield ""
    yield (
        f"A record's value is one JSON object of at most {RECORD_MAX_BYTES} bytes: the envelope "
        "below, and in `data` the fields of the type. Of a field that stands twice the last "
        "counts; write each once. Each type may come by one topic alone, which is how Kafka's ACLs "
        "decide who can create money; elsewhere it is a dead letter, `not_permitted_here`."
    )
    yield ""
    schema = command_schema(CommandType.OPEN_WALLET)
    yield from _fields({**schema, "properties": {**schema["properties"], "type": _TYPE}}, schema)
    for topic in CommandTopic:
        yield f"### By `{COMMAND_TOPIC_NAMES[topic]}`"
        yield ""
        for kind in CommandType:
            if TOPIC_OF[kind] is topic:
                yield from _command(kind)


_TYPE: Schema = {"type": "string", "description": "the command's name"}


def _command(kind: CommandType) -> Iterator[str]:
    data = DATA_OF[kind]
    yield f"#### `{kind}`"
    yield ""
    yield sentence(data) + (" Keyed by the house." if kind in HOUSE_COMMANDS else "")
    gives = f"Gives `{EVENT_OF[kind]}`"
    if kind in SELLERS_EVENT_OF:
        gives += f", and the seller `{SELLERS_EVENT_OF[kind]}`"
    yield f"{gives}. {_links(f'commands/{kind}.json')}"
    yield ""
    schema = command_schema(kind)
    yield from _fields(schema["$defs"][data.__name__], schema)


def _links(path: str) -> str:
    return f"[Schema](../schemas/json/{path}), [example](../schemas/examples/{path})."


def _events() -> Iterator[str]:
    yield "## Events"
    yield ""
    yield (
        "On `wallet.events`, as CloudEvents 1.0 in JSON; read them with "
        "`isolation.level=read_committed` and each is seen once. Deduplicate by `id`, order one "
        "subject's by `sequence` (gap-free, rejections included): a seller's and a buyer's "
        "commands run in different partitions, so a gap means late, not lost. Fields may be added."
    )
    yield ""
    schema = event_schema(EventType.WALLET_OPENED)
    yield from _fields(schema, schema)
    yield "What an acceptance carries in `data` is `result`, as below, and `balance`:"
    yield ""
    yield from _fields(schema["$defs"]["Balance"], schema)
    for event in EventType:
        yield from _event(event)


def _event(event: EventType) -> Iterator[str]:
    if event is EventType.COMMAND_REJECTED:
        struct: type[msgspec.Struct] = CommandRejected
    elif event is EventType.COMMAND_REPLAYED:
        struct = CommandReplayed
    else:
        struct = RESULT_OF[event]
    yield f"#### `{event}`"
    yield ""
    yield sentence(struct)
    yield _links(f"events/{event}.json")
    yield ""
    schema = event_schema(event)
    yield from _fields(schema["$defs"][struct.__name__], schema)


def _fields(part: Schema, whole: Schema) -> Iterator[str]:
    required = set(part.get("required", ()))
    rows = [("field", "type", "", "what")]
    for name, schema in part.get("properties", {}).items():
        rows.append(
            (
                f"`{name}`",
                _type_of(schema, whole),
                "" if name in required else "optional",
                schema.get("description", ""),
            )
        )
    if len(rows) == 1:
        yield "No fields: `data` is `{}`."
        yield ""
        return
    yield from _table(*rows)


def _type_of(schema: Schema, whole: Schema) -> str:
    """A field's type in a few words."""
    match schema:
        case {"$ref": str(path)}:
            name = path.rpartition("/")[2]
            target = whole["$defs"][name]
            return _type_of(target, whole) if "enum" in target else "object"
        case {"const": value}:
            return f"`{value}`"
        case {"enum": list(values)}:
            return " or ".join(f"`{value}`" for value in values)
        case {"anyOf": list(options)}:
            return " or ".join(_type_of(option, whole) for option in options)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type_of(items, whole)}"
        case {"type": "integer"}:
            return f"integer{_bounds(schema.get('minimum'), schema.get('maximum'))}"
        case {"type": "string", "maxLength": most}:
            return f"text of {schema.get('minLength', 0)} to {most} characters"
        case {"type": "string", "pattern": str(pattern)} if "\\." in pattern:
            return "amount"
        case {"type": "string", "format": str(form)}:
            return form
        case {"type": "string"}:
            return "text"
        case {"type": str(name)}:
            return name
    return "object"


def _bounds(least: Any, most: Any) -> str:
    if least is None:
        return ""
    return f", {least} to {most}" if most is not None else f" from {least}"


def _rejections() -> Iterator[str]:
    yield "## Rejections"
    yield ""
    yield "In order of precedence: where several apply, the earlier one is told."
    yield ""
    yield (
        "A record that cannot be read as a command becomes a dead letter, on "
        "`wallet.commands.dead-letter` and in the table `dead_letters`, and its partition moves on:"
    )
    yield ""
    dead = [code for code in Rejection if is_dead_letter(code)]
    yield from _table(("code", "why"), *((f"`{code}`", code.line) for code in dead))
    yield (
        "A command that was understood is rejected; the rejection is its outcome, stored and "
        "published like an acceptance:"
    )
    yield ""
    business = [code for code in Rejection if not is_dead_letter(code)]
    yield from _table(("code", "why"), *((f"`{code}`", code.line) for code in business))


def settings_page() -> str:
    """Every ``WALLET_*`` variable as one page."""
    about = _settings_comments()
    rows = [("variable", "default", "what")]
    for field in msgspec.structs.fields(Settings):
        if field.name == "kafka":
            continue
        variable = f"{PREFIX}{field.name.upper()}"
        what = about.get(field.name, "")
        if is_secret(variable):
            what += " Printed as stars."
        default = f"`{field.default}`" if field.default != "" else ""
        rows.append((f"`{variable}`", default, what.strip()))
    return "\n".join(
        [
            "# Settings",
            "",
            _MADE,
            "",
            "All settings are environment variables, read in one place (`schemas/settings.py`); an "
            "unknown `WALLET_*` variable is refused, so that a misspelt one cannot go unnoticed. "
            "`wallet settings` prints those in force, secrets starred.",
            "",
            *_table(*rows),
            "Everything that starts with `WALLET_KAFKA_` is passed to librdkafka: "
            "`WALLET_KAFKA_BOOTSTRAP_SERVERS` becomes `bootstrap.servers`, and "
            "`WALLET_KAFKA_SASL_USERNAME` `sasl.username`. They stand over what the wallet sets "
            "itself: `WALLET_KAFKA_SESSION_TIMEOUT_MS` is how long the partitions of a dead worker "
            "(6 s) or bridge (10 s) wait for another. What the wallet's promises hang on (`acks`, "
            "`enable.idempotence`, `partitioner`, `isolation.level`, …) is refused.",
            "",
        ]
    )


def _settings_comments() -> dict[str, str]:
    """The ``#:`` comment above each field of the settings."""
    comments: dict[str, str] = {}
    gathered: list[str] = []
    for line in inspect.getsource(Settings).splitlines():
        text = line.strip()
        field = re.match(r"([a-z_]+): ", text)
        if text.startswith("#:"):
            gathered.append(text[2:].strip())
        elif field and gathered:
            comments[field.group(1)] = " ".join(gathered).replace("``", "`")
            gathered = []
    return comments
