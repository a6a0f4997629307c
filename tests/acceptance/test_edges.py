"""The edges: TLS to broker, database and API, SCRAM users, and ACLs that hold.

One broker and one database of the file's own, as a deployment has them.
"""

from __future__ import annotations

import secrets
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from wallet_client.kafka.config import BrokerUnavailable
from wallet_client.kafka.outcomes import Follower, Registry, Spot

from api.auth import INTERNAL, mint
from api.cli import group
from schemas.access import OUTCOMES_GROUP
from schemas.settings import Settings
from schemas.topics import (
    ALL_TOPICS,
    BATCHES,
    COMMAND_TOPIC_NAMES,
    DEAD_LETTERS,
    CommandTopic,
    Party,
    topic_name,
)
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable, client_config
from streams.kafka.groups import Group
from streams.kafka.produce import Delivery, Producer
from streams.local.process import free_port
from tests.conftest import Databases
from tests.crash.wallet import bare_environment
from tests.support.authority import Authority
from tests.support.event_bus import MoodyBus, serving
from tests.support.eventually import eventually
from tests.support.running import environment_of, prepared
from tests.support.secured import (
    Secured,
    refusal_of,
    secured_servers,
    told_of_writing,
    with_database,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OWN_EVENTS: Final = ["address.assigned", "command.rejected"]
BASE: Final = "/api/v1/wallet"
TREASURY: Final = COMMAND_TOPIC_NAMES[CommandTopic.TREASURY]
USERS: Final = COMMAND_TOPIC_NAMES[CommandTopic.USERS]
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


@pytest.fixture(scope="module")
def servers(servers_home: Path, postgres_server: str) -> Iterator[Secured]:
    """The broker, and a front with TLS for the database."""
    with secured_servers(servers_home / "edges", postgres_server) as made:
        yield made


@pytest.fixture(scope="module")
def wallet(servers: Secured, databases: Databases) -> Settings:
    """A wallet whose topics are written on by whoever can."""
    return made_wallet(servers, databases)


def made_wallet(servers: Secured, databases: Databases) -> Settings:
    """A wallet on them: tables, rules, topics, and ACLs as `wallet topics acls --apply` makes."""
    prefix = f"t{secrets.token_hex(4)}."
    settings = msgspec.structs.replace(
        servers.superuser(),
        topic_prefix=prefix,
        group=f"{prefix}worker",
        partitions=2,
        jwt_secret="a secret of the tests, long enough for HS256",
    )
    settings = with_database(settings, servers, databases.fresh())
    whole = prepared(settings)
    for words in (("topics", "--create"), ("topics", "acls", "--apply", "--check")):
        done = run_command(whole, *words)
        assert done.exit_code == 0, done.output
    return whole


def run_command(settings: Settings, *arguments: str) -> Result:
    """A command of `wallet`, in this process."""
    environment: dict[str, str | None] = {**environment_of(settings)}
    return CliRunner(env=environment).invoke(group, arguments)


def as_party(wallet: Settings, servers: Secured, party: Party | str, **changes: str) -> Settings:
    """The wallet's settings for one party, by the broker's secured listener."""
    kafka = servers.kafka(f"wallet-{party}", **changes)
    return msgspec.structs.replace(wallet, kafka=kafka)


# ---------------------------------------------------------------------- who may write and read


@pytest.mark.parametrize("party", [*Party, "stranger"])
def test_each_party_writes_where_the_table_says_and_nowhere_else(
    wallet: Settings, servers: Secured, party: Party | str
) -> None:
    told = told_of_writing(as_party(wallet, servers, party), *(topic.name for topic in ALL_TOPICS))
    assert {name for name, error in told.items() if error is None} == {
        topic.name for topic in ALL_TOPICS if party in topic.writers
    }
    assert {*told.values()} <= {None, "TOPIC_AUTHORIZATION_FAILED"}


def test_a_marketplace_service_cannot_create_money_and_nor_can_the_api(
    wallet: Settings, servers: Secured
) -> None:
    for party in (Party.SERVICES, Party.API):
        told: list[Delivery] = []
        producer = Producer(as_party(wallet, servers, party))
        producer.send(topic_name(wallet, TREASURY), b"k", b"a deposit", told.append, partition=0)
        producer.flush()
        producer.close()
        # Certain, not unknown: whoever is refused need not wonder whether it is there.
        assert told == [Delivery(-1, -1, "Broker: Topic authorization failed", unknown=False)]


def test_a_producer_that_may_write_nowhere_goes_on_saying_so(
    wallet: Settings, servers: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    producer = Producer(as_party(wallet, servers, "stranger"))
    told: list[Delivery] = []

    def sent() -> bool:
        producer.send(topic_name(wallet, USERS), b"k", b"x", told.append, partition=0)
        return any("authorization failed" in (each.error or "").lower() for each in told)

    eventually(sent, "a record is refused at once")
    eventually(lambda: sent() and "Cluster authorization failed" in caplog.text, "it is logged")
    producer.close()
    assert all(each.error is not None for each in told)


def test_a_producer_that_was_broken_for_good_is_followed_by_another(
    wallet: Settings, servers: Secured
) -> None:
    name = f"{topic_name(wallet, USERS)}.new"
    producer = Producer(as_party(wallet, servers, "stranger"))
    told: list[Delivery] = []

    def answer() -> str | None:
        producer.send(name, b"k", b"x", told.append, partition=0)
        return told[-1].error if told else "none yet"

    admin = AdminClient(dict(wallet.kafka))
    # Without a right to write anywhere its first request is refused, and that is fatal.
    eventually(lambda: answer() and producer._broken, "it is broken")
    for made in admin.create_topics([NewTopic(name, 1)]).values():
        made.result()
    granted = AclBinding(
        ResourceType.TOPIC,
        name,
        ResourcePatternType.LITERAL,
        "User:wallet-stranger",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    for future in admin.create_acls([granted]).values():
        future.result()
    try:
        eventually(lambda: answer() is None, "another is taken")
    finally:
        producer.close()
        for deleted in admin.delete_acls([_filter_of(granted)]).values():
            deleted.result()


@pytest.mark.parametrize(
    ("party", "reader"),
    [
        (Party.BRIDGE, "{prefix}wallet-bridge"),
        (Party.CONSUMERS, "wallet-consumers-of-mine"),
        (Party.OUTCOMES, OUTCOMES_GROUP),
        (Party.WORKER, "wallet-view"),
        (Party.VIEWS, "{prefix}wallet-views"),
        (Party.OPERATORS, "wallet-view"),
    ],
)
def test_each_party_reads_what_the_table_says_and_nothing_else(
    wallet: Settings, servers: Secured, party: Party, reader: str
) -> None:
    ours = as_party(wallet, servers, party)
    reader = reader.format(prefix=wallet.topic_prefix)
    read = {topic.name for topic in ALL_TOPICS if _is_readable(ours, topic.name, reader)}
    assert read == {topic.name for topic in ALL_TOPICS if party in topic.readers}


def _is_readable(settings: Settings, topic: str, reader: str) -> bool:
    name = topic_name(settings, topic)
    known = AdminClient(client_config(settings)).list_topics(name, timeout=10).topics[name].error
    if known is not None:
        assert known.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, known
        return False
    # What may be written is seen as well, and yet it is not to be read.
    consumer = Consumer(
        client_config(settings, **{"group.id": reader, "enable.partition.eof": True})
    )
    consumer.assign([TopicPartition(name, 0, 0)])
    try:
        message = consumer.poll(20.0)
        assert message is not None, topic
        error: KafkaError | None = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return True
        assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error
        return False
    finally:
        consumer.close()


class _Waiter:
    """A command that was sent; what it is told."""

    user_id = "somebody"
    idempotency_key = "key"

    def __init__(self) -> None:
        self.told: list[object] = []

    def settle(self, outcome: object) -> None:
        self.told.append(outcome)


def test_outcomes_are_followed_by_whoever_is_granted_that_and_refused_to_others(
    wallet: Settings, servers: Secured
) -> None:
    with pytest.raises(BrokerUnavailable, match=r"cannot be followed on .*authorization failed"):
        _follow(wallet, servers, Party.SERVICES, Registry())
    registry, waiter = Registry(), _Waiter()
    registry.expect(waiter)
    registry.delivered(waiter, Spot(0, 1, 7))
    with closing(_follow(wallet, servers, Party.OUTCOMES, registry)):
        with closing(Producer(as_party(wallet, servers, Party.WORKER))) as producer:
            letter = {"id": "c", "topic": 0, "partition": 1, "offset": 7, "code": "x", "detail": ""}
            name = topic_name(wallet, DEAD_LETTERS)
            producer.send(name, b"somebody", msgspec.json.encode(letter), partition=0)
        eventually(lambda: waiter.told, "the dead letter is told")


def _follow(wallet: Settings, servers: Secured, party: Party, registry: Registry) -> Follower:
    config = servers.kafka(f"wallet-{party}")
    return Follower(
        config["bootstrap.servers"], config, wallet.topic_prefix, registry, answer_seconds=20.0
    )


@pytest.mark.parametrize("party", [Party.BRIDGE, Party.CONSUMERS, Party.API])
def test_nobody_else_moves_the_workers_offsets(
    wallet: Settings, servers: Secured, party: Party
) -> None:
    group_of_workers = Group(as_party(wallet, servers, party))
    with pytest.raises(KafkaUnavailable, match="GROUP_AUTHORIZATION_FAILED"):
        group_of_workers.commit({(CommandTopic.USERS, 0): 1})


def test_the_doctor_finds_what_somebody_else_wrote_among_the_manifests(wallet: Settings) -> None:
    assert told_of_writing(wallet, BATCHES) == {BATCHES: None}
    found = run_command(wallet, "doctor", "--log")
    assert found.exit_code == 1
    assert "is no manifest" in found.output, found.output


def test_what_the_broker_allows_beyond_the_table_is_told(
    wallet: Settings, servers: Secured
) -> None:
    admin = AdminClient(dict(wallet.kafka))
    intruder = AclBinding(
        ResourceType.TOPIC,
        wallet.topic_prefix,
        ResourcePatternType.PREFIXED,
        "User:intruder",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    for future in admin.create_acls([intruder]).values():
        future.result()
    try:
        found = run_command(wallet, "topics", "acls", "--check")
        assert found.exit_code == 1
        assert f"beyond:  User:intruder Write topic {wallet.topic_prefix}* from *" in found.output
    finally:
        for deleted in admin.delete_acls([_filter_of(intruder)]).values():
            deleted.result()
    renamed = run_command(wallet, "topics", "acls", "--check", "--principal", "payer=till")
    assert renamed.exit_code == 1
    assert f"missing: till Write topic {topic_name(wallet, TREASURY)}" in renamed.output


def _filter_of(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


# ---------------------------------------------------------------------- the whole way, encrypted


@contextmanager
def process(name: str, settings: Settings, log: Path) -> Iterator[str]:
    """A process of the wallet's; what it announces itself as."""
    with log.open("ab") as errors:
        running = subprocess.Popen(
            [sys.executable, "-m", "api.cli", name],
            env={**bare_environment(), **environment_of(settings), **CREDENTIALS},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert running.stdout is not None
    with running.stdout:
        try:
            said = running.stdout.readline()
            assert said, log.read_text()
            yield said.rpartition(" on ")[2].strip()
        finally:
            running.terminate()
            assert running.wait(20) == 0


async def test_a_command_goes_the_whole_way_by_tls_each_process_with_its_own_rights(
    servers: Secured, databases: Databases, tmp_path: Path
) -> None:
    wallet = made_wallet(servers, databases)
    files = Authority(tmp_path, "of the api").server("api")
    api = msgspec.structs.replace(
        as_party(wallet, servers, Party.API),
        api_port=free_port(),
        # The worker is told to start before it, and need not be there yet.
        api_wait_seconds=30.0,
        api_tls_certificate=str(files.certificate),
        api_tls_key=str(files.key),
    )
    user = str(uuid.uuid4())
    bus = MoodyBus()
    with ExitStack() as stack:
        bridge = msgspec.structs.replace(
            as_party(wallet, servers, Party.BRIDGE),
            aws_endpoint_url=stack.enter_context(serving(bus)),
            aws_region="eu-central-1",
        )
        worker = as_party(wallet, servers, Party.WORKER)
        views = msgspec.structs.replace(
            as_party(wallet, servers, Party.VIEWS), views_port=free_port()
        )
        addresses = {
            name: stack.enter_context(process(name, settings, tmp_path / f"{name}.log"))
            for name, settings in (
                ("worker", worker),
                ("bridge", bridge),
                ("views", views),
                ("api", api),
            )
        }
        trusted = ssl.create_default_context(cafile=tmp_path / "of-the-api.crt")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted), base_url=addresses["api"]
        ) as session:
            await _use(session, wallet, user)
        eventually(lambda: _kinds(bus, user) == OWN_EVENTS, "the user's events are on the bus")
        _operate(as_party(wallet, servers, Party.OPERATORS), user)
        eventually(
            lambda: run_command(views, "health", "views", "--ready").exit_code == 0,
            "the views have counted all and see the lag of the others",
        )
        told = [*OWN_EVENTS, "wallet.frozen"]
        eventually(lambda: _kinds(bus, user) == told, "the operators' event too")


async def _use(session: aiohttp.ClientSession, wallet: Settings, user: str) -> None:
    """What a user and a service do."""
    own = {"Authorization": f"Bearer {mint(wallet, user)}"}
    async with session.get(f"{BASE}/deposit-address", headers=own) as answer:
        assert answer.status == 200, await answer.text()
    service = {
        "Authorization": f"Bearer {mint(wallet, 'auctions', (INTERNAL,))}",
        "Idempotency-Key": "bid-1",
    }
    body = {"user_id": user, "amount": "1", "reference_type": "bid", "reference_id": "b"}
    async with session.post(f"{BASE}/internal/lock", headers=service, json=body) as answer:
        assert answer.status == 402, await answer.text()


def _operate(settings: Settings, user: str) -> None:
    """What operators do needs no more than their ACLs."""
    for words in (
        ("operator", "freeze", user, "--reason", "a closer look", "--yes"),
        ("topics",),
        ("doctor", "--log"),
        ("events", "tail", "--user", user, "--from-beginning", "--no-follow"),
        ("events", "repair", "--dry-run"),
        ("bridge", "dead-letters", "list"),
    ):
        done = run_command(settings, *words)
        assert done.exit_code == 0, (words, done.output, done.exception)


def _kinds(bus: MoodyBus, user: str) -> list[str]:
    return [event["type"] for event in bus.details() if event["subject"] == user]


# ---------------------------------------------------------------------- what is refused


def test_a_wrong_password_is_told_and_not_shown(
    wallet: Settings, servers: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    admin = Admin(as_party(wallet, servers, Party.OPERATORS, sasl_password="hush"))

    def told() -> bool:
        assert not admin.reachable(1.0)
        return "Authentication failed" in caplog.text

    eventually(told, "the broker's refusal is told")
    assert "hush" not in caplog.text


def test_a_broker_with_anothers_certificate_is_not_talked_to(
    wallet: Settings, servers: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority(tmp_path, "a stranger")
    ours = as_party(wallet, servers, Party.API, ssl_ca_location=str(stranger.file))
    admin = Admin(ours)

    def told() -> bool:
        assert not admin.reachable(1.0)
        return "certificate verify failed" in caplog.text

    eventually(told, "the certificate is complained of")


def test_a_database_is_not_talked_to_by_anothers_certificate_or_by_another_name(
    wallet: Settings, servers: Secured, tmp_path: Path
) -> None:
    ours = wallet.api_database_url
    assert not refusal_of(ours)
    stranger = Authority(tmp_path, "a stranger")
    assert "certificate verify failed" in refusal_of(servers.by_tls(ours, stranger))
    other = ours.replace("@127.0.0.1:", "@localhost.localdomain:") + "&hostaddr=127.0.0.1"
    assert "does not match host name" in refusal_of(other)
    # Nothing falls back to plain text, which the front would not take either.
    assert "server closed the connection" in refusal_of(f"{ours}&sslmode=disable")
