"""Follows the events as any consumer may: committed ones alone, filtered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import msgspec

from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams.kafka.admin import Admin
from streams.kafka.config import partition_of
from streams.kafka.replay import LogReplay
from streams.kafka.view import LogView

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Filter(NamedTuple):
    """Which events: of these users, of types like ``withdrawal.*``; empty stands for all."""

    users: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def passes(self, event: dict[str, Any]) -> bool:
        """Whether the event is wanted."""
        return (not self.users or event.get("subject") in self.users) and (
            not self.types
            or any(fnmatchcase(str(event.get("type")), pattern) for pattern in self.types)
        )


class Event(NamedTuple):
    """An event and its record's value, byte for byte."""

    event: dict[str, Any]
    value: bytes


def follow(
    settings: Settings,
    wanted: Filter,
    *,
    from_beginning: bool = False,
    since_ms: int | None = None,
    to_the_end: bool = False,
) -> Iterator[Event | None]:
    """Events as they come; None whenever nothing came for a while, so that the caller can stop.

    Reads from now on unless told otherwise, and with ``to_the_end`` up to what there is now.
    Order is kept within a user's partition; between users it is the broker's.
    """
    topic = topic_name(settings, EVENTS)
    numbers = _partitions(settings, wanted.users)
    admin = Admin(settings)
    ends = admin.ends(topic, numbers)
    if from_beginning:
        begins = admin.starts(topic, numbers)
    elif since_ms is not None:
        replay = LogReplay(settings)
        try:
            begins = replay.offsets_at(topic, numbers, since_ms)
        finally:
            replay.close()
    else:
        begins = ends
    view = LogView(settings)
    try:
        if to_the_end:
            for number in numbers:
                if begins[number] < ends[number]:
                    for message in view.records(topic, number, begins[number], ends[number] - 1):
                        yield from _wanted(message.value(), wanted)
            return
        for followed in view.follow(topic, begins):
            if followed is None:
                yield None
            else:
                yield from _wanted(followed.value(), wanted)
    finally:
        view.close()


def _wanted(value: bytes | None, wanted: Filter) -> Iterator[Event]:
    event = _decode(value or b"{}")
    if wanted.passes(event):
        yield Event(event, value or b"{}")


def _partitions(settings: Settings, users: Sequence[str]) -> list[int]:
    """Where the events of these users are."""
    if not users:
        return list(range(settings.partitions))
    return sorted({partition_of(user.encode(), settings.partitions) for user in users})
