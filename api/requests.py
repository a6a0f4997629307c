"""Reading requests strictly: what is not understood is refused, never ignored."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NoReturn

import msgspec
from aiohttp import web

from api.problems import Fault, Problem
from schemas.commands import UUID_PATTERN, CommandType, Data
from schemas.envelope import decode_data
from schemas.rejections import Malformed, Rejection

#: A body comes whole within that time, or the caller is told to hurry.
BODY_SECONDS: Final = 10.0
KEY_MAX_CHARACTERS: Final = 255
#: Keys of the API's own; a caller that took one could only get in its own way.
RESERVED_PREFIX: Final = "wallet:"
#: Longest wait that a caller may ask for.
WAIT_MAX_SECONDS: Final = 30.0
TEXT_MAX_CHARACTERS: Final = 128

_UUID: Final = re.compile(UUID_PATTERN)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
#: A string of structured fields (RFC 9651, 3.3.3), as the draft of Idempotency-Key has it.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"', re.ASCII)
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII
)
_ABSENT: Final = msgspec.Raw(b"null")
_JSON_TYPE: Final = "application/json"


class Preference(msgspec.Struct, frozen=True):
    """What the header Prefer (RFC 7240) asks for, and what of it is applied."""

    wait_seconds: float
    respond_async: bool
    applied: str


def query_of(request: web.Request, allowed: frozenset[str]) -> dict[str, str]:
    """The query's parameters; one that isn't allowed, or is repeated, is a problem."""
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise Problem(Fault.UNKNOWN_PARAMETER, f"{name[:40]!r} is not one of: {known}")
        if name in values:
            raise Problem(Fault.BAD_PARAMETER, f"{name!r} is given twice")
        values[name] = value
    return values


def text_of(values: Mapping[str, str], name: str) -> str | None:
    """A text parameter as references are: 1 to 128 characters, no control characters."""
    value = values.get(name)
    if value is None:
        return None
    if not 1 <= len(value) <= TEXT_MAX_CHARACTERS:
        raise Problem(Fault.BAD_PARAMETER, f"{name!r} has 1 to {TEXT_MAX_CHARACTERS} characters")
    if _CONTROL.search(value):
        raise Problem(Rejection.CONTROL_CHARACTERS, f"{name!r} has control characters")
    return value


def choice_of(values: Mapping[str, str], name: str, choices: frozenset[str]) -> str | None:
    """A parameter that is one of a few texts."""
    value = values.get(name)
    if value is not None and value not in choices:
        raise Problem(Fault.BAD_PARAMETER, f"{name!r} is one of: {', '.join(sorted(choices))}")
    return value


def number_of(values: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    """A whole number from 1 to ``maximum``."""
    value = values.get(name)
    if value is None:
        return default
    if not re.fullmatch("[1-9][0-9]{0,8}", value, re.ASCII) or int(value) > maximum:
        raise Problem(Fault.BAD_PARAMETER, f"{name!r} is a number from 1 to {maximum}")
    return int(value)


def time_of(values: Mapping[str, str], name: str) -> datetime | None:
    """A time in RFC 3339 with its offset, as UTC."""
    value = values.get(name)
    if value is None:
        return None
    try:
        if not _TIME.fullmatch(value):
            raise ValueError(value)
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Problem(Rejection.BAD_TIME, f"{name!r}: {Rejection.BAD_TIME.line}") from None


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The last entry of a page, by the order of the history."""

    created_at: datetime
    wallet_version: int
    id: str


def cursor_of(values: Mapping[str, str], name: str = "cursor") -> Cursor | None:
    """The place where the page before ended."""
    value = values.get(name)
    if value is None:
        return None
    try:
        raw = base64.b64decode(value.encode("ascii"), altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(raw, type=Cursor)
        cursor.created_at.astimezone(UTC)
    except (ValueError, OverflowError, msgspec.DecodeError):
        raise Problem(Fault.BAD_CURSOR) from None
    in_range = 0 <= cursor.wallet_version < 2**63 and cursor.created_at.tzinfo is not None
    if not in_range or not _UUID.fullmatch(cursor.id):
        raise Problem(Fault.BAD_CURSOR)
    return cursor


def format_cursor(cursor: Cursor) -> str:
    """A cursor as opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def path_id(request: web.Request) -> str:
    """The id in the path: a canonical UUID."""
    value = request.match_info["id"]
    if not _UUID.fullmatch(value):
        raise Problem(Rejection.BAD_ID, "The id in the path is not a canonical UUID")
    return value


def idempotency_key_of(request: web.Request) -> str:
    """The header Idempotency-Key, plain or as a quoted string of structured fields."""
    values = request.headers.getall("Idempotency-Key", [])
    if not values:
        raise Problem(Fault.KEY_MISSING)
    if len(values) > 1:
        raise Problem(Rejection.BAD_IDEMPOTENCY_KEY, "Idempotency-Key is given twice")
    key = values[0].strip()
    if key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if quoted is None:
            raise Problem(Rejection.BAD_IDEMPOTENCY_KEY, "The quoted key does not end as it began")
        key = re.sub(r"\\(.)", r"\1", quoted.group(1))
    if not 1 <= len(key) <= KEY_MAX_CHARACTERS or _CONTROL.search(key):
        raise Problem(Rejection.BAD_IDEMPOTENCY_KEY)
    if key.startswith(RESERVED_PREFIX):
        raise Problem(
            Rejection.BAD_IDEMPOTENCY_KEY, f"Keys that start with {RESERVED_PREFIX!r} are reserved"
        )
    return key


def preference_of(request: web.Request, default_seconds: float) -> Preference:
    """What Prefer asks for: ``respond-async``, ``wait=SECONDS``; others may be ignored."""
    wait, respond_async, applied = default_seconds, False, []
    for part in ",".join(request.headers.getall("Prefer", [])).split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "respond-async" and not value:
            respond_async = True
            applied.append("respond-async")
        elif name.lower() == "wait" and re.fullmatch("[0-9]{1,6}", value, re.ASCII):
            wait = min(float(value), WAIT_MAX_SECONDS)
            applied.append(f"wait={int(wait)}")
    return Preference(wait, respond_async, ", ".join(applied))


async def body_of(request: web.Request) -> bytes:
    """The body, declared as JSON and with each field once; b"" if there is none."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise Problem(Fault.TOO_SLOW) from None
    if body or request.content_type != "application/octet-stream":
        _check_content_type(request)
    if body:
        _check_fields(body)
    return body


def _check_content_type(request: web.Request) -> None:
    charset = (request.charset or "utf-8").lower()
    if request.content_type != _JSON_TYPE or charset not in {"utf-8", "utf8"}:
        raise Problem(Fault.NOT_JSON_TYPE)


def _check_fields(body: bytes) -> None:
    """Refuse a field that is given twice: which of the two counts, each reader says differently.

    The decoders take the last. So they do in a record on a topic, where it must stay so: what an
    old log decides never changes.
    """
    try:
        # Numbers stay text: all that counts here are names.
        json.loads(body, object_pairs_hook=_each_once, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        _refuse(body)


def _each_once(fields: list[tuple[str, object]]) -> None:
    names: set[str] = set()
    for name, _ in fields:
        if name in names:
            raise Problem(Fault.FIELD_REPEATED, f"{name[:40]!r} is given twice")
        names.add(name)


def _refuse(body: bytes) -> NoReturn:
    """Raise what is wrong with a body that cannot be read."""
    # The strict decoder has the exact words for it.
    data_of(CommandType.OPEN_WALLET, body)
    raise Problem(Rejection.NOT_JSON)


def data_of(kind: CommandType, body: bytes) -> Data:
    """A command's data out of a body that holds nothing else."""
    try:
        return decode_data(kind, body)
    except Malformed as malformed:
        raise Problem.of(malformed) from None


def split_user(body: bytes) -> tuple[str, bytes]:
    """The ``user_id`` of a body, and the rest of it, which is the command's data."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        user_id = msgspec.json.decode(fields.pop("user_id", _ABSENT))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        _refuse(body)
    if user_id is None:
        raise Problem(Rejection.MISSING_FIELD, "The body lacks the required text `user_id`")
    if not isinstance(user_id, str):
        raise Problem(Rejection.WRONG_TYPE, "`user_id` is not text")
    if not _UUID.fullmatch(user_id):
        raise Problem(Rejection.BAD_USER_ID)
    return user_id, msgspec.json.encode(fields)
