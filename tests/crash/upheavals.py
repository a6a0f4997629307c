"""What befalls the servers and the log under a wallet: each is borne, or stops it with an alarm."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final

import psycopg
from confluent_kafka.admin import AdminClient

from db.ledger import rebuilding
from schemas.topics import CommandTopic, topic_name
from streams import rebuild
from streams.kafka.admin import Admin, create_topics
from streams.kafka.config import client_config
from tests.crash.servers import Servers
from tests.crash.wallet import Wallet, Worker
from tests.support.eventually import eventually
from tests.support.station import Proof

_PIECE: Final = 120
_TOPIC: Final = CommandTopic.SERVICES

Place = tuple[int, int]


def _applied(wallet: Wallet) -> None:
    """Some traffic, applied and published; nobody works afterwards."""
    wallet.traffic.begin()
    wallet.traffic.go_on(_PIECE)
    with wallet.worker() as worker:
        wallet.traffic.settle()
        worker.drain()
    wallet.await_nobody()


def _all_of_topic(wallet: Wallet) -> list[Place]:
    return [(int(_TOPIC), number) for number in range(wallet.settings.partitions)]


def _stopped(wallet: Wallet, worker: Worker, places: Iterable[Place], words: str) -> None:
    """These partitions are halted, for a reason with these words, and everybody is told."""
    wanted = set(places)
    eventually(lambda: set(wallet.halted()) == wanted, f"halted: {sorted(wanted)}", 60.0)
    worker.await_fault(f"{len(wanted)} partitions halted")
    assert all(words in reason for reason in wallet.halted().values()), wallet.halted()
    alarms = [alarm for alarm in wallet.alarms() if alarm["kind"] == "partition-halted"]
    assert {alarm["subject"] for alarm in alarms} == {
        f"{CommandTopic(topic).name.lower()}/{number}" for topic, number in wanted
    }
    assert all(words in alarm["detail"] for alarm in alarms)


def _make_anew(wallet: Wallet) -> None:
    """Delete the services' topic and make it again."""
    admin = Admin(wallet.settings)
    name = topic_name(wallet.settings, _TOPIC)
    admin.delete_topics([name])
    eventually(lambda: not admin.topics([name]), "the topic is gone")
    create_topics(wallet.settings)


def topic_made_anew_while_down(wallet: Wallet, seed: int) -> None:
    """A topic is deleted and made again while no worker runs."""
    _applied(wallet)
    Proof(wallet.settings).hold()
    _make_anew(wallet)
    with wallet.worker() as worker:
        _stopped(wallet, worker, _all_of_topic(wallet), "the topic was made anew")
        worker.drain()


def topic_made_anew_under_a_worker(wallet: Wallet, seed: int) -> None:
    """A topic is deleted and made again under a worker."""
    _applied(wallet)
    Proof(wallet.settings).hold()
    with wallet.worker() as worker:
        worker.await_ready()
        _make_anew(wallet)
        _stopped(wallet, worker, _all_of_topic(wallet), "the topic was made anew")
        worker.drain()


def tail_lost(wallet: Wallet, seed: int) -> None:
    """The broker has lost the end of a partition that was applied."""
    _applied(wallet)
    place = _busiest(wallet)
    with psycopg.connect(wallet.settings.database_url) as meddler:
        meddler.execute(
            "UPDATE partitions SET next_offset = next_offset + 3, last_offset = last_offset + 3"
            " WHERE (topic, partition) = (%s, %s)",
            place,
        )
    with wallet.worker() as worker:
        _stopped(wallet, worker, [place], "the log ends at")
        with psycopg.connect(wallet.settings.database_url) as operator:
            operator.execute(
                "UPDATE partitions SET next_offset = next_offset - 3,"
                " last_offset = last_offset - 3 WHERE (topic, partition) = (%s, %s)",
                place,
            )
        worker.drain()
    _goes_on(wallet)


def offsets_expired(wallet: Wallet, seed: int) -> None:
    """The group's committed offsets are gone."""
    _applied(wallet)
    # Kept until it has answered: the client's end would be the question's, too.
    client = AdminClient(client_config(wallet.settings))
    (future,) = client.delete_consumer_groups([wallet.settings.group]).values()
    future.result(30.0)
    with psycopg.connect(wallet.settings.api_database_url) as connection:
        begun = connection.execute(
            "SELECT topic, partition FROM partitions WHERE next_offset > 0"
        ).fetchall()
    with wallet.worker() as worker:
        _stopped(wallet, worker, begun, "the group's committed offset is gone")
        worker.drain()


def database_restored(wallet: Wallet, seed: int) -> None:
    """The database is one from before; the log brings it up to date."""
    _applied(wallet)
    backup = wallet.copy_database()
    wallet.traffic.go_on(_PIECE)
    with wallet.worker() as worker:
        wallet.traffic.settle()
        worker.drain()
    wallet.await_nobody()
    with psycopg.connect(wallet.settings.api_database_url) as connection:
        query = "SELECT topic, partition, next_offset FROM partitions"
        later = set(connection.execute(query).fetchall())
        with psycopg.connect(backup.api_url) as before:
            later -= set(before.execute(query).fetchall())
    wallet.restore(backup)
    with wallet.worker() as worker:
        _stopped(wallet, worker, [row[:2] for row in later], "the database is older than the topic")
        worker.drain()
    with (
        rebuilding.target(backup.owner_url) as connection,
        closing(rebuild.Rebuild(wallet.settings, connection, resume=True)) as replaying,
    ):
        replaying.run()
    _goes_on(wallet)


def one_of_two_freezes(wallet: Wallet, seed: int) -> None:
    """One of two workers freezes with wallets locked that the other needs as sellers'."""
    wallet.traffic.begin()
    with wallet.worker("entering", "SIGSTOP", "0") as first, wallet.worker() as second:
        for worker in (first, second):
            wallet.await_owner(worker)
            worker.await_ready()
        wallet.traffic.go_on(2 * _PIECE)
        first.await_frozen()
        wallet.traffic.settle()
        first.thaw()
        wallet.traffic.go_on(_PIECE)
        wallet.traffic.settle()
        first.drain()
        second.drain()
    wallet.hold()


def _busiest(wallet: Wallet) -> Place:
    with psycopg.connect(wallet.settings.api_database_url) as connection:
        row = connection.execute(
            "SELECT topic, partition FROM partitions ORDER BY next_offset DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def _goes_on(wallet: Wallet) -> None:
    """Once put right, all goes on as if nothing had been."""
    wallet.traffic.go_on(_PIECE)
    with wallet.worker() as worker:
        wallet.traffic.settle()
        worker.await_ready()
        worker.drain()
    wallet.hold()


#: What stops a wallet, or one of its partitions, or is seen to in mid-load.
UPHEAVALS: Final[dict[str, Callable[[Wallet, int], None]]] = {
    "topic made anew, worker down": topic_made_anew_while_down,
    "topic made anew under a worker": topic_made_anew_under_a_worker,
    "tail lost": tail_lost,
    "offsets expired": offsets_expired,
    "database restored": database_restored,
    "one of two workers freezes": one_of_two_freezes,
}


def database_restarts(wallet: Wallet, servers: Servers, seed: int, times: int = 2) -> None:
    """The database dies in mid-load, and comes back."""
    _dies_in_mid_load(wallet, seed, times, servers.kill_database, servers.start_database)


def broker_restarts(wallet: Wallet, servers: Servers, seed: int, times: int = 2) -> None:
    """The broker dies in mid-load, and comes back."""
    _dies_in_mid_load(wallet, seed, times, servers.kill_broker, servers.start_broker)


def _dies_in_mid_load(
    wallet: Wallet, seed: int, times: int, kill: Callable[[], None], start: Callable[[], None]
) -> None:
    chance = random.Random(seed)
    wallet.traffic.begin()
    with wallet.worker() as worker:
        worker.await_ready()
        for _ in range(times):
            wallet.traffic.go_on(_PIECE)
            wallet.traffic.await_some(chance.randrange(_PIECE), _PIECE)
            kill()
            worker.await_fault("is away")
            start()
            worker.await_ready()
        wallet.traffic.go_on(_PIECE)
        wallet.traffic.settle()
        worker.drain()
    wallet.hold()


#: What needs servers that no other wallet uses.
RESTARTS: Final[dict[str, Callable[[Wallet, Servers, int, int], None]]] = {
    "database restarts": database_restarts,
    "broker restarts": broker_restarts,
}
