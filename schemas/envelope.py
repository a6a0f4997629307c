"""The envelope around a command: written by every producer, read strictly by the worker.

Reading has a fast path for what is well formed, and a slow one that finds out, in order of
precedence, what is wrong with the rest.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from schemas.amounts import Koinu, Share, format_amount, parse_amount, parse_share
from schemas.commands import (
    DATA_OF,
    HOUSE_COMMANDS,
    TOPIC_OF,
    UUID_PATTERN,
    VERSION,
    CommandType,
    Data,
)
from schemas.ledger import HOUSE
from schemas.rejections import Malformed, Rejection, precedence
from schemas.topics import RECORD_MAX_BYTES, CommandTopic


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What stands around a command's data on the topic.

    ``id`` is the producer's own, for tracing, and need not be unique; what makes a command unique
    is its ``idempotency_key``, within its user and topic.
    """

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    type: str
    version: int
    user_id: Annotated[str, Meta(pattern=UUID_PATTERN)]
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)]
    issued_at: Annotated[datetime.datetime, Meta(tz=True)]
    issuer: Annotated[str, Meta(min_length=1, max_length=64)]
    data: msgspec.Raw


class Command(msgspec.Struct, frozen=True, gc=False):
    """A command that could be read; ``request_hash`` covers type, version and canonical data."""

    kind: CommandType
    user_id: str
    idempotency_key: str
    data: Data
    request_hash: bytes


def _read_custom(kind: type, value: object) -> Any:
    if not isinstance(value, str):
        raise Malformed(Rejection.AMOUNT_NOT_TEXT)
    return kind(parse_amount(value) if kind is Koinu else parse_share(value))


def _write_custom(value: object) -> str:
    if isinstance(value, (Koinu, Share)):
        return format_amount(value)
    raise TypeError(f"{type(value)} cannot stand in a command")


_envelope_decoder: Final = msgspec.json.Decoder(Envelope)
_data_decoders: Final = {
    kind: msgspec.json.Decoder(data, dec_hook=_read_custom) for kind, data in DATA_OF.items()
}
_hash_prefixes: Final = {kind: f"{kind}\0{VERSION}\0".encode() for kind in CommandType}
#: By topic code and type as it stands on the wire: only what may come by that topic. With each the
#: prefix of its hash, since to look one up by its enum's member costs more than the hash.
_permitted: Final = {
    topic: {
        kind.value: (kind, _data_decoders[kind], _hash_prefixes[kind])
        for kind in CommandType
        if TOPIC_OF[kind] is topic
    }
    for topic in CommandTopic
}
_wire: Final = msgspec.json.Encoder(enc_hook=_write_custom)
#: Amounts in koinu: "1.5" and "1.50" are the same request.
_canonical: Final = msgspec.json.Encoder(enc_hook=int)
_house_values: Final = frozenset(kind.value for kind in HOUSE_COMMANDS)
_DETAIL_MAX: Final = 256
_control: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def encode_command(
    kind: CommandType,
    *,
    user_id: str,
    idempotency_key: str,
    data: Data,
    issuer: str,
    issued_at: datetime.datetime,
    id: str,
) -> bytes:
    """The record's value of a command; its key is ``user_id.encode()``."""
    return _wire.encode(
        Envelope(
            id=id,
            type=kind.value,
            version=VERSION,
            user_id=user_id,
            idempotency_key=idempotency_key,
            issued_at=issued_at,
            issuer=issuer,
            data=msgspec.Raw(_wire.encode(data)),
        )
    )


def encode_data(data: Data) -> bytes:
    """A command's data as JSON, as it stands in the record."""
    return _wire.encode(data)


def decode_data(kind: CommandType, value: bytes) -> Data:
    """A command's data from JSON; raises ``Malformed`` as the worker would."""
    try:
        data = _data_decoders[kind].decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        document = _object_in(value)
        if isinstance(document, Malformed):
            raise document from None
        raise _first([*_faults_of_fields(_data_shapes[kind], document)], error) from None
    if _may_hold_control_characters(value):
        _refuse_control_characters(data)
    return data


def read_command(
    topic: CommandTopic, key: bytes | None, value: bytes | None, *, placed: bool = True
) -> Command:
    """The command in a record; raises ``Malformed`` with the first reason in order of precedence.

    ``placed`` says whether the record stands in its key's partition.
    """
    if not value or len(value) > RECORD_MAX_BYTES:
        raise Malformed(Rejection.TOO_LARGE if value else Rejection.EMPTY_RECORD)
    try:
        envelope = _envelope_decoder.decode(value)
        kind, decoder, prefix = _permitted[topic][envelope.type]
        data = decoder.decode(envelope.data)
    except (msgspec.MsgspecError, ValueError, KeyError, RecursionError) as error:
        raise _explain(topic, key, value, placed, error) from None
    user_id = envelope.user_id
    if (
        envelope.version != VERSION
        or key != user_id.encode()
        or not placed
        or (user_id == HOUSE) is not (envelope.type in _house_values)
    ):
        raise _explain(topic, key, value, placed, None)
    if _may_hold_control_characters(value):
        _refuse_control_characters(envelope)
        _refuse_control_characters(data)
    return Command(kind, user_id, envelope.idempotency_key, data, _hash(prefix, data))


def request_hash_of(kind: CommandType, data: Data) -> bytes:
    """What two commands of one key have in common if they are the same request."""
    return _hash(_hash_prefixes[kind], data)


def _hash(prefix: bytes, data: Data) -> bytes:
    return blake2b(prefix + _canonical.encode(data), digest_size=16).digest()


def _may_hold_control_characters(value: bytes) -> bool:
    # Inside JSON text they are either escaped, or DEL, or a C1 after \xc2.
    return b"\\" in value or b"\x7f" in value or b"\xc2" in value


def _refuse_control_characters(part: msgspec.Struct) -> None:
    for field in part.__struct_fields__:
        text = getattr(part, field)
        if isinstance(text, str) and _control.search(text):
            raise _has_control_characters(field)


def _has_control_characters(field: str) -> Malformed:
    return Malformed(Rejection.CONTROL_CHARACTERS, f"`{field}` has control characters")


class _Shape(NamedTuple):
    """The fields of a struct, each read on its own, so that every fault is found."""

    name: str
    decoders: dict[str, msgspec.json.Decoder[Any]]
    required: frozenset[str]


def _shape_of(struct: type[msgspec.Struct]) -> _Shape:
    fields = msgspec.structs.fields(struct)
    return _Shape(
        struct.__name__,
        {field.name: msgspec.json.Decoder(field.type, dec_hook=_read_custom) for field in fields},
        frozenset(field.name for field in fields if field.required),
    )


_envelope_shape: Final = _shape_of(Envelope)
_data_shapes: Final = {kind: _shape_of(data) for kind, data in DATA_OF.items()}
_document_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _explain(
    topic: CommandTopic, key: bytes | None, value: bytes, placed: bool, error: Exception | None
) -> Malformed:
    """The first in order of precedence of all faults; ``error`` is the one that was met."""
    document = _object_in(value)
    if isinstance(document, Malformed):
        return document
    faults = [*_faults_of_fields(_envelope_shape, document)]
    faults += _faults_of_data(topic, document)
    user_id = _text_in(document, "user_id")
    if user_id is not None and key != user_id.encode():
        faults.append(Malformed(Rejection.KEY_MISMATCH))
    if not placed:
        faults.append(Malformed(Rejection.MISPLACED))
    return _first(faults, error)


def _first(faults: list[Malformed], error: Exception | None) -> Malformed:
    if not faults:
        # A field that stands there twice: only its last value was looked at here.
        return _fault_of_error(error) if error else Malformed(Rejection.WRONG_TYPE)
    return min(faults, key=lambda fault: precedence(fault.code))


def _object_in(value: bytes) -> dict[str, msgspec.Raw] | Malformed:
    try:
        value.decode()
        document = msgspec.json.decode(value)
        if isinstance(document, dict):
            return _document_decoder.decode(value)
    except UnicodeDecodeError as fault:
        stray = f"byte {fault.start + 1} of {len(value)} is 0x{value[fault.start]:02x}"
        return Malformed(Rejection.NOT_UTF8, f"The value is not UTF-8 text: {stray}")
    except RecursionError:
        return Malformed(Rejection.NOT_JSON, "nested too deep")
    except msgspec.DecodeError as fault:
        return Malformed(Rejection.NOT_JSON, str(fault))
    return Malformed(Rejection.NOT_AN_OBJECT)


def _faults_of_fields(shape: _Shape, document: dict[str, msgspec.Raw]) -> Iterator[Malformed]:
    for name in document:
        if name not in shape.decoders:
            yield Malformed(Rejection.UNKNOWN_FIELD, f"{shape.name} has no {name[:64]!r}")
    for name in sorted(shape.required - document.keys()):
        yield Malformed(Rejection.MISSING_FIELD, f"{shape.name} lacks `{name}`")
    for name, decoder in shape.decoders.items():
        if name not in document:
            continue
        try:
            found = decoder.decode(document[name])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            fault = _fault_of_error(error)
            code = _ENVELOPE_CODES.get((name, fault.code), fault.code)
            yield Malformed(code, f"`{name}`: {fault.detail}")
        else:
            if isinstance(found, str) and _control.search(found):
                yield _has_control_characters(name)


def _faults_of_data(topic: CommandTopic, document: dict[str, msgspec.Raw]) -> Iterator[Malformed]:
    """Faults of version, type, topic and data; data is judged only where its type is known."""
    version = document.get("version")
    if version is not None and bytes(version) != b"%d" % VERSION:
        # Cut in bytes, perhaps within a letter.
        told = _told(bytes(version)[:20].decode(errors="replace"))
        yield Malformed(Rejection.WRONG_VERSION, f"version {told} is not known here")
        return
    name = _text_in(document, "type")
    if name is None:
        return
    try:
        kind = CommandType(name)
    except ValueError:
        yield Malformed(Rejection.UNKNOWN_TYPE, f"{name[:64]!r} is no command")
        return
    if TOPIC_OF[kind] is not topic:
        yield Malformed(Rejection.NOT_PERMITTED_HERE, f"{kind} may not come by this topic")
    user_id = _text_in(document, "user_id")
    if user_id is not None and (user_id == HOUSE) is not (kind in HOUSE_COMMANDS):
        yield Malformed(Rejection.WRONG_USER)
    try:
        data = _document_decoder.decode(document.get("data", b"{}"))
    except (msgspec.MsgspecError, RecursionError):
        yield Malformed(Rejection.WRONG_TYPE, "`data` is not an object")
        return
    if "data" in document:
        yield from _faults_of_fields(_data_shapes[kind], data)


def _text_in(document: dict[str, msgspec.Raw], name: str) -> str | None:
    """A field of the envelope, if it is text."""
    try:
        return msgspec.json.decode(document.get(name, b"null"), type=str)
    except msgspec.MsgspecError:
        return None


#: Faults of the envelope's fields that have codes of their own.
_ENVELOPE_CODES: Final = {
    ("user_id", Rejection.BAD_ID): Rejection.BAD_USER_ID,
    ("idempotency_key", Rejection.BAD_TEXT): Rejection.BAD_IDEMPOTENCY_KEY,
}
#: How msgspec words each fault; what is worded otherwise is of the wrong type.
_WORDINGS: Final = (
    (re.compile(r"unknown field"), Rejection.UNKNOWN_FIELD),
    (re.compile(r"missing required field"), Rejection.MISSING_FIELD),
    (re.compile(r"RFC3339|timezone"), Rejection.BAD_TIME),
    (re.compile(r"matching regex"), Rejection.BAD_ID),
    (re.compile(r"of length"), Rejection.BAD_TEXT),
    (re.compile(r"Invalid enum value"), Rejection.BAD_CHOICE),
    (re.compile(r"Expected `(int|float)` [<>]|out of range"), Rejection.BAD_NUMBER),
)


def _told(text: str) -> str:
    """What may quote a stranger's value: it must fit into a log and into a column of text."""
    return _control.sub("\N{REPLACEMENT CHARACTER}", text)[:_DETAIL_MAX]


def _fault_of_error(error: Exception) -> Malformed:
    """The fault anew: the one that was raised knows its frames, and they would know it."""
    if isinstance(error.__cause__, Malformed):
        return Malformed(error.__cause__.code, error.__cause__.detail)
    message = _told(str(error))
    for wording, code in _WORDINGS:
        if wording.search(message):
            return Malformed(code, message)
    return Malformed(Rejection.WRONG_TYPE, message)
