"""What is published beside events: a manifest a slice, dead letters, and what operators see."""

from __future__ import annotations

from typing import Literal

import msgspec


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch took from one partition, on ``wallet.batches``.

    With the command topics it suffices to rebuild the database: ``slices`` names all that the
    batch is made of as (topic, partition, first offset, last offset), ``rules_version`` the rules
    at its start and ``logic_version`` the decision logic. ``rules`` is in full where the version
    is new to the partition's reader. ``unprocessable`` are offsets of what could not be
    applied. Digest and chain are hexadecimal.
    """

    batch_id: int
    logic_version: int
    rules_version: int
    topic: int
    partition: int
    generation: int
    first_offset: int
    last_offset: int
    commands: int
    entries: int
    digest: str
    chain: str
    slices: tuple[tuple[int, int, int, int], ...]
    unprocessable: tuple[int, ...] = ()
    rules: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class DeadLetterNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is no command, on ``wallet.commands.dead-letter``.

    Key and value are in base64 and cut to 16 KiB, so that a record as large as the broker takes
    can still be told of; the table ``dead_letters`` has them whole.
    """

    id: str
    topic: int
    partition: int
    offset: int
    code: str
    detail: str
    key: bytes | None
    value: bytes | None
    time: str


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an operator should look at, on ``wallet.alerts``.

    An alarm of a process has the first five fields. An alert of the views has all: ``incident``
    names it, the same from its start to its end and whoever tells it, so that what is told twice
    can be dropped by ``incident`` and ``state``. ``kind`` is the rule, and names the runbook.
    """

    kind: str
    subject: str
    detail: str
    source: str
    time: str
    incident: str | msgspec.UnsetType = msgspec.UNSET
    state: Literal["started", "ended"] | msgspec.UnsetType = msgspec.UNSET
    started_at: str | msgspec.UnsetType = msgspec.UNSET
    #: Of an end alone.
    ended_at: str | msgspec.UnsetType = msgspec.UNSET
    #: What the rule says is to be done.
    do: str | msgspec.UnsetType = msgspec.UNSET
