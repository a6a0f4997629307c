"""The doctor holds the books against the broker: published, topics, manifests, records."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import psycopg
import pytest

from processors.apply import unpack_frames
from processors.telling import MANIFEST_FRAME
from schemas.commands import OpenWallet
from schemas.publications import Manifest
from schemas.settings import Settings
from schemas.topics import BATCHES, CommandTopic, topic_name
from streams.doctor import Options, Report, examination
from streams.doctor.log import Log
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable
from streams.kafka.groups import Group
from streams.kafka.produce import Producer
from tests.conftest import Database
from tests.streams.doctor.looking import ONCHAIN
from tests.support.played import applier, with_account
from tests.support.running import Teller, prepared
from tests.support.story import ANN, Story

USERS = CommandTopic.USERS


class World:
    """Three commands and a dead letter that are applied, and published only as a test says."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.story = Story(settings.partitions)
        for _ in range(3):
            self.story.do(ANN, OpenWallet())
        self.story.write(USERS, ANN.encode(), b"{")
        teller = Teller(settings)
        records = self.story.close()
        teller.tell(records)
        teller.close()
        with applier(database, self.story) as (applies, claims):
            applies.apply(records, claims)
        facts = Admin(settings).topics([topic_name(settings, code) for code in CommandTopic])
        for code in CommandTopic:
            self.change(
                f"UPDATE partitions SET topic_id = '{facts[topic_name(settings, code)].topic_id}'"
                f" WHERE topic = {int(code)}"
            )
        self.partition = records[0].partition

    def change(self, statement: str) -> None:
        """Change anything, as a superuser."""
        with psycopg.connect(self.database.superuser_url) as connection:
            connection.execute("SET session_replication_role = replica")
            assert connection.execute(statement).rowcount

    def publish(self, **changes: object) -> None:
        """Publish the manifest, perhaps another than was written, and commit the offset."""
        with psycopg.connect(self.database.superuser_url) as connection:
            row = connection.execute("SELECT frames FROM outbox").fetchone()
        assert row is not None
        (told,) = [f.value for f in unpack_frames(row[0]) if f.kind == MANIFEST_FRAME]
        manifest = msgspec.structs.replace(msgspec.json.decode(told, type=Manifest), **changes)
        producer = Producer(self.settings)
        name = topic_name(self.settings, BATCHES)
        producer.send(name, b"", msgspec.json.encode(manifest), partition=self.partition)
        producer.close()
        Group(self.settings).commit({(USERS, self.partition): 4})

    def report(self, *, unpublished_seconds: float = 60.0) -> Report:
        """Look closely."""
        return examination(
            self.settings, Options(log=True, unpublished_seconds=unpublished_seconds)
        )

    def found(self, *, unpublished_seconds: float = 60.0) -> dict[str, str]:
        """Check to the detail of its one finding."""
        findings = self.report(unpublished_seconds=unpublished_seconds).findings
        assert len({finding.check for finding in findings}) == len(findings), findings
        return {finding.check: finding.detail for finding in findings}


@pytest.fixture
def world(settings: Settings, database: Database) -> Iterator[World]:
    """Nothing is published yet; the group has an offset, as after a take-over."""
    ours = prepared(with_account(msgspec.structs.replace(settings, partitions=2)))
    made = World(ours, database)
    Group(ours).commit({(USERS, made.partition): 0})
    yield made


def test_books_that_agree_with_the_log_are_clean(world: World) -> None:
    world.publish()
    report = world.report()
    assert report.findings == []
    # No chain is followed here: all else is looked at.
    left_out = {check.check for check in report.checks if check.left_out is not None}
    assert left_out <= ONCHAIN | {"node"}


def test_what_is_not_published_is_found_by_its_age_or_where_it_cannot_be(world: World) -> None:
    assert world.found() == {}
    found = world.found(unpublished_seconds=0.0)
    assert "1 batches from offset 0 on wait to be published" in found["published"]
    world.change("DELETE FROM outbox")
    assert "neither published nor in the outbox" in world.found()["published"]


def test_manifests_that_tell_otherwise_or_too_much_or_nothing_are_found(world: World) -> None:
    Group(world.settings).commit({(USERS, world.partition): 4})
    assert "1 slices are published, but there are only 0" in world.found()["manifests"]
    world.publish(entries=99)
    assert "the manifest says" in world.found()["manifests"]
    world.publish(batch_id=77)
    details = [finding.detail for finding in world.report().findings]
    assert "the manifest tells of a slice that is not in the database" in details


def test_a_record_without_an_outcome_is_found(world: World) -> None:
    world.publish()
    world.change("DELETE FROM dead_letters")
    assert "4 records, but 3 outcomes" in world.found()["records"]


def test_a_dead_letter_that_is_not_its_record_is_found(world: World) -> None:
    world.publish()
    world.change("UPDATE dead_letters SET value = '{}'")
    assert "offset 3 is not as its record is" in world.found()["records"]


def test_records_that_were_passed_over_are_found(world: World) -> None:
    world.publish()
    for _ in range(3):
        # On the topic, and never applied: 4 to 6.
        world.story.do(ANN, OpenWallet())
    late = world.story.close()
    teller = Teller(world.settings)
    teller.tell(late)
    teller.close()
    assert world.found() == {}
    world.change(
        "UPDATE partitions SET next_offset = 6, last_offset = NULL, last_digest = NULL"
        f" WHERE topic = 1 AND partition = {world.partition}"
    )
    assert "2 records, the first at offset 4, were never decided" in world.found()["records"]
    with applier(world.database, world.story) as (applies, claims):
        applies.apply(late[2:], claims)
    # Between two slices now.
    found = world.found()
    assert "2 records, the first at offset 4, were never decided" in found["records"]


def test_a_partition_whose_first_records_were_passed_over_is_found(world: World) -> None:
    world.publish()
    world.change("UPDATE batch_slices SET first_offset = 1")
    details = [f.detail for f in world.report().findings if f.check == "records"]
    assert "1 records, the first at offset 0, were never decided" in details


def test_rules_and_versions_that_the_manifests_tell_otherwise_are_found(world: World) -> None:
    world.publish()
    world.change("UPDATE batches SET logic_version = 7")
    assert "by versions (1, 1) of rules and logic, not (1, 7)" in world.found()["manifests"]
    world.change("UPDATE batches SET logic_version = 1")
    world.change(
        "UPDATE rules SET data = replace(data::text, '\"withdrawal_fee\":',"
        " '\"withdrawal_fee\":9')::json"
    )
    assert "the rules of version 1 were others" in world.found()["manifests"]


def test_a_log_that_is_not_the_one_that_was_applied_is_found(world: World) -> None:
    world.publish()
    Group(world.settings).commit({(USERS, world.partition): 9})
    assert "older than the topic" in world.found()["published"]
    fresh = msgspec.structs.replace(world.settings, group="nobody")
    (finding,) = examination(fresh, Options()).findings
    assert "committed offset is gone" in finding.detail
    Group(world.settings).commit({(USERS, world.partition): 4})
    world.change(
        f"UPDATE partitions SET topic_id = 'x' WHERE topic = 1 AND partition = {world.partition}"
    )
    assert "made anew" in world.found()["topics"]


def test_a_broker_that_is_away_leaves_its_checks_out_and_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(settings: Settings) -> Log:
        raise KafkaUnavailable("nobody answers")

    monkeypatch.setattr("streams.doctor.checks.Log", away)
    report = examination(settings, Options(quick=True))
    assert report.clean
    reasons = {check.check: check.left_out for check in report.checks if check.left_out}
    assert reasons["published"] == "the broker was asked in vain: nobody answers"
