"""A batch that a worker cannot unpack, from before its topic kept them unpacked: its partition
waits, and it alone, wherever in the batch the ledger is."""

from __future__ import annotations

from contextlib import closing

import msgspec
import psycopg
import pytest
from confluent_kafka import Producer

from schemas.ids import Place
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.admin import Admin, create_topics
from streams.kafka.config import client_config
from streams.kafka.lag import Backlog, LagView
from streams.operator.adopt import adopt, look, plan
from tests.streams.worker.test_takeover import TOPIC, Wallet, halted_alone, set_on_topic, working
from tests.support.books import USERS
from tests.support.eventually import eventually
from tests.support.station import prepared, send

pytestmark = pytest.mark.timeout(120)

_RECORDS = 200


@pytest.fixture
def wallet(settings: Settings) -> Wallet:
    """With such a batch behind what is applied."""
    made = Wallet(prepared(settings))
    send_packed(made)
    return made


def send_packed(wallet: Wallet) -> None:
    """Send such a batch: 7 KB as it is packed, 3 MB unpacked."""
    set_on_topic(wallet, "compression.type", "producer")
    large = {"batch.size": 10_000_000, "message.max.bytes": 10_000_000, "linger.ms": 60_000}
    producer = Producer(client_config(wallet.settings, **{"compression.type": "zstd", **large}))
    name, key = topic_name(wallet.settings, TOPIC), USERS[0].encode()
    for _ in range(_RECORDS):
        producer.produce(name, b" " * 16_000, key, wallet.partition)
    assert producer.flush(30.0) == 0


def limited(settings: Settings) -> Settings:
    """A worker's that cannot unpack it."""
    limits = {"receive.message.max.bytes": "2000000", "fetch.max.bytes": "1000000"}
    return msgspec.structs.replace(settings, kafka={**settings.kafka, **limits})


def next_offset(wallet: Wallet) -> int:
    with psycopg.connect(wallet.settings.api_database_url) as connection:
        found = connection.execute(
            "SELECT next_offset FROM partitions WHERE topic = %s AND partition = %s",
            (int(TOPIC), wallet.partition),
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_it_halts_its_partition_alone_until_a_worker_can(wallet: Wallet) -> None:
    places = send(wallet.settings, wallet.load())
    assert "cannot be read" in halted_alone(wallet, limited(wallet.settings), places)
    with working(wallet.settings):
        eventually(
            lambda: wallet.decided(places),
            "a worker that may unpack more applies it, and all that came after it",
        )
    assert wallet.halted() == {}


def test_what_stands_before_it_is_applied_though_it_is_read_together_with_it(
    settings: Settings,
) -> None:
    wallet = Wallet(prepared(settings))
    places = send(wallet.settings, wallet.load())
    send_packed(wallet)
    halted_alone(wallet, limited(wallet.settings), places)
    assert wallet.decided(places)


def test_it_halts_its_partition_alone_also_where_a_worker_that_could_has_applied_it(
    wallet: Wallet,
) -> None:
    end = next_offset(wallet) + _RECORDS
    with working(wallet.settings):
        eventually(lambda: next_offset(wallet) == end, "a worker that can applies it")
    places = send(wallet.settings, wallet.load())
    assert "cannot be read" in halted_alone(wallet, limited(wallet.settings), places)
    with working(wallet.settings):
        eventually(lambda: wallet.decided(places), "a worker that can goes on")
    with working(limited(wallet.settings)) as worker:
        eventually(lambda: worker.fault() is None, "behind a later record any worker can")


def test_it_halts_its_partition_also_for_whoever_is_to_go_on_amid_it(wallet: Wallet) -> None:
    unable = limited(wallet.settings)
    with working(unable):
        eventually(wallet.halted, "the partition is halted")
    wallet.await_no_members()
    with psycopg.connect(unable.worker_database_url, autocommit=True) as connection:
        (found,) = look(unable, connection, TOPIC, [wallet.partition])
        amid = plan(found, recreated=False, at=found.row.next_offset + 10)
        adopt(unable, connection, amid, patience_seconds=30.0)
    with working(unable) as worker:
        eventually(
            lambda: "cannot be read" in (worker.fault() or ""), "the partition is halted again"
        )
    assert list(wallet.halted()) == [(int(TOPIC), wallet.partition)]


def test_it_is_counted_as_waiting_by_whoever_cannot_read_it(wallet: Wallet) -> None:
    unable = limited(wallet.settings)
    with closing(LagView(unable)) as lag:
        names = [topic_name(unable, code) for code in CommandTopic]
        waiting = lag.of_group(unable.group, names)
    assert waiting == Backlog(_RECORDS)
    assert waiting.seconds(0) is None


def test_it_is_forgotten_with_the_topic_that_had_it(wallet: Wallet) -> None:
    unable, name = limited(wallet.settings), topic_name(wallet.settings, TOPIC)
    numbers = range(unable.partitions)
    admin = Admin(unable)
    with working(unable) as worker:
        eventually(wallet.halted, "the partition is halted")
        admin.delete_topics([name])
        eventually(lambda: not admin.topics([name]), "the topic is gone")
        create_topics(unable)
        places = send(unable, wallet.load())
        eventually(lambda: len(wallet.halted()) == len(numbers), "the topic was made anew")
        with psycopg.connect(unable.worker_database_url, autocommit=True) as connection:
            for found in look(unable, connection, TOPIC, numbers):
                adopt(unable, connection, plan(found, recreated=True, at=None))
        # As where another one is started, and shares the partitions with it.
        worker._due = True
        eventually(lambda: outcome_of_all(wallet, places), "the new topic is applied")


def outcome_of_all(wallet: Wallet, places: list[Place]) -> bool:
    """Of places in the second generation of their topic."""
    again = [place._replace(generation=2) for place in places]
    return wallet.decided(again)
