"""The envelope: read strictly, and every fault of a record named, the first one first."""

from __future__ import annotations

import gc
import json
from itertools import combinations
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.amounts import Koinu
from schemas.commands import DATA_OF, TOPIC_OF, CommandType, LockFunds
from schemas.envelope import decode_data, read_command
from schemas.ledger import HOUSE
from schemas.rejections import Malformed, Rejection, is_dead_letter, precedence
from schemas.samples import BUYER, COMMANDS, SELLER, WRECKS, command_value, user_of
from schemas.topics import RECORD_MAX_BYTES, CommandTopic

SERVICES: Final = CommandTopic.SERVICES
KEY: Final = BUYER.encode()
GONE: Final = object()


def changed(kind: CommandType = CommandType.LOCK_FUNDS, **changes: Any) -> bytes:
    """The sample of a command with fields changed; ``data__x`` names a field of its data."""
    document = json.loads(command_value(kind))
    for name, value in changes.items():
        part, field = (
            (document["data"], name[6:]) if name.startswith("data__") else (document, name)
        )
        if value is GONE:
            del part[field]
        else:
            part[field] = value
    return json.dumps(document).encode()


def code_of(
    value: bytes | None,
    *,
    topic: CommandTopic = SERVICES,
    key: bytes | None = KEY,
    placed: bool = True,
) -> Rejection | None:
    try:
        read_command(topic, key, value, placed=placed)
    except Malformed as fault:
        assert fault.detail
        return fault.code
    return None


def test_a_fault_holds_nothing_of_whoever_read_the_record() -> None:
    # A traceback knows its callers' frames, and these a whole batch: with a cycle among them every
    # batch stays in memory until the next collection.
    gc.collect()
    gc.disable()
    try:
        for wreck in WRECKS.values():
            code_of(wreck.value, topic=wreck.topic, key=wreck.key, placed=wreck.placed)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("code", [code for code in WRECKS if code is not Rejection.UNPROCESSABLE])
def test_each_fault_of_a_record_is_told_by_its_code(code: Rejection) -> None:
    wreck = WRECKS[code]
    assert code_of(wreck.value, topic=wreck.topic, key=wreck.key, placed=wreck.placed) is code


def test_no_dead_letters_reason_is_left_without_a_record_that_has_it() -> None:
    # UNPROCESSABLE is the database's to say; the worker's tests reach it.
    assert list(WRECKS) == [code for code in Rejection if is_dead_letter(code)]


def test_every_rejection_has_a_line_of_its_own_that_fits_a_table() -> None:
    lines = [code.line for code in Rejection]
    assert len(set(lines)) == len(lines)
    assert all(line.endswith(".") and len(line) < 100 for line in lines)
    assert [precedence(code) for code in Rejection] == list(range(len(lines)))


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (Rejection.UNKNOWN_FIELD, {"priority": 1}),
        (Rejection.UNKNOWN_FIELD, {"data__amout": "1"}),
        (Rejection.MISSING_FIELD, {"id": GONE}),
        (Rejection.MISSING_FIELD, {"data": GONE}),
        (Rejection.MISSING_FIELD, {"data": {}}),
        (Rejection.MISSING_FIELD, {"data__amount": GONE}),
        (Rejection.WRONG_TYPE, {"version": "1"}),
        (Rejection.WRONG_TYPE, {"version": 1.0}),
        (Rejection.WRONG_TYPE, {"version": True}),
        (Rejection.WRONG_TYPE, {"version": None}),
        (Rejection.WRONG_TYPE, {"user_id": 7}),
        (Rejection.WRONG_TYPE, {"data": []}),
        (Rejection.WRONG_TYPE, {"data": None}),
        (Rejection.WRONG_TYPE, {"data": "{}"}),
        (Rejection.WRONG_TYPE, {"issued_at": 1_767_225_600}),
        (Rejection.WRONG_TYPE, {"data__reference_id": 1042}),
        (Rejection.WRONG_VERSION, {"version": 0}),
        (Rejection.WRONG_VERSION, {"version": -1}),
        (Rejection.WRONG_VERSION, {"version": 10**30}),
        (Rejection.UNKNOWN_TYPE, {"type": ""}),
        (Rejection.UNKNOWN_TYPE, {"type": "LOCK_FUNDS"}),
        (Rejection.UNKNOWN_TYPE, {"type": "lock_funds\n"}),
        (Rejection.NOT_PERMITTED_HERE, {"type": "fund", "data": {"amount": "1"}}),
        (Rejection.BAD_USER_ID, {"user_id": ""}),
        (Rejection.BAD_USER_ID, {"user_id": BUYER.replace("-", "")}),
        (Rejection.BAD_USER_ID, {"user_id": f"{{{BUYER}}}"}),
        (Rejection.KEY_MISMATCH, {"user_id": SELLER}),
        (Rejection.BAD_IDEMPOTENCY_KEY, {"idempotency_key": ""}),
        (Rejection.BAD_TEXT, {"id": ""}),
        (Rejection.BAD_TEXT, {"id": "x" * 129}),
        (Rejection.BAD_TEXT, {"issuer": "x" * 65}),
        (Rejection.BAD_TEXT, {"data__reference_type": "x" * 129}),
        (Rejection.CONTROL_CHARACTERS, {"id": "a\x00b"}),
        (Rejection.CONTROL_CHARACTERS, {"idempotency_key": "tab\there"}),
        (Rejection.CONTROL_CHARACTERS, {"issuer": "del\x7f"}),
        (Rejection.CONTROL_CHARACTERS, {"data__reference_id": "c1\x85"}),
        (Rejection.BAD_TIME, {"issued_at": "yesterday"}),
        (Rejection.BAD_TIME, {"issued_at": "2026-13-01T00:00:00Z"}),
        (Rejection.AMOUNT_NOT_TEXT, {"data__amount": 12}),
        (Rejection.AMOUNT_NOT_TEXT, {"data__amount": None}),
        (Rejection.AMOUNT_NOT_TEXT, {"data__amount": ["12"]}),
        (Rejection.AMOUNT_MALFORMED, {"data__amount": "1e3"}),
    ],
)
def test_strictness(code: Rejection, changes: dict[str, Any]) -> None:
    assert code_of(changed(**changes)) is code


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (Rejection.EMPTY_RECORD, None),
        (Rejection.EMPTY_RECORD, b""),
        (Rejection.NOT_JSON, b" "),
        (Rejection.NOT_JSON, b"lock 5 DOGE"),
        (Rejection.NOT_JSON, command_value(CommandType.LOCK_FUNDS) * 2),
        (Rejection.NOT_JSON, b"\xef\xbb\xbf" + command_value(CommandType.LOCK_FUNDS)),
        (Rejection.NOT_JSON, b"[" * 10_000),
        (Rejection.NOT_JSON, b'{"a":' * 2_000),
        (Rejection.NOT_JSON, b'{"amount": NaN}'),
        (Rejection.NOT_JSON, changed(issuer="?").replace(b'"?"', b'"\\ud800"')),
        (Rejection.NOT_AN_OBJECT, b"null"),
        (Rejection.NOT_AN_OBJECT, b'"lock"'),
        (Rejection.NOT_AN_OBJECT, b"5"),
        (Rejection.NOT_UTF8, b"\xff\xfe"),
        (Rejection.NOT_UTF8, b"\xc3("),
        (Rejection.TOO_LARGE, b"x" * (RECORD_MAX_BYTES + 1)),
        (Rejection.WRONG_TYPE, b'{"version":"1",' + command_value(CommandType.LOCK_FUNDS)[1:]),
    ],
)
def test_bytes_that_are_no_command(code: Rejection, value: bytes | None) -> None:
    assert code_of(value) is code


def test_what_is_not_utf8_is_told_by_its_byte_in_our_own_words() -> None:
    with pytest.raises(Malformed) as refused:
        read_command(SERVICES, KEY, b'{"id": "\xff"}')
    assert refused.value.detail == "The value is not UTF-8 text: byte 9 of 11 is 0xff"


def test_a_record_of_just_the_largest_size_is_read() -> None:
    value = command_value(CommandType.LOCK_FUNDS)
    assert code_of(value.ljust(RECORD_MAX_BYTES)) is None


@pytest.mark.parametrize("key", [None, b"", KEY + b"\n", KEY.upper(), b"\xff", SELLER.encode()])
def test_the_records_key_must_be_the_user(key: bytes | None) -> None:
    assert code_of(command_value(CommandType.LOCK_FUNDS), key=key) is Rejection.KEY_MISMATCH


def test_house_commands_are_the_houses_alone_and_others_never() -> None:
    fund = changed(CommandType.FUND, user_id=BUYER)
    assert code_of(fund, topic=CommandTopic.TREASURY) is Rejection.WRONG_USER
    lock = changed(user_id=HOUSE)
    assert code_of(lock, key=HOUSE.encode()) is Rejection.WRONG_USER


@pytest.mark.parametrize("kind", CommandType)
def test_a_type_is_read_from_its_own_topic_alone(kind: CommandType) -> None:
    for topic in CommandTopic:
        expected = None if topic is TOPIC_OF[kind] else Rejection.NOT_PERMITTED_HERE
        assert code_of(command_value(kind), topic=topic, key=user_of(kind).encode()) is expected


#: Faults that do not hide each other, each by what it changes in the sample of ``lock_funds``.
FAULTS: Final[dict[Rejection, dict[str, Any]]] = {
    Rejection.UNKNOWN_FIELD: {"priority": 1},
    Rejection.MISSING_FIELD: {"id": GONE},
    Rejection.WRONG_TYPE: {"issuer": 5},
    Rejection.BAD_IDEMPOTENCY_KEY: {"idempotency_key": ""},
    Rejection.BAD_TEXT: {"data__reference_id": ""},
    Rejection.CONTROL_CHARACTERS: {"data__reference_type": "\n"},
    Rejection.BAD_TIME: {"issued_at": "noon"},
    Rejection.AMOUNT_ZERO: {"data__amount": "0"},
}


@pytest.mark.parametrize(("one", "other"), list(combinations(FAULTS, 2)))
def test_of_two_faults_the_earlier_in_the_list_is_told(one: Rejection, other: Rejection) -> None:
    assert code_of(changed(**FAULTS[one], **FAULTS[other])) is min(one, other, key=precedence)


@pytest.mark.parametrize("code", FAULTS)
def test_faults_of_key_and_partition_take_their_place_in_the_order(code: Rejection) -> None:
    value = changed(**FAULTS[code])
    expected = min(code, Rejection.KEY_MISMATCH, key=precedence)
    assert code_of(value, key=SELLER.encode()) is expected
    assert code_of(value, placed=False) is min(code, Rejection.MISPLACED, key=precedence)


def test_the_data_of_another_version_is_not_judged_by_this_one() -> None:
    assert code_of(changed(version=2, data={"new": "shape"})) is Rejection.WRONG_VERSION


@pytest.mark.parametrize(
    "value",
    [
        changed().replace(b'"issuer"', b'"' + b"\\u0000" * 2000 + b'"'),
        changed(type="\0" * 2000),
        changed(type="fund\0", data__amount="\0" * 2000),
        changed(data__amount="\0" * 2000),
        changed(CommandType.MOVE_CUSTODY, data__source="\0" * 2000),
        changed(version="\0" * 2000),
        changed(version="X" * 12).replace(b"X", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
        changed(version="X").replace(b"X", b"\x7f"),
    ],
)
def test_a_fault_quotes_what_a_stranger_wrote_shortly_and_without_control_characters(
    value: bytes,
) -> None:
    with pytest.raises(Malformed) as refused:
        read_command(CommandTopic.TREASURY if b"custody" in value else SERVICES, KEY, value)
    assert len(refused.value.detail) < 500
    assert refused.value.detail.isprintable()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just("12.5"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
fields = st.sampled_from([*json.loads(command_value(CommandType.LOCK_FUNDS)), "data__amount", "x"])


@given(st.dictionaries(fields, json_values, max_size=4))
def test_a_command_with_any_fields_changed_is_read_or_told_a_dead_letters_code(
    changes: dict[str, Any],
) -> None:
    if "data" in changes:
        changes.pop("data__amount", None)
    value = changed(**changes)
    # As escapes and as the letters themselves, which a record may be cut within.
    for written in (value, json.dumps(json.loads(value), ensure_ascii=False).encode()):
        code = code_of(written)
        assert code is None or is_dead_letter(code)


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_told_a_dead_letters_code(value: bytes) -> None:
    code = code_of(value)
    assert code is not None
    assert is_dead_letter(code)


def test_amounts_written_differently_are_the_same_request() -> None:
    hashes = {
        read_command(SERVICES, KEY, changed(data__amount=amount)).request_hash
        for amount in ("12.5", "12.50", "12.50000000")
    }
    assert len(hashes) == 1


def test_of_a_field_that_stands_in_a_record_twice_the_last_counts() -> None:
    # What an old log decides never changes; the API, which is no log, refuses such a body.
    value = changed(data__amount="1").replace(b'"amount"', b'"amount": "7", "amount"')
    assert value.count(b'"amount"') == 2
    command = read_command(SERVICES, KEY, value)
    assert command == read_command(SERVICES, KEY, changed(data__amount="1"))
    # The first must be sound, too.
    assert code_of(value.replace(b'"7"', b"7")) is Rejection.AMOUNT_NOT_TEXT


def test_what_only_traces_a_command_is_not_part_of_the_request() -> None:
    one = read_command(SERVICES, KEY, changed())
    other = read_command(
        SERVICES, KEY, changed(id="other", issuer="other", issued_at="2026-02-02T00:00:00+01:00")
    )
    assert one.request_hash == other.request_hash


def test_type_and_each_field_are_part_of_the_request() -> None:
    values = [
        changed(),
        changed(type="unlock_funds"),
        changed(data__amount="12.50000001"),
        changed(data__reference_type="listing"),
        changed(data__reference_id="auction-1043"),
    ]
    hashes = {read_command(SERVICES, KEY, value).request_hash for value in values}
    assert len(hashes) == len(values)


def test_a_field_left_out_and_its_default_are_the_same_request() -> None:
    value = command_value(CommandType.ASSIGN_ADDRESS)
    short = changed(CommandType.ASSIGN_ADDRESS, data={})
    users = CommandTopic.USERS
    assert read_command(users, KEY, value) == read_command(users, KEY, short)


@pytest.mark.parametrize("kind", CommandType)
def test_data_alone_is_read_as_the_worker_reads_it(kind: CommandType) -> None:
    data = json.dumps(json.loads(command_value(kind))["data"]).encode()
    assert decode_data(kind, data) == COMMANDS[kind]
    assert type(decode_data(kind, data)) is DATA_OF[kind]


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (Rejection.NOT_UTF8, b"\xff"),
        (Rejection.NOT_JSON, b"{"),
        (Rejection.NOT_AN_OBJECT, b"[]"),
        (Rejection.UNKNOWN_FIELD, b'{"amount": 5, "x": 1}'),
        (Rejection.MISSING_FIELD, b'{"amount": 5}'),
        (
            Rejection.AMOUNT_NOT_TEXT,
            b'{"amount": 5, "reference_type": "auction", "reference_id": "1"}',
        ),
        (
            Rejection.CONTROL_CHARACTERS,
            b'{"amount": "5", "reference_type": "auction", "reference_id": "\\u0000"}',
        ),
    ],
)
def test_faults_of_data_alone(code: Rejection, value: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        decode_data(CommandType.LOCK_FUNDS, value)
    assert refused.value.code is code


def test_letters_beyond_ascii_are_no_control_characters() -> None:
    value = changed(data__reference_id="Füße – 犬").decode()
    for encoded in (value.encode(), json.dumps(json.loads(value), ensure_ascii=False).encode()):
        data = read_command(SERVICES, KEY, encoded).data
        assert isinstance(data, LockFunds)
        assert data.reference_id == "Füße – 犬"


def test_an_amount_is_read_as_koinu() -> None:
    data = read_command(SERVICES, KEY, changed()).data
    assert isinstance(data, LockFunds)
    assert (type(data.amount), data.amount) == (Koinu, 1_250_000_000)
    assert msgspec.structs.asdict(data)["reference_type"] == "auction"
