"""Tells a record's own outcome from that of another one, which stood at its place before."""

from __future__ import annotations

from typing import Protocol

from schemas.envelope import read_command
from schemas.ledger import DEAD_LETTER
from schemas.rejections import Malformed
from schemas.topics import CommandTopic


class Outcome(Protocol):
    """What became of the record at a place; ``request`` is what it asked: the request's hash, or a
    dead letter's value."""

    @property
    def outcome(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def idempotency_key(self) -> str | None: ...
    @property
    def request(self) -> bytes: ...


def is_of(outcome: Outcome, topic: CommandTopic, key: bytes, value: bytes) -> bool:
    """Whether it was this very record that was decided.

    Where a topic was made anew, or lost its tail, offsets come again.
    """
    if outcome.outcome == DEAD_LETTER:
        return outcome.request == value
    try:
        command = read_command(topic, key, value)
    except Malformed:
        return False
    return (outcome.user_id, outcome.idempotency_key, outcome.request) == (
        command.user_id,
        command.idempotency_key,
        command.request_hash,
    )
