"""Dead letters: shown so that nothing in them can act on a terminal, and sent again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from db.engine import Connection
from db.ledger.operating import Letter, mark_replayed
from schemas.envelope import read_command
from schemas.rejections import Malformed
from schemas.topics import CommandTopic
from streams.operator.desk import Desk, Sent


def shown(data: bytes | None) -> str:
    """Bytes of a stranger as text: every character that does not print is escaped."""
    if data is None:
        return "(none)"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in data.decode("utf-8", "backslashreplace")
    )


def shown_pretty(data: bytes | None) -> str:
    """The same, indented where it is JSON."""
    try:
        document = json.loads(data or b"")
    except (ValueError, RecursionError):
        return shown(data)
    # ASCII alone, so that no direction mark or look-alike hides in it.
    return json.dumps(document, indent=2)


def fault_of(letter: Letter) -> str | None:
    """Why the record would be a dead letter again if it were sent now, or None."""
    if letter.key is None:
        return "it has no key, so it would go to any partition"
    try:
        # In the partition of its key it is not misplaced any more.
        read_command(CommandTopic(letter.topic), letter.key, letter.value, placed=True)
    except Malformed as fault:
        return str(fault)
    return None


class Replayed(NamedTuple):
    """A dead letter and what became of it; ``reason`` says why it was not sent."""

    letter: Letter
    reason: str | None
    sent: Sent | None


def replay(
    connection: Connection,
    desk: Desk,
    letters: Iterable[Letter],
    *,
    again: bool = False,
    wait_seconds: float,
) -> Iterable[Replayed]:
    """Send the records of dead letters again, one after the other; the oldest should come first.

    One that would be a dead letter again is not sent, nor one that was replayed, unless ``again``.
    A crash between sending and noting it sends it once more: its idempotency key makes that
    harmless.
    """
    for letter in letters:
        reason = None if again or letter.replayed_at is None else "it was replayed already"
        reason = reason or fault_of(letter)
        if reason is not None:
            yield Replayed(letter, reason, None)
            continue
        assert letter.key is not None
        sent = desk.put(
            CommandTopic(letter.topic),
            letter.key,
            letter.value or b"",
            wait_seconds,
            f"Replay {letter.id} again: its idempotency key is decided once.",
        )
        mark_replayed(connection, letter.id)
        yield Replayed(letter, None, sent)
