"""Entries of ``PutEvents``, made from the records of ``wallet.events``."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import msgspec

#: AWS counts a time as so many bytes, whatever it looks like.
_TIME_BYTES: Final = 14
#: Most bytes of a call, and so of an entry.
SIZE_MAX: Final = 256 * 1024 - 1
COUNT_MAX: Final = 10


class Unreadable(Exception):
    """A record that is no event of ours; the text says what is wrong with it."""


class _Head(msgspec.Struct, frozen=True):
    """What the bridge itself reads of an event."""

    id: str
    type: str
    subject: str
    time: datetime


class Entry(NamedTuple):
    """One event as EventBridge takes it; ``detail`` is the CloudEvent, byte for byte."""

    id: str
    source: str
    detail_type: str
    resource: str
    time: datetime
    detail: str

    @property
    def size(self) -> int:
        """Bytes as AWS counts them.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html
        """
        texts = (self.source, self.detail_type, self.resource, self.detail)
        return _TIME_BYTES + sum(len(text.encode()) for text in texts)

    def parameters(self, bus: str) -> dict[str, object]:
        """What boto3 is given."""
        return {
            "EventBusName": bus,
            "Source": self.source,
            "DetailType": self.detail_type,
            "Resources": [self.resource],
            "Time": self.time,
            "Detail": self.detail,
        }


def entry_of(value: bytes | None, source: str) -> Entry:
    """The entry for a record's value; raises ``Unreadable``."""
    if value is None:
        raise Unreadable("a record without a value")
    try:
        head = msgspec.json.decode(value, type=_Head)
        detail = value.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"no event of the wallet: {error}") from error
    return Entry(head.id, source, head.type, head.subject, head.time, detail)
