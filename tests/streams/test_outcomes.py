"""An outcome is a record's own, or another's that stood at its place before."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from schemas.commands import CommandType
from schemas.envelope import read_command
from schemas.ledger import DEAD_LETTER
from schemas.samples import BUYER, command_value
from schemas.topics import CommandTopic
from streams.outcomes import is_of

SERVICES = CommandTopic.SERVICES
KEY = BUYER.encode()
VALUE = command_value(CommandType.LOCK_FUNDS)
COMMAND = read_command(SERVICES, KEY, VALUE)


class Told(NamedTuple):
    """As a table has it."""

    outcome: str = "accepted"
    user_id: str | None = COMMAND.user_id
    idempotency_key: str | None = COMMAND.idempotency_key
    request: bytes = COMMAND.request_hash


def test_an_outcome_is_known_by_user_key_and_request() -> None:
    assert is_of(Told(), SERVICES, KEY, VALUE)
    assert is_of(Told("rejected"), SERVICES, KEY, VALUE)


@pytest.mark.parametrize(
    "other",
    [
        Told(user_id="another"),
        Told(idempotency_key="another"),
        Told(request=b"another"),
        Told(DEAD_LETTER, None, None, b"another"),
        Told(DEAD_LETTER, None, None, COMMAND.request_hash),
    ],
)
def test_an_outcome_of_another_is_told_apart_by_any_of_them(other: Told) -> None:
    assert not is_of(other, SERVICES, KEY, VALUE)


def test_a_dead_letter_is_known_by_its_bytes() -> None:
    assert is_of(Told(DEAD_LETTER, None, None, b"{"), SERVICES, KEY, b"{")


def test_what_cannot_be_read_has_no_outcome_but_a_dead_letter() -> None:
    assert not is_of(Told(), SERVICES, KEY, b"{")
