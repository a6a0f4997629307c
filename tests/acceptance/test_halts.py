"""Each way in which a partition halts, on a real broker, and the operator's way out of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from confluent_kafka import TopicPartition
from psycopg import sql

from db.engine import connect
from schemas.commands import LockFunds
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.doctor import Options, examine
from streams.kafka.admin import Admin, create_topics
from streams.kafka.config import finished
from streams.kafka.groups import Group
from tests.conftest import Database, Databases
from tests.support.eventually import eventually
from tests.support.line import Line, settings_on
from tests.support.running import prepared, worker_on
from tests.support.story import ANN, doge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SERVICES = CommandTopic.SERVICES


class Halting(Line):
    """A wallet of one partition a topic, whose worker runs now and then."""

    def __init__(self, settings: Settings, database: Database) -> None:
        super().__init__(settings)
        self.database = database
        self.admin = Admin(settings)
        self.name = topic_name(settings, SERVICES)

    def lock(self, count: int = 1) -> None:
        """Tell commands of the services' topic; they are refused, since there is no money."""
        for _ in range(count):
            self.story.do(
                ANN, LockFunds(amount=doge(1), reference_type="auction", reference_id="1")
            )
        self.teller.tell(self.story.close())

    def work(self) -> None:
        """Let a worker apply and publish all that was told."""
        with worker_on(self.settings):
            self.teller.settle()

    def halted(self, words: str) -> None:
        """Let a worker halt the partition, for a reason with these words."""
        with worker_on(self.settings) as worker:
            eventually(lambda: words in (worker.fault() or ""), f"halted: {words}")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Look into the database as its owner."""
        with connect(self.database.owner_url, application_name="test") as connection:
            return connection.execute(query).fetchall()

    def forget(self, ends: int = 0) -> None:
        """Nothing more was told of the services' topic than its first ``ends`` offsets."""
        self.story._ends[SERVICES, 0] = ends
        self.teller._ends[SERVICES, 0] = ends

    def outcomes(self) -> int:
        """How many outcomes there are in all."""
        ((count,),) = self.rows("SELECT count(*) FROM commands WHERE topic = 0")
        assert isinstance(count, int)
        return count

    def findings(self) -> list[str]:
        """What the doctor finds, the log included."""
        found = examine(self.settings, Options(log=True))
        return [f"{finding.check}: {finding.detail}" for finding in found]

    def adopt(self, *arguments: str, code: int = 0) -> str:
        """Adopt the services' partition."""
        return self.must("operator", "partition", "adopt", "services", "0", *arguments, code=code)


@pytest.fixture
def line(databases: Databases, kafka_server: str) -> Iterator[Halting]:
    """A wallet with five commands applied and published."""
    database = databases.fresh()
    made = Halting(prepared(settings_on(database, kafka_server, 1)), database)
    made.lock(5)
    made.work()
    yield made
    made.teller.close()


def test_a_topic_made_anew_is_adopted_under_new_ids(line: Halting, databases: Databases) -> None:
    line.admin.delete_topics([line.name])
    eventually(lambda: not line.admin.topics([line.name]), "the topic is gone")
    create_topics(line.settings)
    line.forget()
    line.lock(2)
    line.halted("made anew")
    assert any("halted: the topic was made anew" in text for text in line.findings())
    assert "halted: the topic was made anew" in line.must(
        "operator", "partition", "list", "--halted"
    )
    assert "say how" in line.adopt("--yes", code=2)

    assert "name partitions" in line.adopt("--recreated", "--all", code=2)
    output = line.must(
        "operator", "partition", "adopt", "services", "--all", "--recreated", "--yes"
    )
    assert "ids of generation 2" in output
    assert "goes on at offset 0, generation 2" in output
    assert any("adopted by an operator" in text for text in line.findings())
    line.work()
    assert line.outcomes() == 7
    # The same offsets, other ids: nothing of the first generation was touched.
    ((generations,),) = line.rows("SELECT count(DISTINCT generation) FROM batch_slices")
    assert generations == 2
    assert line.findings() == []
    assert "is not halted" in line.adopt("--at", "0", "--yes", code=1)
    assert "no partition of services is halted" in line.must(
        "operator", "partition", "adopt", "services", "--all", "--at", "applied", code=1
    )
    bare = databases.fresh(migrated=False)
    refused = line.must("rebuild", "--into", bare.owner_url, "--migrate", code=1)
    assert "which generation 2 has taken again: the records are gone" in refused


def test_a_log_that_lost_its_tail_goes_on_under_new_ids(line: Halting) -> None:
    lose_tail(line)
    line.lock(1)
    line.halted("the log ends at 1, but 5 were applied")
    output = line.adopt("--at", "0", "--yes")
    assert "the group's offset becomes 0" in output
    assert "goes on at offset 0, generation 2" in output
    line.work()
    assert line.outcomes() == 6
    assert line.findings() == []


def lose_tail(line: Halting) -> None:
    """As if the broker had lost all of the topic's records, but was the same topic still."""
    line.admin.delete_topics([line.name])
    eventually(lambda: not line.admin.topics([line.name]), "the topic is gone")
    create_topics(line.settings)
    topic_id = line.admin.topics([line.name])[line.name].topic_id
    with connect(line.database.owner_url, application_name="test") as connection:
        connection.execute("UPDATE partitions SET topic_id = %s WHERE topic = 0", (topic_id,))
    Group(line.settings).commit({(SERVICES, 0): 5})
    line.forget()


def test_commands_deleted_before_they_were_applied_are_stepped_over_by_an_operator_alone(
    line: Halting,
) -> None:
    line.lock(5)
    line.teller._ends.pop((SERVICES, 0))
    (future,) = line.admin._admin.delete_records([TopicPartition(line.name, 0, 7)]).values()
    finished(future)
    line.halted("the log begins at 7, after 5: commands are lost")
    assert "holds offsets 7 to 10; 6 is not among them" in line.adopt("--at", "6", "--yes", code=1)
    output = line.adopt("--at", "7", "--yes")
    assert "offsets 5 to 6 are never applied" in output
    line.teller._ends[SERVICES, 0] = 10
    line.work()
    assert line.outcomes() == 5 + 3
    # What was deleted cannot be read again; all else is sound.
    assert [text for text in line.findings() if not text.startswith("records: ")] == []


def test_a_group_that_lost_its_offset_is_given_it_again(
    line: Halting, databases: Databases
) -> None:
    group = line.settings.group
    finished(line.admin._admin.delete_consumer_groups([group])[group])
    line.halted("the group's committed offset is gone")
    assert "see --at" in line.adopt("--recreated", "--yes", code=1)
    with worker_on(line.settings) as worker:
        eventually(lambda: "halted" in (worker.fault() or ""), "halted")
        assert "members" in line.adopt("--at", "5", "--yes", code=1)
    assert "neither an offset" in line.adopt("--at", "here", "--yes", code=2)
    output = line.adopt("--at", "applied", "--yes", "--patience", "20")
    assert "the group's offset becomes 5" in output
    assert "generation 1" in output
    # Not in the log, and so no difference to what is rebuilt from it.
    bare = databases.fresh(migrated=False)
    line.must("rebuild", "--into", bare.owner_url, "--migrate", "--compare")
    line.lock(1)
    line.work()
    assert line.outcomes() == 6
    assert line.findings() == []


def test_a_database_from_before_is_brought_up_to_the_log(
    line: Halting, databases: Databases
) -> None:
    backup = copy_of(databases, line.database)
    line.lock(3)
    line.work()
    now = line.settings
    line.settings = msgspec.structs.replace(
        now, worker_database_url=backup.worker_url, api_database_url=backup.api_url
    )
    line.halted("the database is older than the topic")
    assert "the database is older" in " ".join(line.findings())
    output = line.must("rebuild", "--into", backup.owner_url, "--resume")
    assert "records replayed" in output
    line.database = backup
    assert line.outcomes() == 8
    line.lock(1)
    line.work()
    assert line.outcomes() == 9
    assert line.findings() == []


def copy_of(databases: Databases, database: Database) -> Database:
    """A backup of a database that nobody uses at the moment."""
    name = f"{database.name}_copy"
    with psycopg.connect(databases.server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER wallet_owner TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(database.name)
            )
        )
    databases.made.append(name)
    return Database.on(databases.server, name)


def test_what_was_never_published_is_saved_before_a_partition_is_adopted(line: Halting) -> None:
    group = line.settings.group
    with connect(line.database.worker_url, application_name="test") as connection:
        connection.execute("UPDATE partitions SET halted = 'for the test' WHERE topic = 0")
    # Applied, but published no further than 2, and its events are not on the topic.
    finished(line.admin._admin.delete_consumer_groups([group])[group])
    Group(line.settings).commit({(SERVICES, 0): 2})
    events = f"{line.settings.topic_prefix}wallet.events"
    end = line.admin.ends(events, [0])[0]
    (future,) = line.admin._admin.delete_records([TopicPartition(events, 0, end)]).values()
    finished(future)
    assert "are on no topic" in line.adopt("--at", "5", "--yes", code=1)
    assert "published on" in line.must("events", "repair", "--publish", "--yes")
    line.adopt("--at", "5", "--yes", "--patience", "20")
    line.lock(1)
    line.work()
    told = line.must("events", "tail", "--from-beginning", "--no-follow", "--json")
    assert len(told.splitlines()) == 6
    assert line.findings() == []

    with psycopg.connect(line.database.superuser_url) as connection:
        connection.execute("DELETE FROM outbox WHERE topic = 0")
    Group(line.settings).commit({(SERVICES, 0): 2})
    line.halted("the outbox lacks batches")
    assert "neither published nor kept" in line.adopt("--at", "6", "--yes", code=1)
    assert "never published" in line.adopt("--at", "6", "--yes", "--abandon")
    line.lock(1)
    line.work()
    assert line.outcomes() == 7


def test_a_partition_that_nobody_knows_or_nobody_agrees_to_is_not_adopted(line: Halting) -> None:
    assert "never taken over" in line.must(
        "operator", "partition", "adopt", "users", "7", "--at", "0", "--yes", code=1
    )
    with connect(line.database.worker_url, application_name="test") as connection:
        connection.execute("UPDATE partitions SET halted = 'for the test' WHERE topic = 0")
    refused = line.run("operator", "partition", "adopt", "services", "0", "--at", "5", text="n\n")
    assert refused.exit_code == 1
    assert "Do it?" in refused.output
    ((halted,),) = line.rows("SELECT halted FROM partitions WHERE topic = 0")
    assert halted == "for the test"
