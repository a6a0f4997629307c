"""Records that no slice holds are seen between slices, and told by who rebuilds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import psycopg
import pytest
from click.testing import CliRunner

from api.commands.rebuild import command
from db.ledger import rebuilding
from processors.apply import unpack_frames
from processors.incoming import Record
from processors.telling import MANIFEST_FRAME
from schemas.commands import OpenWallet
from schemas.settings import Settings
from schemas.topics import BATCHES, CommandTopic, topic_name
from streams.kafka.admin import create_topics
from streams.kafka.produce import Producer
from streams.kafka.slices import PassedOver, Slices
from streams.kafka.view import LogView
from streams.rebuild import Rebuild
from streams.records import Reader
from tests.conftest import Database, Databases
from tests.support.played import applier
from tests.support.running import Teller, environment_of, prepared
from tests.support.story import ANN, Story

SERVICES = CommandTopic.SERVICES
USERS = CommandTopic.USERS
RECORDS = 30


class Part(NamedTuple):
    """A slice of one partition."""

    first_offset: int
    last_offset: int
    generation: int = 1
    partition: int = 0
    topic: int = SERVICES


@pytest.fixture
def slices(settings: Settings) -> Iterator[Slices]:
    """A reader of a topic with some records."""
    create_topics(settings)
    with closing(Producer(settings)) as producer:
        for number in range(RECORDS):
            name = topic_name(settings, SERVICES)
            producer.send(name, b"k", b"%d" % number, partition=0)
    with closing(Slices(settings)) as made:
        yield made


def taken(slices: Slices, part: Part) -> PassedOver | None:
    """What was passed over before the slice, which has all of its records."""
    records = slices.take(part)
    assert [m.offset() for m in records] == [*range(part.first_offset, part.last_offset + 1)]
    return slices.passed_over


def test_records_before_the_first_slice_and_between_two_are_seen(slices: Slices) -> None:
    assert taken(slices, Part(2, 3)) == (2, 0)
    assert taken(slices, Part(4, 6)) is None
    assert taken(slices, Part(10, 10)) == (3, 7)
    assert slices.after(SERVICES, 0, 1) == 11
    assert slices.after(SERVICES, 1, 1) == 0


def test_a_slice_that_is_left_out_was_not_passed_over(slices: Slices) -> None:
    slices.leave_out(Part(0, 4))
    assert taken(slices, Part(5, 6)) is None
    slices.leave_out(Part(7, 9))
    assert slices.passed_over is None
    assert taken(slices, Part(11, 12)) == (1, 10)


def test_a_later_generation_begins_where_an_operator_said(slices: Slices) -> None:
    assert taken(slices, Part(0, 4)) is None
    assert slices.after(SERVICES, 0, 2) is None
    assert taken(slices, Part(9, 10, generation=2)) is None
    assert taken(slices, Part(13, 13, generation=2)) == (2, 11)
    # Its offsets came again.
    assert taken(slices, Part(3, 4, generation=3)) is None
    assert taken(slices, Part(6, 6, generation=3)) == (1, 5)


class World:
    """A wallet of one partition's commands, of which some went past the worker."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.story = Story(settings.partitions)
        self._teller = Teller(settings)
        self._view = LogView(settings)

    def tell(self, count: int) -> list[Record]:
        """So many commands of one user on the topic, with the broker's time."""
        for _ in range(count):
            self.story.do(ANN, OpenWallet())
        told = self.story.close()
        self._teller.tell(told)
        name = topic_name(self.settings, USERS)
        first, last = told[0], told[-1]
        read = self._view.records(name, first.partition, first.offset, last.offset)
        return Reader(self.settings).records(read)

    def pass_over(self, count: int) -> None:
        """The same, with the partition moved past them."""
        last = self.tell(count)[-1]
        with psycopg.connect(self.database.superuser_url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(
                "UPDATE partitions SET next_offset = %s, last_offset = NULL, last_digest = NULL"
                " WHERE topic = %s AND partition = %s",
                (last.offset + 1, last.topic, last.partition),
            )

    def apply(self, count: int) -> None:
        """The same, as a batch whose manifest is published."""
        records = self.tell(count)
        with applier(self.database, self.story) as (applies, claims):
            applies.apply(records, claims)
        self._publish(records[0].partition)

    def _publish(self, partition: int) -> None:
        with psycopg.connect(self.database.superuser_url) as connection:
            rows = connection.execute("DELETE FROM outbox RETURNING frames").fetchall()
        with closing(Producer(self.settings)) as producer:
            for (packed,) in rows:
                (told,) = [f.value for f in unpack_frames(packed) if f.kind == MANIFEST_FRAME]
                name = topic_name(self.settings, BATCHES)
                producer.send(name, b"", told, partition=partition)

    def close(self) -> None:
        """Let go of the broker."""
        self._teller.close()
        self._view.close()


@pytest.fixture
def world(settings: Settings, database: Database) -> Iterator[World]:
    """Records were passed over between the first two batches, and between the last two."""
    with closing(World(prepared(settings), database)) as made:
        made.apply(1)
        made.pass_over(2)
        made.apply(3)
        made.apply(1)
        made.pass_over(1)
        made.apply(1)
        yield made


@pytest.fixture
def empty(databases: Databases) -> Iterator[Database]:
    """A migrated database without rules."""
    database = databases.fresh()
    yield database
    databases.drop(database.name)


def test_a_rebuild_tells_records_that_were_passed_over(world: World, empty: Database) -> None:
    with (
        rebuilding.target(empty.owner_url) as connection,
        closing(Rebuild(world.settings, connection)) as rebuild,
    ):
        assert rebuild.run(only=[1, 2]).records == 4
        assert [line.partition(": ")[2] for line in rebuild.passed_over] == [
            "2 records, the first at offset 1, were never decided"
        ]
    result = CliRunner().invoke(
        command,
        ["--into", empty.owner_url, "--resume", "--compare"],
        env=environment_of(world.settings),
    )
    # What was decided comes out the same; that something was not is another matter.
    assert result.exit_code == 0, result.output
    assert "both databases hold the same" in result.output
    assert f"passed over {topic_name(world.settings, USERS)}/" in result.output
    assert "1 records, the first at offset 7, were never decided" in result.output
    # That before the batches which were there already is not looked for again.
    assert "offset 1," not in result.output
