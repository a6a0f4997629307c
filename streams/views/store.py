"""Documents between two writings: changed in memory, then written to the table in three phases."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TypeVar

from streams.views.kept import (
    PHASES,
    Document,
    Kept,
    decode,
    encode,
    key_of,
    place_of,
)

_T = TypeVar("_T", bound=Kept)

#: Keys and what to write there; None takes the key away.
Writes = dict[bytes, bytes | None]


class Store:
    """Reads documents through what is not yet written; the table holds bytes by key."""

    def __init__(self, table: MutableMapping[bytes, bytes]) -> None:
        self._table = table
        self._changed: dict[bytes, Kept | None] = {}
        #: Taken for a writing that is under way.
        self._leaving: Writes = {}

    def __len__(self) -> int:
        """How many documents wait to be written."""
        return len(self._changed)

    def get(self, kind: type[_T], partition: int, name: object = "") -> _T | None:
        """The document, or None; call ``put`` after changing it."""
        key = key_of(partition, kind, name)
        if key in self._changed:
            found = self._changed[key]
        else:
            value = self._leaving[key] if key in self._leaving else self._table.get(key)
            found = None if value is None else decode(value)
        assert found is None or isinstance(found, kind)
        return found

    def put(self, partition: int, document: Kept, name: object = "") -> None:
        """Keep a document from here on."""
        self._changed[key_of(partition, type(document), name)] = document

    def drop(self, partition: int, kind: type[Document], name: object) -> None:
        """Keep it no more."""
        self._changed[key_of(partition, kind, name)] = None

    def forget(self, partition: int) -> None:
        """Drop what waits of a partition: somebody else has it now, or had it meanwhile."""
        for waiting in (self._changed, self._leaving):
            for key in [key for key in waiting if place_of(key)[0] == partition]:
                del waiting[key]

    def leave(self) -> list[Writes]:
        """What is to be written, phase by phase; call ``left`` once all of it is written."""
        assert not self._leaving, "one writing at a time"
        phases: list[Writes] = [{} for _ in PHASES]
        for key, document in self._changed.items():
            value = None if document is None else encode(document)
            self._leaving[key] = value
            phases[_phase(place_of(key)[1])][key] = value
        self._changed = {}
        return phases

    def left(self) -> None:
        """The writing is done: the table has it."""
        self._leaving = {}


def _phase(kind: str) -> int:
    return next(number for number, kinds in enumerate(PHASES) if kind in kinds)


class Turn:
    """One event's changes; each document takes part unless it knows the event already."""

    def __init__(self, store: Store, partition: int, offset: int) -> None:
        self._store = store
        self._taken: dict[bytes, Kept | None] = {}
        self.partition = partition
        self.offset = offset

    def take(self, make: Callable[[], _T], kind: type[_T], name: object) -> _T | None:
        """The document to change, made if there is none; None if it knows the event."""
        key = key_of(self.partition, kind, name)
        if key in self._taken:
            taken = self._taken[key]
            assert taken is None or isinstance(taken, kind)
            return taken
        found = self._store.get(kind, self.partition, name) or make()
        if found.through >= self.offset:
            self._taken[key] = None
            return None
        found.through = self.offset
        self._taken[key] = found
        self._store.put(self.partition, found, name)
        return found

    def look(self, kind: type[_T], name: object) -> _T | None:
        """The document as it is, also where it knows the event; not to be changed."""
        return self._store.get(kind, self.partition, name)
