"""What the worker publishes beside events: a manifest a slice, and dead letters."""

from __future__ import annotations

import msgspec


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch took from one partition, on ``wallet.batches``.

    With the command topics it suffices to rebuild the database: ``slices`` names all that the
    batch is made of as (topic, partition, first offset, last offset), ``rules_version`` the rules
    at its start and ``logic_version`` the decision logic. ``rules`` is in full where the version
    is new to the partition's reader. ``unprocessable`` are offsets that the database refused.
    Digest and chain are hexadecimal.
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
