"""What the views keep, as documents in one table, each under a key that begins with a partition.

A document says in ``through`` up to which offset of the events' partition it is made. So an event
that is read again, after a crash or a rebalance, counts in each document once.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

#: A restart finds a user's document on the changelog only where all others of the same events are
#: there too, and the mark only where the users' are: they are written in this order.
PHASES: Final = (("minute", "escrow", "withdrawal", "incident"), ("user",), ("mark",))


class Sum(int):
    """Koinu; text in a document, since a sum over all users need not fit 64 bits."""

    __slots__ = ()


class Total(msgspec.Struct, array_like=True):
    """How many events, and their koinu together."""

    count: int = 0
    koinu: Sum = Sum(0)

    def add(self, count: int, koinu: int) -> None:
        """Count more; less, where a late event says that another one moved less."""
        self.count += count
        self.koinu = Sum(self.koinu + koinu)


class Document(msgspec.Struct, kw_only=True):
    """Anything kept; ``through`` is the last offset of its partition that it knows."""

    through: int = -1


class Minute(Document, tag="minute", kw_only=True):
    """One partition's events of one minute."""

    minute: int
    flows: dict[str, Total] = {}
    accepted: int = 0
    replayed: int = 0
    rejected: dict[str, int] = {}


class Breach(msgspec.Struct, kw_only=True):
    """A user's latest stretch over a rule's limit, in minutes: [start, until)."""

    incident: str
    start: int
    until: int


class User(Document, tag="user", kw_only=True):
    """One user: which events were seen, flows by minute, what is owed as of a version."""

    user: str
    seen: list[list[int]] = []
    minutes: dict[int, dict[str, Total]] = {}
    last_ms: int = 0
    version: int = -1
    shortfall: Sum = Sum(0)
    #: By rule.
    breaches: dict[str, Breach] = {}


class Withdrawal(Document, tag="withdrawal", kw_only=True):
    """How a withdrawal stands as of one of its user's events."""

    id: str
    user: str
    sequence: int = 0
    status: str = ""
    requested_ms: int = 0
    #: When it came to this status.
    since_ms: int = 0
    koinu: Sum = Sum(0)


class Step(msgspec.Struct, array_like=True):
    """One event of an escrow, by its buyer's sequence, and where it stood in the partition."""

    sequence: int
    offset: int
    minute: int
    type: str
    settled: Sum


class Escrow(Document, tag="escrow", kw_only=True):
    """An escrow's events in order, so that each one's own part can be told."""

    id: str
    user: str
    koinu: Sum = Sum(0)
    steps: list[Step] = []
    last_ms: int = 0


class Incident(Document, tag="incident", kw_only=True):
    """Something that a rule found; times in milliseconds."""

    id: str
    rule: str
    subject: str
    started_ms: int
    detail: str
    #: When it ends if nothing more comes, where that is known beforehand.
    until_ms: int | None = None
    ended_ms: int | None = None
    told_start: bool = False
    told_end: bool = False


class Mark(Document, tag="mark", kw_only=True):
    """Up to where a partition is in all documents, and the latest time seen in it."""

    time_ms: int = 0


Kept = Minute | User | Withdrawal | Escrow | Incident | Mark
_KIND: Final[dict[type[Document], str]] = {
    Minute: "minute",
    User: "user",
    Withdrawal: "withdrawal",
    Escrow: "escrow",
    Incident: "incident",
    Mark: "mark",
}


def _encode_sum(value: object) -> object:
    if isinstance(value, Sum):
        return str(int(value))
    raise TypeError(f"{type(value)} is not kept")


def _decode_sum(kind: type, value: Any) -> object:
    if kind is Sum and isinstance(value, str):
        return Sum(value)
    raise TypeError(f"{kind} is not kept")


_encoder: Final = msgspec.json.Encoder(enc_hook=_encode_sum)
_decoder: Final = msgspec.json.Decoder(Kept, dec_hook=_decode_sum)


def key_of(partition: int, kind: type[Document], name: object = "") -> bytes:
    """The table's key of a document: partition, kind and name."""
    return f"{partition}/{_KIND[kind]}/{name}".encode()


def place_of(key: bytes) -> tuple[int, str]:
    """Partition and kind that a key names."""
    partition, kind, _ = key.split(b"/", 2)
    return int(partition), kind.decode()


def encode(document: Kept) -> bytes:
    """A document as it is kept."""
    return _encoder.encode(document)


def decode(value: bytes) -> Kept:
    """The document again; raises ``msgspec.MsgspecError``."""
    document: Kept = _decoder.decode(value)
    return document
