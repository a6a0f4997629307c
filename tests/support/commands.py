"""Commands as they stand on the wire, and a log in memory to put them on."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import count
from typing import Final, NamedTuple

from processors.incoming import Record
from schemas.commands import DATA_OF, HOUSE_COMMANDS, TOPIC_OF, Data
from schemas.envelope import encode_command
from schemas.ids import Place, number_of, text_of
from schemas.ledger import HOUSE
from schemas.topics import CommandTopic
from streams.kafka.config import partition_of
from tests.support.books import ANN

_KIND_OF: Final = {data: kind for kind, data in DATA_OF.items()}
_ISSUED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_numbers = count(1)

#: When the first record of a log in memory was appended, in milliseconds.
START_MS: Final = 1_767_225_600_000


class Wire(NamedTuple):
    """A record to be."""

    topic: CommandTopic
    key: bytes
    value: bytes


def wire(data: Data, user: str = ANN, key: str = "") -> Wire:
    """A command on its own topic; without a key it gets one that no other has."""
    kind = _KIND_OF[type(data)]
    owner = HOUSE if kind in HOUSE_COMMANDS else user
    value = encode_command(
        kind,
        user_id=owner,
        idempotency_key=key or f"key-{next(_numbers)}",
        data=data,
        issuer="tests",
        issued_at=_ISSUED_AT,
        id="trace",
    )
    return Wire(TOPIC_OF[kind], owner.encode(), value)


def id_of(record: Record, generation: int = 1) -> str:
    """The id of the command in a record."""
    return text_of(
        number_of(Place(record.topic, generation, record.partition, record.offset)),
    )


class MemoryLog:
    """The command topics in memory: each record gets the place that a broker would give it."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self._ends: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._time = START_MS

    def partition_of(self, key: bytes) -> int:
        """Where the records of a key lie."""
        return partition_of(key, self.partitions)

    def append(self, record: Wire, *, partition: int | None = None, gap: int = 0) -> Record:
        """Append a record; ``gap`` offsets before it are left to transaction markers."""
        own = self.partition_of(record.key)
        place = (int(record.topic), own if partition is None else partition)
        offset = self._ends[place] + gap
        self._ends[place] = offset + 1
        self._time += 1
        placed = place[1] == own
        return Record(*place, offset, self._time, record.key, record.value, placed)
