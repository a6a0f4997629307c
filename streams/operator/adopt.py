"""The ways out of a halted partition: what an operator decides, and what follows from it.

A partition halts where the log is not the one that was applied (``streams.worker.takeover``).
Whoever knows why may let the workers go on: on a topic that was made anew, or at an offset of the
present one. What is given up by that is said before, and refused while it can still be saved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final, NamedTuple

from db.engine import Connection
from db.ledger import adoption
from db.ledger.adoption import Changed, Row
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.alarms import Alarms
from streams.kafka.admin import Admin
from streams.kafka.groups import Group
from streams.operator.repair import Repair

#: Shown by doctor until a worker takes the partition over.
WAITING: Final = "adopted by an operator; it is applied once a worker takes it over: restart one"


class AdoptionRefused(Exception):
    """What was asked would lose something, or is no way out of this halt."""


class Situation(NamedTuple):
    """A partition in the database, on the broker and in the group.

    ``unpublished`` counts records of applied batches that are on no topic, ``lost`` names applied
    batches that are neither published nor in the outbox.
    """

    row: Row
    topic: str
    topic_id: str
    #: The first offset that the log keeps, and its end.
    start: int
    end: int
    committed: int | None
    unpublished: int
    lost: tuple[int, ...]


class Plan(NamedTuple):
    """What an adoption does."""

    situation: Situation
    after: Changed
    #: What the group's offset is set to, which takes a group without members; None: it stays.
    commit: int | None

    @property
    def lines(self) -> list[str]:
        """The plan in words."""
        before, after = self.situation.row, self.after
        lines = [
            f"go on at offset {after.next_offset} of topic id {after.topic_id}"
            f" (before: {before.next_offset} of {before.topic_id})"
        ]
        if after.generation != before.generation:
            lines.append(
                f"ids of generation {after.generation}, since offsets come again; "
                "the kept outbox rows of the partition are dropped"
            )
        elif after.next_offset > before.next_offset:
            lines.append(
                f"offsets {before.next_offset} to {after.next_offset - 1} are never applied"
            )
        if self.commit is not None:
            lines.append(f"the group's offset becomes {self.commit}")
        unpublished, lost = self.situation.unpublished, self.situation.lost
        if unpublished:
            lines.append(f"{unpublished} records of applied batches are never published")
        if lost:
            lines.append(f"{len(lost)} applied batches (the first {lost[0]}) are never published")
        return lines


def look(
    settings: Settings, connection: Connection, code: CommandTopic, numbers: Sequence[int]
) -> list[Situation]:
    """Partitions of a topic as they stand; raises ``AdoptionRefused`` if one is not known."""
    name = topic_name(settings, code)
    admin = Admin(settings)
    rows = {row.partition: row for row in adoption.rows(connection) if row.topic == code}
    facts = admin.topics([name]).get(name)
    if facts is None:
        raise AdoptionRefused(f"There is no topic {name}: `wallet topics --create` makes it.")
    for number in numbers:
        if number not in rows:
            raise AdoptionRefused(f"{name}/{number} was never taken over by a worker.")
        if number >= facts.partitions:
            raise AdoptionRefused(f"{name} has {facts.partitions} partitions, and no {number}.")
    if not numbers:
        return []
    starts, ends = admin.starts(name, numbers), admin.ends(name, numbers)
    committed = Group(settings).committed([(code, number) for number in numbers])
    with closing(Repair(settings, connection)) as repair:
        # One look for all of them, since it reads the events that the outbox goes back to.
        repair.look([(int(code), number) for number in numbers], all_rows=True)
        unpublished = {number: repair.missing_of(code, number) for number in numbers}
    return [
        Situation(
            rows[number],
            name,
            facts.topic_id,
            starts[number],
            ends[number],
            committed[code, number],
            unpublished[number],
            _lost(connection, rows[number], committed[code, number]),
        )
        for number in numbers
    ]


def _lost(connection: Connection, row: Row, committed: int | None) -> tuple[int, ...]:
    if committed is None:
        return ()
    return tuple(adoption.unpacked_slices(connection, row, committed))


def plan(
    situation: Situation,
    *,
    recreated: bool,
    at: int | None,
    new_generation: bool = False,
    abandon: bool = False,
) -> Plan:
    """What adopting would do: ``recreated`` takes the topic of the same name from its beginning,
    ``at`` goes on at an offset. Nothing is changed.

    Raises ``AdoptionRefused`` where nothing is halted, where that is no way out, and, unless
    ``abandon``, while applied batches are not published.
    """
    if situation.row.halted is None:
        raise AdoptionRefused(
            f"{situation.topic}/{situation.row.partition} is not halted: the workers apply it."
        )
    row, unpublished, lost = situation.row, situation.unpublished, situation.lost
    if recreated:
        if row.topic_id == situation.topic_id:
            raise AdoptionRefused(f"{situation.topic} is the topic that was applied; see --at.")
        after = Changed(situation.topic_id, row.generation + 1, situation.start)
    elif at is None:
        raise AdoptionRefused("Say how: --recreated, or --at OFFSET.")
    else:
        after = _at(situation, at, new_generation)
    wanted = after.next_offset
    # A group without an offset is given 0 by the workers themselves, and 0 alone.
    settled = situation.committed == wanted or (situation.committed is None and wanted == 0)
    if unpublished and not abandon:
        raise AdoptionRefused(
            f"{unpublished} records of applied batches are on no topic. `wallet events repair "
            "--publish` publishes them; or give them up with --abandon."
        )
    if lost and not abandon:
        raise AdoptionRefused(
            f"Batches {', '.join(map(str, lost[:5]))}{' …' if lost[5:] else ''} were applied, but "
            "neither published nor kept in the outbox: their outcomes stand, and their events are "
            "nowhere. Give those up with --abandon."
        )
    return Plan(situation, after, None if settled else wanted)


def _at(situation: Situation, at: int, new_generation: bool) -> Changed:
    row = situation.row
    if not situation.start <= at <= situation.end:
        raise AdoptionRefused(
            f"{situation.topic}/{row.partition} holds offsets {situation.start} to "
            f"{situation.end}; {at} is not among them."
        )
    again = at < row.next_offset or row.topic_id != situation.topic_id or new_generation
    return Changed(situation.topic_id, row.generation + again, at)


def adopt(
    settings: Settings, connection: Connection, made: Plan, *, patience_seconds: float = 0.0
) -> int:
    """Do what the plan says; how many outbox rows were dropped.

    Waits for the group to be without members where its offset has to be set. Tells
    ``wallet.alerts``. Raises ``AdoptionRefused``, ``Moved`` or ``KafkaUnavailable``; then the
    partition is as halted as it was.
    """
    row = made.situation.row
    code = CommandTopic(row.topic)
    if made.commit is not None:
        group = Group(settings)
        _await_empty(group, patience_seconds)
        group.commit({(code, row.partition): made.commit})
    dropped = adoption.adopt(connection, row, made.after, note=WAITING)
    with closing(Alarms(settings, source="wallet operator")) as alarms:
        alarms.sound(
            "partition-adopted",
            f"{code.name.lower()}/{row.partition}",
            f"An operator adopted {made.situation.topic}/{row.partition}: "
            f"{'; '.join(made.lines)}. It was halted: {row.halted}",
        )
    return dropped


def _await_empty(group: Group, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    pause = threading.Event()
    while members := group.members():
        if time.monotonic() > deadline:
            raise AdoptionRefused(
                f"The group has {members} members, and its offset can only be set while it has "
                "none: stop the workers, adopt, and start them again."
            )
        pause.wait(0.5)
