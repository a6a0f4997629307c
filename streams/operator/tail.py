"""Follows events and alerts as any consumer may: committed ones alone, filtered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import msgspec

from schemas.publications import Alert
from schemas.settings import Settings
from schemas.topics import ALERTS, EVENTS, topic_name
from streams.kafka.admin import Admin
from streams.kafka.config import partition_of
from streams.kafka.replay import LogReplay
from streams.kafka.view import LogView

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_decode_alert: Final = msgspec.json.Decoder(Alert).decode


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


class Span(NamedTuple):
    """From where to read, which is from now on unless told otherwise, and whether to an end."""

    from_beginning: bool = False
    since_ms: int | None = None
    to_the_end: bool = False


def follow(settings: Settings, wanted: Filter, span: Span) -> Iterator[Event | None]:
    """Events as they come; None whenever nothing came for a while, so that the caller can stop.

    Order is kept within a user's partition; between users it is the broker's.
    """
    topic = topic_name(settings, EVENTS)
    for value in _values(settings, topic, _partitions(settings, wanted.users), span):
        if value is None:
            yield None
        else:
            yield from _wanted(value, wanted)


def follow_alerts(
    settings: Settings, kinds: Sequence[str], span: Span
) -> Iterator[tuple[Alert, bytes] | None]:
    """Alerts of these kinds, or like ``withdrawal-*``, of all where none is named; each with its
    record's value. None whenever nothing came for a while."""
    for value in _values(settings, topic_name(settings, ALERTS), [0], span):
        if value is None:
            yield None
            continue
        try:
            alert = _decode_alert(value)
        except msgspec.DecodeError as error:
            # Whoever wrote it had a right to; it is shown, whatever is asked for.
            told = str(error)
            yield Alert(kind="unreadable", subject="", detail=told, source="?", time="?"), value
            continue
        if not kinds or any(fnmatchcase(alert.kind, pattern) for pattern in kinds):
            yield alert, value


def _values(
    settings: Settings, topic: str, numbers: Sequence[int], span: Span
) -> Iterator[bytes | None]:
    """Committed records' values; None whenever nothing came for a while."""
    admin = Admin(settings)
    ends = admin.ends(topic, numbers)
    if span.from_beginning:
        begins = admin.starts(topic, numbers)
    elif span.since_ms is not None:
        with closing(LogReplay(settings)) as replay:
            begins = replay.offsets_at(topic, numbers, span.since_ms)
    else:
        begins = ends
    with closing(LogView(settings)) as view:
        if span.to_the_end:
            for number in numbers:
                if begins[number] < ends[number]:
                    for message in view.records(topic, number, begins[number], ends[number] - 1):
                        yield message.value() or b"{}"
            return
        for followed in view.follow(topic, begins):
            yield None if followed is None else followed.value() or b"{}"


def _wanted(value: bytes, wanted: Filter) -> Iterator[Event]:
    event = _decode(value)
    if wanted.passes(event):
        yield Event(event, value)


def _partitions(settings: Settings, users: Sequence[str]) -> list[int]:
    """Where the events of these users are."""
    if not users:
        return list(range(settings.partitions))
    return sorted({partition_of(user.encode(), settings.partitions) for user in users})
