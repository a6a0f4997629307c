"""What is made from the contract is up to date, agrees with itself and with what reads the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from processors.ledger.decide import DECISIONS
from schemas import generate
from schemas.asyncapi import asyncapi
from schemas.commands import DATA_OF, TOPIC_OF, CommandType
from schemas.documents import all_schemas, command_schema, dead_letter_schema, event_schema
from schemas.envelope import read_command
from schemas.events import RESULT_OF, CloudEvent, EventType
from schemas.publications import Alert, DeadLetterNotice, Manifest
from schemas.rejections import Rejection
from schemas.sample_events import EVENT_OF
from schemas.samples import COMMANDS, WRECKS, user_of
from schemas.settings import Settings
from schemas.topics import TOPICS, CommandTopic

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "schemas" / "examples"

#: What a JSON Schema of the value alone cannot say: it sees neither key, partition nor topic,
#: and arithmetic on amounts is beyond it.
BEYOND_A_SCHEMA: Final = frozenset(
    {
        Rejection.EMPTY_RECORD,
        Rejection.TOO_LARGE,
        Rejection.NOT_UTF8,
        Rejection.NOT_JSON,
        Rejection.NOT_PERMITTED_HERE,
        Rejection.KEY_MISMATCH,
        Rejection.MISPLACED,
        Rejection.AMOUNT_TOO_LARGE,
        Rejection.UNPROCESSABLE,
    }
)


def _errors(schema: dict[str, Any], document: object) -> list[str]:
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(document)]


def test_nothing_that_is_made_is_stale() -> None:
    assert generate.stale() == [], "run `make docs`"


def test_making_it_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    written = generate.write(tmp_path)
    assert written == sorted(generate.files())
    assert generate.stale(tmp_path) == []
    assert generate.write(tmp_path) == []


def test_a_changed_a_missing_and_a_left_over_file_are_each_found_and_mended(tmp_path: Path) -> None:
    generate.write(tmp_path)
    (tmp_path / "docs/settings.md").write_text("changed by hand")
    (tmp_path / "schemas/asyncapi.json").unlink()
    (tmp_path / "schemas/json/commands/gone.json").write_text("{}")
    expected = ["docs/settings.md", "schemas/asyncapi.json", "schemas/json/commands/gone.json"]
    assert generate.stale(tmp_path) == expected
    assert generate.write(tmp_path) == expected
    assert generate.stale(tmp_path) == []


def test_the_check_of_the_command_line_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0
    assert generate.main(["--rubbish"]) == 2
    assert "usage" in capsys.readouterr().err


def test_every_command_and_event_is_described_and_decided() -> None:
    assert set(DATA_OF) == set(CommandType) == set(COMMANDS) == set(EVENT_OF)
    assert set(DECISIONS) == set(DATA_OF.values())
    outcomes = {EventType.COMMAND_REJECTED, EventType.COMMAND_REPLAYED}
    assert set(RESULT_OF) == set(EventType) - outcomes
    assert set(EVENT_OF.values()) == set(RESULT_OF) - {EventType.SALE_CREDITED}


@pytest.mark.parametrize("path", sorted(all_schemas()))
def test_every_schema_is_a_valid_one_with_a_name_of_its_own(path: str) -> None:
    schema = json.loads((ROOT / "schemas" / "json" / path).read_text())
    Draft202012Validator.check_schema(schema)
    ids = [other["$id"] for other in all_schemas().values()]
    assert ids.count(schema["$id"]) == 1


@pytest.mark.parametrize("kind", CommandType)
def test_every_command_example_fits_its_schema_and_is_read(kind: CommandType) -> None:
    value = (EXAMPLES / "commands" / f"{kind}.json").read_bytes()
    assert _errors(command_schema(kind), json.loads(value)) == []
    command = read_command(TOPIC_OF[kind], user_of(kind).encode(), value)
    assert (command.kind, command.data) == (kind, COMMANDS[kind])


@pytest.mark.parametrize("event", EventType)
def test_every_event_example_fits_its_schema(event: EventType) -> None:
    value = (EXAMPLES / "events" / f"{event}.json").read_bytes()
    assert _errors(event_schema(event), json.loads(value)) == []
    read = msgspec.json.decode(value, type=CloudEvent)
    if event in RESULT_OF:
        parts = msgspec.json.decode(read.data, type=dict[str, msgspec.Raw])
        msgspec.json.decode(parts["result"], type=RESULT_OF[event])


@pytest.mark.parametrize("event", EventType)
def test_an_event_may_grow_by_a_field_but_not_lose_one(event: EventType) -> None:
    document = json.loads((EXAMPLES / "events" / f"{event}.json").read_bytes())
    assert _errors(event_schema(event), {**document, "traceparent": "00-…"}) == []
    del document["sequence"]
    assert _errors(event_schema(event), document)


@pytest.mark.parametrize("code", WRECKS)
def test_every_dead_letter_example_shows_the_record_and_its_reason(code: Rejection) -> None:
    value = (EXAMPLES / "dead-letters" / f"{code}.json").read_bytes()
    assert _errors(dead_letter_schema(), json.loads(value)) == []
    notice = msgspec.json.decode(value, type=DeadLetterNotice)
    wreck = WRECKS[code]
    assert (notice.code, notice.key, notice.value) == (code, wreck.key, wreck.value)


def test_the_alert_example_fits_its_schema() -> None:
    value = (EXAMPLES / "alert.json").read_bytes()
    assert _errors(all_schemas()["alert.json"], json.loads(value)) == []
    msgspec.json.decode(value, type=Alert)


def test_the_manifest_example_fits_its_schema() -> None:
    value = (EXAMPLES / "manifest.json").read_bytes()
    assert _errors(all_schemas()["manifest.json"], json.loads(value)) == []
    msgspec.json.decode(value, type=Manifest)


@pytest.mark.parametrize("code", [code for code in WRECKS if code not in BEYOND_A_SCHEMA])
def test_what_the_worker_cannot_read_does_not_fit_the_schema_either(code: Rejection) -> None:
    document = json.loads(WRECKS[code].value or b"")
    name = document.get("type", "") if isinstance(document, dict) else ""
    known = [kind for kind in CommandType if kind == name]
    kind = known[0] if known else CommandType.LOCK_FUNDS
    assert _errors(command_schema(kind), document)


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for part in node.values():
            yield from _references(part)
    elif isinstance(node, list):
        for part in node:
            yield from _references(part)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    for reference in set(_references(document)):
        if reference.startswith("./"):
            assert (ROOT / "schemas" / reference).is_file(), reference
            continue
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


def test_the_asyncapi_document_has_each_topic_and_each_message_in_one_channel() -> None:
    document = asyncapi()
    channels = document["channels"].values()
    assert [channel["address"] for channel in channels] == [topic.name for topic in TOPICS]
    placed = [name for channel in channels for name in channel["messages"]]
    assert sorted(placed) == sorted(document["components"]["messages"])
    for operation in document["operations"].values():
        receives = len(operation["messages"]) and operation["action"] == "receive"
        commands = operation["channel"]["$ref"].startswith("#/channels/wallet_commands")
        dead_letters = operation["channel"]["$ref"].endswith("dead_letter")
        assert receives is (commands and not dead_letters)


def test_the_pages_name_every_command_event_rejection_topic_and_setting() -> None:
    catalogue = (ROOT / "docs" / "catalogue.md").read_text()
    words = [*CommandType, *EventType, *Rejection, *(topic.name for topic in TOPICS)]
    assert [word for word in words if f"`{word}`" not in catalogue] == []
    assert [code for code in Rejection if code.line.replace("|", "\\|") not in catalogue] == []
    settings = (ROOT / "docs" / "settings.md").read_text()
    rows = {line.split("`")[1]: line for line in settings.splitlines() if line.startswith("| `")}
    assert list(rows) == [f"WALLET_{name.upper()}" for name in Settings.__struct_fields__[:-1]]
    assert [name for name, row in rows.items() if row.endswith("|  |")] == [], "say what it is for"


def test_each_type_may_come_by_exactly_one_topic() -> None:
    assert set(TOPIC_OF) == set(CommandType)
    assert set(TOPIC_OF.values()) == set(CommandTopic)
