"""All partitions' documents together, decoded: what the reports and the looks at the clock read."""

from __future__ import annotations

from collections.abc import Iterator

from streams.views import sequences
from streams.views.kept import (
    Escrow,
    Incident,
    Kept,
    Mark,
    Minute,
    User,
    Withdrawal,
    decode,
    place_of,
)


class Picture:
    """Documents by kind, each under its partition and name."""

    def __init__(self) -> None:
        #: By minute, then partition.
        self.minutes: dict[int, dict[int, Minute]] = {}
        self.users: dict[str, tuple[int, User]] = {}
        self.withdrawals: dict[str, tuple[int, Withdrawal]] = {}
        self.escrows: dict[str, tuple[int, Escrow]] = {}
        self.incidents: dict[str, tuple[int, Incident]] = {}
        self.marks: dict[int, Mark] = {}
        #: Users of whose events some are not there (yet).
        self.with_gaps: set[str] = set()

    @property
    def newest_ms(self) -> int:
        """The latest time that any event has; 0 before the first one."""
        return max((mark.time_ms for mark in self.marks.values()), default=0)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Take in a record of the changelog; None takes the document away."""
        partition, kind = place_of(key)
        name = key.split(b"/", 2)[2].decode()
        if value is None:
            self._drop(partition, kind, name)
        else:
            self.keep(partition, decode(value))

    def keep(self, partition: int, document: Kept) -> None:
        """Take in a document."""
        match document:
            case Minute():
                self.minutes.setdefault(document.minute, {})[partition] = document
            case User():
                self.users[document.user] = (partition, document)
                if sequences.missing(document.seen):
                    self.with_gaps.add(document.user)
                else:
                    self.with_gaps.discard(document.user)
            case Withdrawal():
                self.withdrawals[document.id] = (partition, document)
            case Escrow():
                self.escrows[document.id] = (partition, document)
            case Incident():
                self.incidents[document.id] = (partition, document)
            case Mark():
                self.marks[partition] = document

    def _drop(self, partition: int, kind: str, name: str) -> None:
        match kind:
            case "minute":
                at = self.minutes.get(int(name), {})
                at.pop(partition, None)
                if not at:
                    self.minutes.pop(int(name), None)
            case "user":
                self.users.pop(name, None)
                self.with_gaps.discard(name)
            case "withdrawal":
                self.withdrawals.pop(name, None)
            case "escrow":
                self.escrows.pop(name, None)
            case "incident":
                self.incidents.pop(name, None)
            case "mark":
                self.marks.pop(partition, None)

    def between(self, first: int, last: int) -> Iterator[Minute]:
        """Every partition's documents of the minutes first to last."""
        for minute in range(first, last + 1):
            yield from self.minutes.get(minute, {}).values()

    def everything(self) -> list[tuple[int, Kept, object]]:
        """Each document but the marks, with its partition and name."""
        found: list[tuple[int, Kept, object]] = [
            (partition, document, minute)
            for minute, parts in self.minutes.items()
            for partition, document in parts.items()
        ]
        for named in (self.users, self.withdrawals, self.escrows, self.incidents):
            found += [(partition, document, name) for name, (partition, document) in named.items()]
        return found
